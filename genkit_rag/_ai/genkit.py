"""The class that users hold: a registry, plugins and the verbs over them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from genkit_rag._ai.definitions import Definitions
from genkit_rag._ai.retrieval import Retrieval
from genkit_rag._blocks.document import Document
from genkit_rag._blocks.generate import GenerateOptions, generate, generate_action
from genkit_rag._blocks.middleware import Use
from genkit_rag._blocks.model import ModelResponse, ModelResponseChunk
from genkit_rag._blocks.part import Content, Message, Part
from genkit_rag._core.action import Action, ActionStream
from genkit_rag._core.errors import invalid
from genkit_rag._core.plugin import Plugin
from genkit_rag._core.registry import Registry

if TYPE_CHECKING:
    from genkit_rag._ai.ingest_flow import PageSource
    from genkit_rag._ingest.sink import IngestOptions

T = TypeVar("T")
AnyAction = Action[Any, Any, Any]
Query = str | Document | Part | Sequence[Part]
Options = Mapping[str, Any] | Any


class Genkit(Definitions, Retrieval):
    """A registry of actions and the verbs over them. Use it as an async context manager, which closes the plugins.

    Args:
        plugins: Sources of actions; nothing of them runs until one of their actions is asked for.
        model: The name of the model that `generate` uses when it is given none.
    """

    def __init__(self, plugins: Sequence[Plugin] = (), *, model: str | AnyAction | None = None) -> None:
        self.registry = Registry()
        for plugin in plugins:
            if not isinstance(plugin, Plugin):
                raise invalid("plugins", plugin, "must hold plugin objects", hint="Write Genkit(plugins=[MiniLM()]).")
            self.registry.add_plugin(plugin)
        self.registry.register(generate_action(self.registry))
        if isinstance(model, Action):
            if self.registry.lookup(model.kind, model.name) is None:
                self.registry.register(model)
            model = model.name
        if model is not None:
            self.registry.values["defaultModel"] = model

    @property
    def model(self) -> str | None:
        """The name of the default model."""
        return self.registry.values.get("defaultModel")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the plugins (stores, connections, processes) in reverse order."""
        await self.registry.close()

    def run_main(self, main: Coroutine[Any, Any, T]) -> T:
        """Returns what the coroutine returns; runs it in a new event loop and closes the plugins afterwards."""

        async def run() -> T:
            async with self:
                return await main

        return asyncio.run(run())

    def define_ingest_flow(
        self,
        name: str,
        *,
        indexer: str,
        base: str | Path,
        allow_urls: bool | PageSource = False,
        namespaces: Collection[str] | None = (),
        options: IngestOptions | None = None,
    ) -> AnyAction:
        """Returns a flow that ingests what its caller names, streams the events and returns the report, all as JSON.

        Args:
            name: Its name.
            indexer: A store's name such as `faiss/docs`.
            base: The folder that paths start at; nothing outside of it is read, nor anything hidden.
            allow_urls: Whether web pages may be named, from public servers, or what fetches them.
            namespaces: Those that a caller may name beside the default one; None for any.
            options: How to split, load and remember.

        Raises:
            GenkitError: INVALID_ARGUMENT for a base that is no folder.
        """
        from genkit_rag._ai.ingest_flow import define_ingest_flow

        return define_ingest_flow(
            self, name, indexer=indexer, base=base, allow_urls=allow_urls, namespaces=namespaces, options=options
        )

    # -- generation

    async def generate(  # noqa: PLR0913 - the one known exception: the verb that everybody reads
        self,
        prompt: Content | None = None,
        *,
        model: str | AnyAction | None = None,
        system: Content | None = None,
        messages: Sequence[Message] = (),
        docs: Sequence[Document | str] | None = None,
        tools: Sequence[str | AnyAction | Callable[..., Any]] = (),
        tool_choice: Any = None,
        tool_errors: Any = "raise",
        return_tool_requests: bool = False,
        max_turns: int = 5,
        config: Any = None,
        output_schema: Any = None,
        output_format: str | None = None,
        output_constrained: bool | None = None,
        output_instructions: bool | str | None = None,
        use: Use = (),
        context: Mapping[str, Any] | None = None,
        on_chunk: Callable[[ModelResponseChunk], None] | None = None,
    ) -> ModelResponse:
        """Returns the model's final answer, after running the tools that it asked for.

        Args:
            prompt: What the user says: text, a part, or a list of them.
            model: A name such as `ollama/llama3.2`, or the action; the default model otherwise.
            system: Instructions.
            messages: The conversation so far, between `system` and `prompt`.
            docs: Passages to answer from; the answer's citations of them stand in `response.citations`.
            tools: Names, actions or plain functions.
            tool_choice: `auto`, `required` or `none`; passed on to the model.
            tool_errors: `raise`, or `return` to let the model see what went wrong.
            return_tool_requests: Return the answer that asks for tools instead of running them.
            max_turns: How many times tools are run; one more raises ABORTED.
            config: `temperature`, `max_output_tokens` and so on, or the model's own.
            output_schema: A type or JSON Schema; the answer is asked for as JSON and stands typed in `response.output`.
            output_format: `json` or `text`; `json` when there is a schema.
            output_constrained: Whether the model may write only what the schema allows, where it can; True by default.
            output_instructions: The words that ask for JSON where the model must be asked, or False for none.
            use: Middleware, the first outermost.
            context: Facts about the caller for tools and other actions; never sent to a model.
            on_chunk: Called with each chunk of a streaming model.

        Raises:
            GenkitError: Every error of the loop; `error.response` holds the conversation so far.
        """
        options = GenerateOptions(
            model=model, system=system, prompt=prompt, messages=messages, docs=docs or (), tools=tools,
            tool_choice=tool_choice, tool_errors=tool_errors, return_tool_requests=return_tool_requests,
            max_turns=max_turns, config=config, output_schema=output_schema, output_format=output_format,
            output_constrained=output_constrained, output_instructions=output_instructions, use=use,
        )  # fmt: skip
        return await generate(self.registry, options, context=context, on_chunk=on_chunk)

    def generate_stream(
        self, prompt: Content | None = None, **options: Any
    ) -> ActionStream[ModelResponseChunk, ModelResponse]:
        """Returns `.stream`, an async iterator of chunks, and `.response`, an awaitable of the final answer.

        Takes what `generate` takes.
        """
        return ActionStream(lambda send: self.generate(prompt, **options, on_chunk=send))
