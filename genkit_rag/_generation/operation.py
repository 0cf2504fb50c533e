"""The operation: work that goes on after the call that started it has returned."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import ConfigDict
from pydantic.alias_generators import to_camel

from genkit_rag._documents.wire import DataWireModel


class OperationError(DataWireModel):
    """Why an operation failed; a provider may say more than the message."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="allow")

    message: str


class Operation(DataWireModel):
    """A long-running operation: keep it (it is plain JSON, see `to_wire`) and query its state later.

    Attributes:
        id: The provider's id.
        action: The key of the action that started it, such as `/background-model/veo/veo-3`; set by the framework.
        done: Whether it has ended; absent means no.
        output: The result, a `ModelResponse` for a background model; set after success.
        error: The error; set after a failure.
        metadata: Further data of the provider: progress, links.
    """

    nulls: ClassVar[tuple[str, ...]] = ("output",)

    id: str
    action: str | None = None
    done: bool | None = None
    output: Any = None
    error: OperationError | None = None
    metadata: dict[str, Any] | None = None
