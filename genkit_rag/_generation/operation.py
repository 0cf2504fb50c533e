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
    """Work that was started: keep it (it is plain JSON, see `to_wire`) and ask for its state later.

    Attributes:
        id: The provider's name for it.
        action: The key of the action that started it, such as `/background-model/veo/veo-3`; set by the framework.
        done: Whether it has ended, well or not; absent means that nobody said, which counts as no.
        output: What came of it, a `ModelResponse` for a background model; set when it has ended well.
        error: Why it failed; set when it has ended badly.
        metadata: What the provider says beside: progress, links.
    """

    nulls: ClassVar[tuple[str, ...]] = ("output",)

    id: str
    action: str | None = None
    done: bool | None = None
    output: Any = None
    error: OperationError | None = None
    metadata: dict[str, Any] | None = None
