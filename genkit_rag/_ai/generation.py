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
        """Generate an answer with a model, running the tools that it requests.

        Args:
            prompt: The user's message: text, a part, or a list of them. Comes last.
            output_schema: A type or JSON Schema of the answer, which is parsed into `response.output`.
            context: Facts about the caller for tools and other actions; never sent to a model.
            on_chunk: A function that is called with each chunk of a streaming model.
            **options: All following options, by name.
            model: A name such as `ollama/llama3.2`, or the action; the default model otherwise.
            system: Instructions. Come first.
            messages: The conversation so far, between `system` and `prompt`.
            docs: Passages to answer from; `response.citations` resolves the answer's citations of them.
            no_context: The behaviour for empty `docs`: `answer` without them, `refuse` without calling the model, or
                `raise` NOT_FOUND.
            resources: Names, actions or functions that resolve `resource` parts, before those of the registry.
            tools: Names, actions or plain functions.
            tool_choice: `auto`, `required` or `none`; passed to the model.
            tool_errors: `raise`, or `return` to send errors to the model: a tool's exception, an unknown tool, invalid
                arguments.
            tool_timeout: Seconds for each tool run, unless the tool has its own timeout; no limit by default.
            return_tool_requests: Return the answer with tool requests instead of running them.
            max_turns: The maximum number of tool rounds, 5 by default; one more raises ABORTED.
            resume: Answers to the interrupts of the last of `messages`: parts of `respond_to` and `restart`.
            config: `temperature`, `max_output_tokens` and so on, or the model's own options.
            output_format: `json`, `array`, `jsonl`, `enum`, `text` or one of `define_format`; `json` if there is a
                schema.
            output_constrained: Whether to use the model's constrained decoding if it has one; True by default.
            output_instructions: The instructions for a model without constrained decoding, or False for none.
            output_content_type: The content type in the model request; that of the format by default.
            output_retries: How often a model whose answer does not match is shown the error and called again; 0 by
                default.
            use: Middleware, the first outermost: objects, functions, names, `MiddlewareRef`s.
            step_name: The name of the generation's span; `generate` by default.

        Raises:
            GenkitError: Any error of the loop; `error.response` has the conversation so far.
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
        """Generate an answer as a stream: `.stream` iterates over chunks, `.response` awaits the final answer.

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
        """Return the first request that `generate` would send to the model, with passages and instructions.

        No model is called and no tool runs. Takes the arguments of `generate`; FAILED_PRECONDITION if the model would
        not be called, since a middleware answers or `no_context` refuses.
        """
        wanted = GenerateOptions(prompt=prompt, output_schema=output_schema, **options)
        return await render(self.registry, wanted, context=context)
