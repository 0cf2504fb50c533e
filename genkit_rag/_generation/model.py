"""What goes to a model action and comes back."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar, Generic, Literal, cast

from pydantic import ConfigDict, Field, PrivateAttr
from pydantic.alias_generators import to_camel
from typing_extensions import TypeVar

from genkit_rag._core.action import Action, ActionKind
from genkit_rag._core.context import ActionContext
from genkit_rag._core.errors import GenkitError
from genkit_rag._core.schema import parse
from genkit_rag._documents.citations import Citations
from genkit_rag._documents.document import Document
from genkit_rag._documents.part import Media, Message, Part, Role, join_text
from genkit_rag._documents.wire import DataWireModel, WireModel
from genkit_rag._generation.operation import Operation

FinishReason = Literal["stop", "length", "blocked", "aborted", "interrupted", "other", "unknown"]
ToolChoice = Literal["auto", "required", "none"]


class GenerationConfig(DataWireModel):
    """Settings that most models share; a plugin may take more. Unknown names are passed on to the plugin."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="allow")

    version: str | None = None
    temperature: float | None = None
    max_output_tokens: int | None = None
    top_k: int | None = None
    top_p: float | None = None
    stop_sequences: list[str] | None = None
    api_key: str | None = Field(default=None, repr=False)


class ToolDefinition(WireModel):
    """The description of a tool for a model; `name` is the short one (after the last slash)."""

    name: str
    key: str | None = None
    description: str = ""
    input_schema: dict[str, Any] | None = None
    output_schema: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None


class OutputConfig(WireModel):
    """The wished form of the output."""

    format: str | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    constrained: bool | None = None
    content_type: str | None = None


class ModelRequest(WireModel):
    """The input of a model action."""

    messages: list[Message]
    config: Any = None
    tools: list[ToolDefinition] | None = None
    tool_choice: ToolChoice | None = None
    output: OutputConfig | None = None
    docs: list[Document] | None = None

    def typed_config(self) -> GenerationConfig:
        """Return the config as `GenerationConfig`, converting a mapping or another model."""
        if isinstance(self.config, GenerationConfig):
            return self.config
        if self.config is None:
            return GenerationConfig()
        raw = self.config.model_dump(exclude_none=True) if hasattr(self.config, "model_dump") else self.config
        return cast(GenerationConfig, parse(GenerationConfig, raw, "The config"))


class Usage(WireModel):
    """Counts of one or several model calls; tokens only where the provider gives them."""

    input_tokens: float | None = None
    output_tokens: float | None = None
    total_tokens: float | None = None
    input_characters: float | None = None
    output_characters: float | None = None
    input_images: float | None = None
    output_images: float | None = None
    input_videos: float | None = None
    output_videos: float | None = None
    input_audio_files: float | None = None
    output_audio_files: float | None = None
    thoughts_tokens: float | None = None
    cached_content_tokens: float | None = None
    custom: dict[str, float] | None = None


class SoFar:
    """The chunks of one message while it streams; each chunk looks back at those before it."""

    __slots__ = ("_contents", "_joined", "_parse", "_pieces")

    def __init__(self, parse: Callable[[str, str], Any] | None = None) -> None:
        self._contents: list[list[Part]] = []
        self._parse = parse
        self._pieces = 0  # how many contents the text that was joined last holds
        self._joined = ""

    def add(self, chunk: ModelResponseChunk) -> None:
        """Append a chunk."""
        self._contents.append(chunk.content)
        vars(chunk)["_so_far"] = (self, len(self._contents))

    def text(self, count: int) -> str:
        """Return the text of the first `count` chunks; only chunks after the previous call are processed."""
        if count < self._pieces:
            return "".join(join_text(content) for content in self._contents[:count])
        joined, self._joined = self._joined, ""  # the only name of the text: it is then lengthened where it stands
        for content in self._contents[self._pieces : count]:
            joined += join_text(content)
        self._pieces, self._joined = count, joined
        return joined

    def output(self, count: int) -> Any:
        """Return the format's result for the first `count` chunks."""
        if self._parse is None:
            return None
        previous = self.text(count - 1)
        return self._parse(self.text(count), previous)


class ModelResponseChunk(DataWireModel):
    """A piece of a streamed answer."""

    nulls: ClassVar[tuple[str, ...]] = ("custom",)

    role: Role | None = None
    index: float | None = None
    content: list[Part] = Field(default_factory=list[Part])
    custom: Any = None
    aggregated: bool | None = None

    @property
    def text(self) -> str:
        """The text of this chunk."""
        return join_text(self.content)

    @property
    def previous_text(self) -> str:
        """The text of the chunks before this one in the same message."""
        found = self._position
        return found[0].text(found[1] - 1) if found else ""

    @property
    def accumulated_text(self) -> str:
        """The text of the message so far, this chunk included."""
        found = self._position
        return found[0].text(found[1]) if found else self.text

    @property
    def output(self) -> Any:
        """The format's result for the message so far, as plain data; None if there is none yet.

        `json` returns the object as far as it is complete, `array` and `jsonl` the items that this chunk completed.
        """
        found = self._position
        return found[0].output(found[1]) if found else None

    @property
    def _position(self) -> tuple[SoFar, int] | None:
        # Kept beside the fields: a private attribute of pydantic would cost every chunk a microsecond.
        return self.__dict__.get("_so_far")


Output = TypeVar("Output", default=Any)


