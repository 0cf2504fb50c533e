"""The verbs around models: generate, stream, render."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, Unpack, overload

from genkit_rag._core.action import ActionStream
from genkit_rag._core.registry import Registry
from genkit_rag._documents.part import Content
from genkit_rag._generation.generate import GenerateKwargs, GenerateOptions, generate, generate_stream, render
from genkit_rag._generation.model import ModelRequest, ModelResponse, ModelResponseChunk

T = TypeVar("T")
Context = Mapping[str, Any] | None
OnChunk = Callable[[ModelResponseChunk], None] | None


class Generation:
    """The part of `Genkit` that asks models."""

    registry: Registry

    @overload
    async def generate(
        self,
        prompt: Content | None = None,
        *,
        output_schema: type[T],
        context: Context = None,
        on_chunk: OnChunk = None,
        **options: Unpack[GenerateKwargs],
    ) -> ModelResponse[T]: ...
    @overload
    async def generate(
        self,
        prompt: Content | None = None,
        *,
        output_schema: Any = None,
        context: Context = None,
        on_chunk: OnChunk = None,
        **options: Unpack[GenerateKwargs],
    ) -> ModelResponse[Any]: ...
    async def generate(
        self,
        prompt: Content | None = None,
        *,
        output_schema: Any = None,
        context: Context = None,
        on_chunk: OnChunk = None,
        **options: Unpack[GenerateKwargs],
    ) -> ModelResponse[Any]:
        """Returns the model's final answer, after running the tools that it asked for.

        Args:
            prompt: What the user says: text, a part, or a list of them. Comes last.
            output_schema: A type or JSON Schema; the answer is asked for in that form and stands typed in
                `response.output`.
            context: Facts about the caller for tools and other actions; never sent to a model.
            on_chunk: Called with each chunk of a streaming model.
            **options: All that follows, by name.
            model: A name such as `ollama/llama3.2`, or the action; the default model otherwise.
            system: Instructions. Come first.
            messages: The conversation so far, between `system` and `prompt`.
            docs: Passages to answer from; the answer's citations of them stand in `response.citations`.
            no_context: What happens when `docs` is there and empty: `answer` without them, `refuse` without asking
                the model, or `raise` NOT_FOUND.
            resources: Names, actions or functions that resolve `resource` parts, before those of the registry.
            tools: Names, actions or plain functions.
            tool_choice: `auto`, `required` or `none`; passed on to the model.
            tool_errors: `raise`, or `return` to let the model see what went wrong: a tool's exception, an unknown
                tool, arguments that do not match.
            tool_timeout: Seconds that each tool run may take, unless the tool has a time of its own; none by default.
            return_tool_requests: Return the answer that asks for tools instead of running them.
            max_turns: How many times tools are run, 5 by default; one more raises ABORTED.
            resume: Answers to the interrupts of the last of `messages`: parts of `respond_to` and `restart`.
            config: `temperature`, `max_output_tokens` and so on, or the model's own.
            output_format: `json`, `array`, `jsonl`, `enum`, `text` or one of `define_format`; `json` when there is
                a schema.
            output_constrained: Whether the model may write only what the schema allows, where it can; True by default.
            output_instructions: The words that ask for the form where the model must be asked, or False for none.
            output_content_type: The content type that goes to the model; the format's by default.
            output_retries: How often a model whose answer does not fit is shown why and asked again, 0 by default.
            use: Middleware, the first outermost: objects, functions, names, `MiddlewareRef`s.
            step_name: The name of the generation's span; `generate` by default.

        Raises:
            GenkitError: Every error of the loop; `error.response` holds the conversation so far.
        """
        wanted = GenerateOptions(prompt=prompt, output_schema=output_schema, **options)
        return await generate(self.registry, wanted, context=context, on_chunk=on_chunk)

    @overload
    def generate_stream(
        self,
        prompt: Content | None = None,
        *,
        output_schema: type[T],
        context: Context = None,
        **options: Unpack[GenerateKwargs],
    ) -> ActionStream[ModelResponseChunk, ModelResponse[T]]: ...
    @overload
    def generate_stream(
        self,
        prompt: Content | None = None,
        *,
        output_schema: Any = None,
        context: Context = None,
        **options: Unpack[GenerateKwargs],
    ) -> ActionStream[ModelResponseChunk, ModelResponse[Any]]: ...
    def generate_stream(
        self,
        prompt: Content | None = None,
        *,
        output_schema: Any = None,
        context: Context = None,
        **options: Unpack[GenerateKwargs],
    ) -> ActionStream[ModelResponseChunk, ModelResponse[Any]]:
        """Returns `.stream`, an async iterator of chunks, and `.response`, an awaitable of the final answer.

        Takes what `generate` takes.
        """
        wanted = GenerateOptions(prompt=prompt, output_schema=output_schema, **options)
        return generate_stream(self.registry, wanted, context=context)

    async def render(
        self,
        prompt: Content | None = None,
        *,
        output_schema: Any = None,
        context: Context = None,
        **options: Unpack[GenerateKwargs],
    ) -> ModelRequest:
        """Returns the request that `generate` would send to the model first, passages and instructions included.

        No model is asked and no tool runs. Takes what `generate` takes; FAILED_PRECONDITION when the model would not
        be asked, since a middleware answers or `no_context` refuses.
        """
        wanted = GenerateOptions(prompt=prompt, output_schema=output_schema, **options)
        return await render(self.registry, wanted, context=context)
