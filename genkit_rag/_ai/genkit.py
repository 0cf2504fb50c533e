"""The class that users hold: a registry, plugins and the verbs over them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from genkit_rag._ai.definitions import Definitions
from genkit_rag._blocks.document import Document, to_document, to_documents
from genkit_rag._blocks.embedding import EmbedderAction, Embedding, EmbedRequest
from genkit_rag._blocks.embedding_service import service_of
from genkit_rag._blocks.generate import GenerateOptions, generate, generate_action
from genkit_rag._blocks.middleware import Use
from genkit_rag._blocks.model import ModelResponse, ModelResponseChunk
from genkit_rag._blocks.options import EmbedderOptions, parse_options
from genkit_rag._blocks.part import Content, Message, Part
from genkit_rag._blocks.reranking import RerankerRequest
from genkit_rag._blocks.retrieval import IndexerRequest, IndexerResponse, RetrieverRequest, RetrieverResponse
from genkit_rag._blocks.store_actions import DeleteRequest, StoreHandle, StorePlugin
from genkit_rag._blocks.vector_store import DEFAULT_NAMESPACE, VectorStore
from genkit_rag._core.action import Action, ActionKind, ActionStream
from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._core.plugin import Plugin
from genkit_rag._core.registry import Registry

if TYPE_CHECKING:
    from genkit_rag._ingest.events import IngestReport, Progress
    from genkit_rag._ingest.sink import IngestOptions

T = TypeVar("T")
AnyAction = Action[Any, Any, Any]
Query = str | Document | Part | Sequence[Part]
Options = Mapping[str, Any] | Any


class Genkit(Definitions):
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

    # -- retrieval

    async def index(
        self,
        indexer: str | AnyAction,
        documents: Sequence[Document | str],
        options: Options | None = None,
        *,
        context: Mapping[str, Any] | None = None,
    ) -> IndexerResponse:
        """Returns the ids of the documents, which are in the store now; those with the same id were replaced.

        Args:
            indexer: A name such as `faiss/docs`, or the action.
            documents: Documents or texts.
            options: `namespace`, `batch_size`.
            context: Facts about the caller for the actions; never sent to a model.
        """
        action = await self._action(ActionKind.INDEXER, indexer)
        request = IndexerRequest(documents=to_documents(documents), options=options)
        response: IndexerResponse = await action(request, context=context)
        return response

    async def delete(
        self,
        indexer: str,
        *,
        ids: Sequence[str] | None = None,
        filter: Mapping[str, Any] | None = None,
        source: str | None = None,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> int:
        """Returns how many documents were there and are gone: by id, by filter, or all that came from a source."""
        if isinstance(ids, str):
            raise invalid("ids", ids, "must be a list of ids", hint=f"Write [{ids!r}].")
        action = await self._action(ActionKind.UTIL, f"{indexer}/delete")
        request = DeleteRequest(
            ids=None if ids is None else list(ids),
            filter=None if filter is None else dict(filter),
            source=source,
            namespace=namespace,
        )
        deleted: int = (await action(request)).deleted
        return deleted

    async def retrieve(
        self,
        retriever: str | AnyAction,
        query: Query,
        options: Options | None = None,
        *,
        context: Mapping[str, Any] | None = None,
    ) -> RetrieverResponse:
        """Returns the documents for a query, best first: a list, with notices.

        Args:
            retriever: A name such as `faiss/docs`, or the action.
            query: Text or a document. Without text it finds nothing and says so in the notices.
            options: `k` (10), `filter`, `score_threshold`, `namespace`, `mode`, `mmr_lambda`, or the retriever's own.
            context: Facts about the caller for the actions; never sent to a model.
        """
        action = self.registry.lookup("retriever", retriever) if isinstance(retriever, str) else retriever
        if action is None:
            action = await self.registry.get(ActionKind.RETRIEVER, retriever)  # type: ignore[arg-type]
        response: RetrieverResponse = await action(
            RetrieverRequest(query=to_document(query), options=options), context=context
        )
        return response

    async def rerank(
        self,
        reranker: str | AnyAction,
        query: Query,
        documents: Sequence[Document],
        options: Options | None = None,
        *,
        context: Mapping[str, Any] | None = None,
    ) -> list[Document]:
        """Returns the documents in a better order, with new scores; earlier scores stay in `scores`.

        Args:
            reranker: A name such as `mmr`, or the action.
            query: Text or a document.
            documents: What a retriever gave.
            options: `k` (all), or the reranker's own.
            context: Facts about the caller for the actions; never sent to a model.
        """
        action = await self._action(ActionKind.RERANKER, reranker)
        request = RerankerRequest(query=to_document(query), documents=to_documents(documents), options=options)
        ranked: list[Document] = (await action(request, context=context)).documents
        return ranked

    async def embed(
        self,
        embedder: str | EmbedderAction,
        content: Query,
        options: Options | None = None,
        *,
        metadata: Mapping[str, Any] | None = None,
    ) -> list[Embedding]:
        """Returns the embeddings of one document: one for text, perhaps several for media.

        Args:
            embedder: A name such as `minilm/all-minilm-l6-v2`, or the action.
            content: Text or a document.
            options: `task` (`document`, or `query` for asymmetric models), `dimensions`.
            metadata: Goes with the document, for embedders that read it.
        """
        document = to_document(content)
        if metadata:
            document = document.copy(metadata={**document.metadata, **metadata})
        return (await self.embed_many(embedder, [document], options))[0]

    async def embed_many(
        self, embedder: str | EmbedderAction, content: Sequence[Query], options: Options | None = None
    ) -> list[list[Embedding]]:
        """Returns, for each document, its embeddings; in order, in batches of the embedder's size."""
        action = await self._action(ActionKind.EMBEDDER, embedder)
        documents = to_documents(content, "content")
        if not documents:
            return []
        checked = parse_options(EmbedderOptions, options)
        if isinstance(action, EmbedderAction) and checked == EmbedderOptions():
            response = await service_of(action).documents(documents)
        else:
            response = await action(EmbedRequest(input=documents, options=checked))
        return response.by_input(len(documents))

    async def ingest(
        self,
        paths: str | Path | Iterable[str | Path] = (),
        *,
        indexer: str,
        documents: Iterable[Document] | AsyncIterable[Document] | None = None,
        namespace: str = DEFAULT_NAMESPACE,
        options: IngestOptions | None = None,
        progress: Progress | None = None,
    ) -> IngestReport:
        """Returns what was done to bring a store in step with files or documents: load, split, embed, write.

        Unchanged sources cost no embedding, changed ones replace their chunks, removed ones disappear; a run that was
        stopped goes on where it was.

        Args:
            paths: Files, folders and glob patterns.
            indexer: A store's name such as `faiss/docs`.
            documents: Documents of yours instead of files; `metadata['source']` says what belongs together.
            namespace: The partition to write to.
            options: How to split, load and remember; see `genkit_rag.ingest.IngestOptions`.
            progress: Called with each event.

        Raises:
            GenkitError: NOT_FOUND for a path that does not exist, or a store.
            IngestStopped: The embedder or the store failed; it has the report until then.
        """
        from genkit_rag._ai.ingestion import IndexSink
        from genkit_rag._ingest.pipeline import ingest
        from genkit_rag._ingest.sink import IngestOptions

        sink = await IndexSink.open(self, indexer, namespace=namespace)
        options = options or IngestOptions()
        if options.splitter.count is None:
            # In the embedder's own tokens, where it can count them: what is beyond its limit is lost.
            options = replace(options, splitter=replace(options.splitter, count=sink.action.count_tokens))
        return await ingest(paths, sink=sink, documents=documents, options=options, progress=progress)

    async def store(self, name: str) -> VectorStore:
        """Returns the store behind `<plugin>/<store>`, opened: for counting, reading by id and `describe()`."""
        return await (await self._handle(name)).store()

    async def _handle(self, name: str) -> StoreHandle:
        for plugin in self.registry.plugins:
            if isinstance(plugin, StorePlugin) and name.startswith(f"{plugin.name}/"):
                await self.registry.get(ActionKind.RETRIEVER, name)
                return plugin.handle(name.partition("/")[2])
        owners = ", ".join(p.name for p in self.registry.plugins if isinstance(p, StorePlugin)) or "none"
        raise GenkitError("NOT_FOUND", f"No plugin owns a store `{name}`.", hint=f"Plugins with stores: {owners}.")

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

    async def _action(self, kind: ActionKind, name: str | AnyAction) -> AnyAction:
        return await self.registry.get(kind, name) if isinstance(name, str) else name
