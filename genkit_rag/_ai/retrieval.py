"""The verbs over indexers, retrievers, rerankers, embedders and stores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Unpack

from genkit_rag._core.action import Action, ActionKind
from genkit_rag._core.errors import invalid
from genkit_rag._core.registry import Registry
from genkit_rag._core.schema import parse
from genkit_rag._documents.document import Document, to_document, to_documents
from genkit_rag._documents.part import Part
from genkit_rag._generation.tools.retriever_tool import (
    DEFAULT_K,
    MAX_CHARACTERS,
    FilterRule,
    NamespaceRule,
    RetrieverToolOptions,
    Searcher,
    retriever_tool,
)
from genkit_rag._generation.tools.tool import Tool, ToolOutput
from genkit_rag._rag.embedding import EmbedderAction, Embedding, EmbedRequest
from genkit_rag._rag.embedding_service import service_of
from genkit_rag._rag.options import EmbedderOptions, parse_options
from genkit_rag._rag.reranking import RerankerRequest
from genkit_rag._rag.retrieval import IndexerRequest, IndexerResponse, RetrieverRequest, RetrieverResponse
from genkit_rag._rag.stores.actions import find_store
from genkit_rag._rag.stores.handle import DeleteRequest
from genkit_rag._rag.vector_store import DEFAULT_NAMESPACE, VectorStore

AnyAction = Action[Any, Any, Any]
Query = str | Document | Part | Sequence[Part]
Options = Mapping[str, Any] | Any


class Retrieval:
    """The half of `Genkit` that reads and writes indexes."""

    registry: Registry

    async def index(
        self,
        indexer: str | AnyAction,
        documents: Sequence[Document | str],
        options: Options | None = None,
        *,
        context: Mapping[str, Any] | None = None,
    ) -> IndexerResponse:
        """Embed documents and write them to a store, replacing those with the same ids; return their ids.

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
        context: Mapping[str, Any] | None = None,
    ) -> int:
        """Delete documents by id, by filter or by source, and return their number."""
        if isinstance(ids, str):
            raise invalid("ids", ids, "must be a list of ids", hint=f"Write [{ids!r}].")
        await find_store(self.registry, indexer)
        action = await self._action(ActionKind.UTIL, f"{indexer}/delete")
        given = {"ids": ids, "filter": filter, "source": source, "namespace": namespace}
        request = parse(DeleteRequest, given, "the deletion")
        deleted: int = (await action(request, context=context)).deleted
        return deleted

    async def retrieve(
        self,
        retriever: str | AnyAction,
        query: Query,
        options: Options | None = None,
        *,
        context: Mapping[str, Any] | None = None,
    ) -> RetrieverResponse:
        """Retrieve the documents for a query, best first.

        Args:
            retriever: A name such as `faiss/docs`, or the action.
            query: Text or a document. Without text it finds nothing and says so in the notices.
            options: `k` (10), `filter`, `score_threshold`, `namespace`, `mode`, `mmr_lambda`, or the retriever's own.
            context: Facts about the caller for the actions; never sent to a model.
        """
        action = self.registry.lookup("retriever", retriever) if isinstance(retriever, str) else None
        if action is None:
            action = await self._action(ActionKind.RETRIEVER, retriever)
        response: RetrieverResponse = await action(
            RetrieverRequest(query=to_document(query, "query"), options=options), context=context
        )
        return response

    def retriever_tool(
        self,
        retriever: str | AnyAction,
        *,
        name: str | None = None,
        description: str | None = None,
        k: int = DEFAULT_K,
        filter: FilterRule | None = None,
        namespace: NamespaceRule | None = None,
        **options: Unpack[RetrieverToolOptions],
    ) -> Tool[ToolOutput]:
        """Create a search tool for `generate(tools=[...])`, so that the model decides when to search, and for what.

        The model chooses the query, and the number of passages up to `k`; it cannot reach beyond `filter`, `namespace`
        and the access rules of the store. It receives the passages as quoted JSON with citation keys, and
        `response.citations` resolves the keys, also in later turns. The tool is not registered.

        Args:
            retriever: A name such as `faiss/docs`, or the action; looked up when the tool runs.
            name: The name for the model; `search_docs` for `faiss/docs` by default.
            description: The description for the model; describe the documents.
            k: The maximum number of passages.
            filter: A metadata filter, or a function of the context: `lambda ctx: {"team": ctx.context["team"]}`.
            namespace: The namespace to search, or a function of the context.
            options: `mode`, `reranker`, `candidates`, `score_threshold`, `mmr_lambda`, `fusion`, `vector_weight`,
                `fields`, `max_characters`; see `RetrieverToolOptions`.

        Raises:
            GenkitError: INVALID_ARGUMENT for invalid options. When it runs: the errors of the retriever, and
                PERMISSION_DENIED for a rule that cannot be evaluated for the caller.
        """
        told: dict[str, Any] = dict(options)
        searcher = Searcher(
            retriever,
            k,
            filter,
            namespace,
            reranker=told.pop("reranker", None),
            fields=told.pop("fields", ()),
            max_characters=told.pop("max_characters", MAX_CHARACTERS),
            options=told,
        )
        return retriever_tool(self.registry, searcher, name=name, description=description)

    async def rerank(
        self,
        reranker: str | AnyAction,
        query: Query,
        documents: Sequence[Document],
        options: Options | None = None,
        *,
        context: Mapping[str, Any] | None = None,
    ) -> list[Document]:
        """Reorder documents with new scores, best first; earlier scores stay in `scores`.

        Args:
            reranker: A name such as `mmr`, or the action.
            query: Text or a document.
            documents: What a retriever gave.
            options: `k` (all), or the reranker's own.
            context: Facts about the caller for the actions; never sent to a model.
        """
        action = await self._action(ActionKind.RERANKER, reranker)
        request = RerankerRequest(query=to_document(query, "query"), documents=to_documents(documents), options=options)
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
        """Embed one document; text has one embedding, media may have several.

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
        """Embed documents in batches of the embedder's size; return the embeddings of each, in order."""
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

    async def reindex(
        self,
        indexer: str,
        *,
        embedder: str | None = None,
        batch_size: int = 256,
        progress: Callable[[int, int], None] | None = None,
    ) -> int:
        """Re-embed a store with another embedding model and swap all vectors at once; return the number of documents.

        A run that was stopped goes on where it was. Afterwards this process uses the new embedder for the store; give
        its name to the plugin too, so that the next process does.

        Args:
            indexer: A store's name such as `faiss/docs`.
            embedder: The name of the new embedder; the plugin's own by default, which may have another revision now.
            batch_size: How many documents are embedded, and made durable, together.
            progress: Called with the number of documents that are done, and of all.

        Raises:
            GenkitError: UNIMPLEMENTED for a store that cannot; UNAVAILABLE while another change of it runs.
        """
        return await (await find_store(self.registry, indexer)).reindex(
            embedder, batch_size=batch_size, progress=progress
        )

    async def store(self, name: str) -> VectorStore:
        """Return the vector store behind `<plugin>/<store>`, opened, for counting, reading by id and `describe()`."""
        return await (await find_store(self.registry, name)).store()

    async def _action(self, kind: ActionKind, name: str | AnyAction) -> AnyAction:
        if isinstance(name, str):
            return await self.registry.get(kind, name)
        if not isinstance(name, Action) or name.kind != kind:
            raise invalid(str(kind), name, f"must be a {kind}'s name or action")
        return name
