"""A prompt that can be called, streamed, rendered and used as a tool."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Unpack, cast

from genkit_rag._core import schema
from genkit_rag._core.action import Action, ActionKind, ActionStream
from genkit_rag._core.context import ActionContext, current_context
from genkit_rag._core.errors import invalid
from genkit_rag._documents.part import Message
from genkit_rag._generation.generate import GenerateOptions, generate, render
from genkit_rag._generation.model import ModelRequest, ModelResponse, ModelResponseChunk
from genkit_rag._generation.prompt.contents import RenderInput, messages_of
from genkit_rag._generation.prompt.definition import Definition, listed_metadata
from genkit_rag._generation.prompt.environment import PromptEnvironment
from genkit_rag._generation.prompt.files import prompt_key
from genkit_rag._generation.prompt.markers import Assembly, insert_history
from genkit_rag._generation.prompt.options import RUN_NAMES, RunKwargs, check_names, merged, set_options
from genkit_rag._generation.prompt.template import Inputs
from genkit_rag._generation.prompt.values import plain
from genkit_rag._generation.tools.function import tool_action
from genkit_rag._generation.tools.tool import Tool

Context = Mapping[str, Any] | None
OnChunk = Callable[[ModelResponseChunk], None] | None


class ExecutablePrompt:
    """A prompt; `await prompt({"name": "Ada"})` returns the model's response.

    Attributes:
        name: The name.
        variant: The variant; None for the prompt without variant.
        key: `name` or `name.variant`, as in `/prompt/<key>`.
        actions: `/prompt/<key>`, which returns the rendered request, and `/executable-prompt/<key>`.
    """

    def __init__(self, environment: PromptEnvironment, definition: Definition) -> None:
        self._environment = environment
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
        """The JSON Schema of the input, in which fields with a default are optional; None accepts anything."""
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
        """Render the prompt and return the model's response.

        Args:
            input: The values of the template, validated by the input's type or schema; defaults are added.
            messages: The conversation so far, inserted at `{{history}}` or else before the last user message.
            context: Facts about the caller, for `{{@auth.uid}}` and tools; by default the running action's.
            on_chunk: Called with every chunk of a streaming model.
            **overrides: Options of `generate` that override the prompt's; `config` is merged by its keys.

        Raises:
            GenkitError: INVALID_ARGUMENT for an input that does not match, with its path; any error of `generate`.
        """

        async def run(value: Any, ctx: ActionContext) -> ModelResponse:
            options = await self._options(value, ctx, messages, overrides)
            return await generate(
                self._environment.registry, options, on_chunk=ctx.send_chunk if ctx.streaming else None
            )

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
        """Start a call; `.stream` is an async iterator of chunks, `.response` an awaitable of the response."""
        return ActionStream(lambda send: self(input, messages=messages, context=context, on_chunk=send, **overrides))

    async def options(
        self,
        input: Any = None,
        *,
        messages: Sequence[Message] = (),
        context: Context = None,
        **overrides: Unpack[RunKwargs],
    ) -> GenerateOptions:
        """Return the options that a call with the same arguments passes to `generate`."""
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
        """Return the first request that a call with the same arguments sends to the model, without sending it."""
        options = await self.options(input, messages=messages, context=context, **overrides)
        return await render(self._environment.registry, options, context=context)

    def as_tool(self, *, name: str | None = None, description: str | None = None) -> Tool[Any]:
        """Create a tool that calls the prompt and returns the text, or the data when the prompt has an output schema.

        Args:
            name: By default the key of the prompt, with `_` for dots.
            description: By default the description of the prompt.
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
        """The type of the input on the wire, in which fields with a default are optional."""
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
        given = RenderInput(
            value,
            Inputs(value, ctx.context, messages),
            self._environment,
            ActionContext(ctx.context, None, {"messages": list(messages)}),
        )
        whole, returned = Assembly(), dict[str, Any]()
        for source in made.sources:
            found = await source(given)
            if isinstance(found, GenerateOptions):
                returned = set_options(found)
                whole.messages += messages_of(found)
            else:
                whole.messages += found.messages
                whole.has_history |= found.has_history
        set_here = {name: value for name, value in overrides.items() if value is not None}
        options = merged(made.options, returned, set_here)
        return GenerateOptions(messages=insert_history(whole, messages), **cast(Any, options))

    def _value(self, input: Any) -> Any:
        """Add defaults to the input and validate it; the INVALID_ARGUMENT error names the path."""
        made = self._definition
        if made.input_default and (input is None or isinstance(input, Mapping)):
            input = {**made.input_default, **(cast("Mapping[str, Any]", input) or {})}
        if made.input_type is None:
            return {} if input is None else input
        if isinstance(made.input_type, Mapping):
            input = plain({} if input is None else input, "input")  # a pydantic model may be passed for an object
        return schema.parse(made.input_type, input, f"The input of the prompt `{self.key}`")

    def _make_actions(self) -> tuple[Action[Any, Any, Any], Action[Any, Any, Any]]:
        made = self._definition
        shown = listed_metadata(made, self.input_schema)

        async def run_render(value: Any, ctx: ActionContext) -> ModelRequest:
            return await self.render(value, context=ctx.context)

        async def run(value: Any, ctx: ActionContext) -> ModelResponse:
            options = await self._options(value, ctx, (), {})
            return await generate(
                self._environment.registry, options, on_chunk=ctx.send_chunk if ctx.streaming else None
            )

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
