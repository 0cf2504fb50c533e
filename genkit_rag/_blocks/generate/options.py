"""What `generate` takes, in process and on the wire."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, ValidationError

from genkit_rag._blocks.document import Document, to_document
from genkit_rag._blocks.middleware.base import Use
from genkit_rag._blocks.model import ModelAction, ModelRequest, ToolChoice
from genkit_rag._blocks.part import Content, Message
from genkit_rag._blocks.tool import ToolLike
from genkit_rag._blocks.wire import WireModel
from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._core.schema import validation_error

MAX_TURNS = 5
"""How many rounds of tool runs a generation may take when nobody says."""

ToolErrors = Literal["raise", "return"]


@dataclass(slots=True)
class GenerateOptions:
    """What `generate` takes.

    Attributes:
        model: A name or a model action; the registry's default model when None.
        prompt: The user's message; comes last.
        system: The system message; comes first.
        messages: The conversation so far; stands between the two.
        tools: Names, tool actions or plain functions.
        tool_choice: Passed on to the model.
        return_tool_requests: Return the model's tool requests instead of running them.
        tool_errors: `raise` ends the generation with the tool's error; `return` tells the model `{error: text}`
            instead. The same holds for an unknown tool and for arguments that do not match.
        max_turns: How many rounds of tool runs there may be; ABORTED beyond.
        config: The model's settings.
        docs: What the model should answer from.
        output_schema: A type or JSON Schema; the model is asked for JSON and `response.output` is checked.
        output_format: `json` or `text`; `json` when there is a schema.
        output_constrained: Whether the model may only write what the schema allows, where it can; True by default.
        output_instructions: The words that ask for JSON where the model must be asked, or False for none.
        output_content_type: The content type that goes to the model; by the format when None.
        use: Middleware, the outermost first.
    """

    model: str | ModelAction | None = None
    prompt: Content | None = None
    system: Content | None = None
    messages: Sequence[Message] = ()
    tools: Sequence[ToolLike] = ()
    tool_choice: ToolChoice | None = None
    return_tool_requests: bool = False
    tool_errors: ToolErrors = "raise"
    max_turns: int = MAX_TURNS
    config: Any = None
    docs: Sequence[str | Document] = ()
    output_schema: Any = None
    output_format: str | None = None
    output_constrained: bool | None = None
    output_instructions: bool | str | None = None
    output_content_type: str | None = None
    use: Use = ()


def first_request(options: GenerateOptions) -> ModelRequest:
    """Returns the request of the conversation: system, messages, prompt; without tools and output yet."""
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
        hint = "`prompt` and `system` take text, a Part or a list of them; `messages` and `docs` take lists."
        raise GenkitError("INVALID_ARGUMENT", f"The request has a wrong type: {error}.", hint=hint) from error


def check_options(options: GenerateOptions, request: ModelRequest) -> None:
    """Raises INVALID_ARGUMENT for what no model need be asked about."""
    if not request.messages:
        raise GenkitError("INVALID_ARGUMENT", "There is no message to answer.", hint="Pass `prompt=` or `messages=`.")
    if options.tool_errors not in ("raise", "return"):
        raise invalid("tool_errors", options.tool_errors, "must be `raise` or `return`")
    turns: Any = options.max_turns
    if not isinstance(turns, int) or isinstance(turns, bool) or turns < 0:
        raise invalid("max_turns", turns, "must be a whole number from 0", hint=f"Leave it out for {MAX_TURNS}.")


class GenerateActionOutput(WireModel):
    """The wished form of the output, on the wire."""

    format: str | None = None
    content_type: str | None = None
    instructions: bool | str | None = None
    json_schema: dict[str, Any] | None = None
    constrained: bool | None = None


class GenerateActionOptions(WireModel):
    """What `generate` takes on the wire."""

    model: str | None = None
    docs: list[Document] | None = None
    messages: list[Message]
    tools: list[str] | None = None
    tool_choice: ToolChoice | None = None
    config: Any = None
    output: GenerateActionOutput | None = None
    return_tool_requests: bool | None = None
    max_turns: int | None = Field(default=None, ge=0)

    def to_options(self) -> GenerateOptions:
        """Returns the options in process."""
        output = self.output or GenerateActionOutput()
        return GenerateOptions(
            model=self.model,
            messages=self.messages,
            tools=self.tools or (),
            tool_choice=self.tool_choice,
            return_tool_requests=bool(self.return_tool_requests),
            max_turns=MAX_TURNS if self.max_turns is None else self.max_turns,
            config=self.config,
            docs=self.docs or (),
            output_schema=output.json_schema,
            output_format=output.format,
            output_constrained=output.constrained,
            output_instructions=output.instructions,
            output_content_type=output.content_type,
        )