class ModelResponse(DataWireModel, Generic[Output]):
    """The output of a model action and of `generate`."""

    nulls: ClassVar[tuple[str, ...]] = ("custom", "raw")

    message: Message | None = None
    finish_reason: FinishReason | None = None
    finish_message: str | None = None
    latency_ms: float | None = None
    usage: Usage | None = None
    custom: Any = None
    raw: Any = None
    request: ModelRequest | None = None
    operation: Operation | None = None

    _citations: Citations = PrivateAttr(default_factory=Citations)
    _parse: Callable[[str], Any] | None = PrivateAttr(default=None)

    @property
    def text(self) -> str:
        """The text of the answer."""
        return self.message.text if self.message else ""

    @property
    def messages(self) -> list[Message]:
        """The conversation so far: the request's messages and the answer."""
        before = list(self.request.messages) if self.request else []
        return [*before, self.message] if self.message else before

    @property
    def tool_requests(self) -> list[Part]:
        """The parts that ask for a tool."""
        return self.message.tool_requests if self.message else []

    @property
    def interrupts(self) -> list[Part]:
        """The requests of tools that asked before they go on; answer them with `generate(resume=...)`."""
        return [part for part in self.tool_requests if (part.metadata or {}).get("interrupt")]

    @property
    def media(self) -> list[Media]:
        """The media of the answer."""
        return [part.media for part in self.message.content if part.media] if self.message else []

    @property
    def reasoning(self) -> str:
        """The model's reasoning, where it gives any."""
        return "".join(part.reasoning for part in self.message.content if part.reasoning) if self.message else ""

    @property
    def output(self) -> Output:
        """The answer as data: a data part, else the text as JSON, typed when `output_schema` was a type.

        Raises INVALID_ARGUMENT when the text is not JSON or does not match.
        """
        for part in self.message.content if self.message else ():
            if part.is_data:
                return cast(Output, part.data)
        if self._parse is not None:
            return cast(Output, self._parse(self.text))
        try:
            return cast(Output, json.loads(self.text))
        except ValueError as error:
            raise GenkitError(
                "INVALID_ARGUMENT",
                "The answer is not JSON.",
                hint="Use `.text`, or pass `output_schema=` so that the model is asked for JSON.",
                details={"text": self.text},
                cause=error,
            ) from error

    @property
    def citations(self) -> Citations:
        """The passages that the answer names, in the order of their first mention; `.unknown` keys that none has."""
        return self._citations


def set_results(
    response: ModelResponse, parse: Callable[[str], Any] | None, citations: Citations | None
) -> ModelResponse:
    """Set how `response.output` parses the text and what `response.citations` holds; return the response."""
    if parse is not None:
        response._parse = parse  # pyright: ignore[reportPrivateUsage]
    if citations is not None:
        response._citations = citations  # pyright: ignore[reportPrivateUsage]
    return response


class ModelSupports(WireModel):
    """The capabilities of a model; absent means unknown."""

    multiturn: bool | None = None
    media: bool | None = None
    tools: bool | None = None
    system_role: bool | None = None
    output: list[str] | None = None
    content_type: list[str] | None = None
    context: bool | None = None
    constrained: Literal["none", "all", "no-tools"] | None = None
    tool_choice: bool | None = None
    long_running: bool | None = None


class ModelInfo(WireModel):
    """A model's label and abilities."""

    label: str | None = None
    versions: list[str] | None = None
    supports: ModelSupports | None = None
    config_schema: dict[str, Any] | None = None
    stage: Literal["featured", "stable", "unstable", "legacy", "deprecated"] | None = None


ModelAction = Action[ModelRequest, ModelResponse, ModelResponseChunk]
ModelFn = Callable[[ModelRequest, ActionContext], Awaitable[ModelResponse]]


def model_action(
    name: str,
    fn: ModelFn,
    *,
    info: ModelInfo | None = None,
    provider: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> ModelAction:
    """Create a model action.

    Args:
        name: `<plugin>/<model>`.
        fn: `async (request, ctx) -> ModelResponse`; sends `ModelResponseChunk`s with `ctx.send_chunk` when
            `ctx.streaming`.
        info: Label and abilities.
        provider: The `gen_ai.provider.name` of its spans; the plugin's name by default.
        metadata: Further metadata.
    """
    provider_name, _, short = name.partition("/")
    shown = info or ModelInfo(label=name)

    def telemetry(request: ModelRequest, response: ModelResponse | None) -> dict[str, Any]:
        return _telemetry(request, response, provider or provider_name, short or name)

    return Action(
        ActionKind.MODEL,
        name,
        fn,
        input_type=ModelRequest,
        output_type=ModelResponse,
        chunk_type=ModelResponseChunk,
        description=shown.label,
        metadata={**(metadata or {}), "model": shown.to_wire()},
        telemetry=telemetry,
    )


def model_info(action: Action[Any, Any, Any]) -> ModelInfo:
    """Return the declared properties of a model action."""
    return ModelInfo.model_validate(action.metadata.get("model") or {})


def model_supports(action: Action[Any, Any, Any]) -> Mapping[str, Any]:
    """Return the declared capabilities of a model, with wire names."""
    return (action.metadata.get("model") or {}).get("supports") or {}


def _telemetry(request: ModelRequest, response: ModelResponse | None, provider: str, model: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": model,
    }
    config = request.typed_config()
    found |= {
        f"gen_ai.request.{name}": value
        for name, value in (
            ("temperature", config.temperature),
            ("top_p", config.top_p),
            ("top_k", config.top_k),
            ("max_tokens", config.max_output_tokens),
            ("stop_sequences", config.stop_sequences),
        )
        if value is not None
    }
    if response is not None:
        if response.finish_reason:
            found["gen_ai.response.finish_reasons"] = [response.finish_reason]
        if response.usage and response.usage.input_tokens is not None:
            found["gen_ai.usage.input_tokens"] = int(response.usage.input_tokens)
        if response.usage and response.usage.output_tokens is not None:
            found["gen_ai.usage.output_tokens"] = int(response.usage.output_tokens)
    return found
