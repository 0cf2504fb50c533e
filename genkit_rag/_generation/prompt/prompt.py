"""A prompt that can be called, streamed, rendered and offered as a tool."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Unpack, cast

from genkit_rag._core import schema
from genkit_rag._core.action import Action, ActionKind, ActionStream
from genkit_rag._core.context import ActionContext, current_context
from genkit_rag._core.errors import invalid
from genkit_rag._documents.part import Message
from genkit_rag._generation.generate import GenerateOptions, generate, render
from genkit_rag._generation.model import ModelRequest, ModelResponse, ModelResponseChunk
from genkit_rag._generation.prompt.contents import Source, Turn, messages_of
from genkit_rag._generation.prompt.files import prompt_key
from genkit_rag._generation.prompt.listing import listed_metadata
from genkit_rag._generation.prompt.markers import Assembly, insert_history
from genkit_rag._generation.prompt.options import RUN_NAMES, RunKwargs, check_names, merged, set_options
from genkit_rag._generation.prompt.template import Inputs
from genkit_rag._generation.prompt.values import plain
from genkit_rag._generation.tools.function import tool_action
from genkit_rag._generation.tools.tool import Tool

if TYPE_CHECKING:
    from genkit_rag._generation.prompt.library import PromptLibrary

Context = Mapping[str, Any] | None
OnChunk = Callable[[ModelResponseChunk], None] | None


@dataclass(frozen=True, slots=True)
class Definition:
    """What a prompt is made of.

    Attributes:
        name: Its name.
        variant: Which of several of that name.
        sources: What gives the messages, in their order.
        options: What it sets of a generation.
        input_type: A type or JSON Schema; None takes anything.
        input_default: What holds for fields of the input that are left out.
        description: One sentence.
        metadata: Further facts for the listing.
        template: The template, for the listing.
    """

    name: str
    variant: str | None
    sources: Sequence[Source]
    options: RunKwargs = field(default_factory=RunKwargs)
    input_type: Any = None
    input_default: Mapping[str, Any] | None = None
    description: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    template: str | None = None


class ExecutablePrompt:
    """A prompt. `await prompt({"name": "Ada"})` gives the model's response.

    Attributes:
        name: Its name.
        variant: Which of several of that name; None for the plain one.
        key: `name` or `name.variant`, as in `/prompt/<key>`.
        actions: `/prompt/<key>`, which gives the rendered request, and `/executable-prompt/<key>`.
    """

    def __init__(self, library: PromptLibrary, definition: Definition) -> None:
        self._library = library
        self._definition = definition
        self.name = definition.name
        self.variant = definition.variant
        self.key = prompt_key(definition.name, definition.variant)
        self.actions = self._make_actions()

    def __repr__(self) -> str:
        return f"<ExecutablePrompt {self.key}>"

    @property
    def description(self) -> str | None:
        """One sentence for people and models."""
        return self._definition.description

    @property
    def input_schema(self) -> dict[str, Any] | None:
        """The JSON Schema of the input, in which what has a default is not required; None means anything."""
        return schema.json_schema(self._wire_type)

    async def __call__(
        self,
        input: Any = None,
        *,
        messages: Sequence[Message] = (),
        context: Context = None,
        on_chunk: OnChunk = None,
        **overrides: Unpack[RunKwargs],
    ) -> ModelResponse:
        """Returns the model's response to the rendered prompt.

        Args:
            input: What the template reads, by the input's type or schema; defaults are put in.
            messages: The conversation so far: stands where `{{history}}` is, else before the last user message.
            context: Facts about the caller, for `{{@auth.uid}}` and for tools; the running action's by default.
            on_chunk: Called with every chunk of a streaming model.
            **overrides: Options of `generate`, which win over the prompt's own; `config` is merged by its keys.

        Raises:
            GenkitError: INVALID_ARGUMENT for an input that does not match, naming the path; what `generate` raises.
        """

        async def run(value: Any, ctx: ActionContext) -> ModelResponse:
            options = await self._options(value, ctx, messages, overrides)
            return await generate(self._library.registry, options, on_chunk=ctx.send_chunk if ctx.streaming else None)

        action: Action[Any, ModelResponse, ModelResponseChunk] = Action(ActionKind.EXECUTABLE_PROMPT, self.key, run)
        return await action(input, context=context, on_chunk=on_chunk)

    def stream(
        self,
        input: Any = None,
        *,
        messages: Sequence[Message] = (),
        context: Context = None,
        **overrides: Unpack[RunKwargs],
    ) -> ActionStream[ModelResponseChunk, ModelResponse]:
        """Returns `.stream`, an async iterator of chunks, and `.response`, an awaitable of the response."""
        return ActionStream(lambda send: self(input, messages=messages, context=context, on_chunk=send, **overrides))

    async def options(
        self,
        input: Any = None,
        *,
        messages: Sequence[Message] = (),
        context: Context = None,
        **overrides: Unpack[RunKwargs],
    ) -> GenerateOptions:
        """Returns the options that a call passes on to `generate`; takes what a call takes."""
        ctx = ActionContext(current_context() if context is None else context)
        return await self._options(input, ctx, messages, overrides)

    async def render(
        self,
        input: Any = None,
        *,
        messages: Sequence[Message] = (),
        context: Context = None,
        **overrides: Unpack[RunKwargs],
    ) -> ModelRequest:
        """Returns the request that a call would send to the model first, without asking it; takes what a call takes."""
        options = await self.options(input, messages=messages, context=context, **overrides)
        return await render(self._library.registry, options, context=context)

    def as_tool(self, *, name: str | None = None, description: str | None = None) -> Tool[Any]:
        """Returns a tool that calls the prompt: the answer's text, or its data when the prompt has an output schema.

        Args:
            name: The prompt's key by default, with `_` for dots.
            description: The prompt's by default.
        """

        async def call(input: Any) -> Any:
            response = await self(input)
            return response.output if self._is_structured else response.text

        return tool_action(
            call,
            name=name or self.key.replace(".", "_"),
            description=description or self.description or f"Answers the prompt {self.key}.",
            input_type=self._wire_type or {"type": "object"},
        )

    @property
    def _is_structured(self) -> bool:
        options = self._definition.options
        return options.get("output_schema") is not None or options.get("output_format") not in (None, "text")

    @property
    def _wire_type(self) -> Any:
        """The type of the input where it comes in: what has a default may be left out."""
        made = self._definition
        if made.input_type is None or not made.input_default:
            return made.input_type
        loose = schema.json_schema(made.input_type) or {}
        required = [name for name in loose.get("required", ()) if name not in made.input_default]
        return {
            **{key: value for key, value in loose.items() if key != "required"},
            **({"required": required} if required else {}),
        }

    async def _options(
        self, input: Any, ctx: ActionContext, messages: Sequence[Message], overrides: Mapping[str, Any]
    ) -> GenerateOptions:
        check_names(overrides, RUN_NAMES)
        made = self._definition
        if isinstance(messages, str | Message):
            raise invalid("messages", messages, "must be a list of messages")
        value = self._value(input)
        turn = Turn(
            value,
            Inputs(value, ctx.context, messages),
            self._library,
            ActionContext(ctx.context, None, {"messages": list(messages)}),
        )
        whole, returned = Assembly(), dict[str, Any]()
        for source in made.sources:
            found = await source(turn)
            if isinstance(found, GenerateOptions):
                returned = set_options(found)
                whole.messages += messages_of(found)
            else:
                whole.messages += found.messages
                whole.has_history |= found.has_history
        given = {name: value for name, value in overrides.items() if value is not None}
        options = merged(made.options, returned, given)
        return GenerateOptions(messages=insert_history(whole, messages), **cast(Any, options))

    def _value(self, input: Any) -> Any:
        """Returns the input with its defaults, typed; raises INVALID_ARGUMENT that names the path."""
        made = self._definition
        if made.input_default and (input is None or isinstance(input, Mapping)):
            input = {**made.input_default, **(cast("Mapping[str, Any]", input) or {})}
        if made.input_type is None:
            return {} if input is None else input
        if isinstance(made.input_type, Mapping):
            input = plain({} if input is None else input, "input")  # a model may stand for an object
        return schema.parse(made.input_type, input, f"The input of the prompt `{self.key}`")

    def _make_actions(self) -> tuple[Action[Any, Any, Any], Action[Any, Any, Any]]:
        made = self._definition
        shown = listed_metadata(made, self.input_schema)

        async def run_render(value: Any, ctx: ActionContext) -> ModelRequest:
            return await self.render(value, context=ctx.context)

        async def run(value: Any, ctx: ActionContext) -> ModelResponse:
            options = await self._options(value, ctx, (), {})
            return await generate(self._library.registry, options, on_chunk=ctx.send_chunk if ctx.streaming else None)

        rendering: Action[Any, Any, Any] = Action(
            ActionKind.PROMPT,
            self.key,
            run_render,
            input_type=self._wire_type,
            output_type=ModelRequest,
            description=made.description,
            metadata={**shown, "type": "prompt"},
        )
        running: Action[Any, Any, Any] = Action(
            ActionKind.EXECUTABLE_PROMPT,
            self.key,
            run,
            input_type=self._wire_type,
            output_type=ModelResponse,
            chunk_type=ModelResponseChunk,
            description=made.description,
            metadata={**shown, "type": "executablePrompt"},
        )
        return rendering, running
