"""The options of `generate` and the first request that they describe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from pydantic import ValidationError

from genkit_rag._core.errors import GenkitError
from genkit_rag._core.schema import validation_error
from genkit_rag._documents.document import Document, to_document
from genkit_rag._documents.part import Content, Message
from genkit_rag._generation.generate.option_types import check_types
from genkit_rag._generation.middleware.base import Use
from genkit_rag._generation.model import ModelAction, ModelRequest, ModelResponse, ToolChoice
from genkit_rag._generation.no_context import NoContextLike
from genkit_rag._generation.resource import ResourceLike
from genkit_rag._generation.tools.interrupts import ResumeLike
from genkit_rag._generation.tools.tool import ToolLike

MAX_TURNS = 5
"""The default maximum number of turns with tool runs in a generation."""

ToolErrors = Literal["raise", "return"]


@dataclass(slots=True)
class GenerateOptions:
    """The options of `generate`; `Genkit.generate` documents each of them."""

    model: str | ModelAction | None = None
    prompt: Content | None = None
    system: Content | None = None
    messages: Sequence[Message] = ()
    tools: Sequence[ToolLike] = ()
    tool_choice: ToolChoice | None = None
    tool_errors: ToolErrors = "raise"
    tool_timeout: float | None = None
    return_tool_requests: bool = False
    max_turns: int = MAX_TURNS
    resume: ResumeLike | None = None
    config: Any = None
    docs: Sequence[str | Document] | None = None
    no_context: NoContextLike = "answer"
    resources: Sequence[ResourceLike] = ()
    output_schema: Any = None
    output_format: str | None = None
    output_constrained: bool | None = None
    output_instructions: bool | str | None = None
    output_content_type: str | None = None
    output_retries: int = 0
    use: Use = ()
    step_name: str | None = None


class CallKwargs(TypedDict, total=False):
    """The options of a generation without messages and output schema, for type checkers."""

    model: str | ModelAction | None
    tools: Sequence[ToolLike]
    tool_choice: ToolChoice | None
    tool_errors: ToolErrors
    tool_timeout: float | None
    return_tool_requests: bool
    max_turns: int
    resume: ResumeLike | None
    config: Any
    docs: Sequence[str | Document] | None
    no_context: NoContextLike
    resources: Sequence[ResourceLike]
    output_format: str | None
    output_constrained: bool | None
    output_instructions: bool | str | None
    output_content_type: str | None
    output_retries: int
    use: Use
    step_name: str | None


class GenerateKwargs(CallKwargs, total=False):
    """The options of `Genkit.generate` that its overloads do not name."""

    system: Content | None
    messages: Sequence[Message]


def first_request(options: GenerateOptions) -> ModelRequest:
    """Build the request of the conversation: system, messages and prompt, without tools and output yet."""
    try:
        check_types(options)
        return _assembled(options)
    except GenkitError as error:
        given: Any = options.messages
        known = [item for item in given if isinstance(item, Message)] if isinstance(given, list | tuple) else []
        error.response = ModelResponse(request=ModelRequest(messages=known))
        raise


def _assembled(options: GenerateOptions) -> ModelRequest:
    docs = [options.docs] if isinstance(options.docs, str | Document) else options.docs or ()
    try:
        messages = list(options.messages or ())
        if options.system is not None:
            messages.insert(0, Message.system(options.system))
        if options.prompt is not None:
            messages.append(Message.user(options.prompt))
        return ModelRequest(
            messages=messages,
            config=options.config,
            tool_choice=options.tool_choice,
            docs=[to_document(doc) for doc in docs] or None,
        )
    except ValidationError as error:
        raise validation_error(error, "The request") from error
    except TypeError as error:
        hint = "`prompt` and `system` accept text, a Part or a list of them; `messages` and `docs` accept lists."
        raise GenkitError(
            "INVALID_ARGUMENT", f"The request has an argument of the wrong type: {error}.", hint=hint
        ) from error


def check_options(request: ModelRequest) -> None:
    """Raise INVALID_ARGUMENT for a request without messages."""
    if not request.messages:
        raise GenkitError(
            "INVALID_ARGUMENT",
            "The request has no messages.",
            hint="Pass `prompt=` or `messages=`.",
            details={"argument": "prompt"},
        )
