"""The sink of `ai.ingest`: an indexer and the vector store behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from genkit_rag._core.action import Action, ActionKind
from genkit_rag._core.context import ActionContext, current_context
from genkit_rag._core.registry import Registry
from genkit_rag._documents.document import Document
from genkit_rag._rag.retrieval import IndexerRequest
from genkit_rag._rag.stores.access import Scope, refuse_foreign
from genkit_rag._rag.stores.actions import find_store
from genkit_rag._rag.stores.handle import DeleteRequest
from genkit_rag._rag.vector_store import DEFAULT_NAMESPACE, VectorStore

if TYPE_CHECKING:
    from genkit_rag._rag.embedding import EmbedderAction


class IndexSink:
    """Writes chunks through the indexer action, so that they are traced, and the rest directly to its store.

    Made with `await IndexSink.open(registry, "faiss/docs")`.

    Attributes:
        target: The name of the indexer, with the namespace if there is one.
        embedder: The embedding model of the store, for its token counter.
    """

    def __init__(
        self,
        actions: tuple[Action[Any, Any, Any], Action[Any, Any, Any]],
        store: VectorStore,
        embedder: EmbedderAction,
        scope: Scope,
        context: Mapping[str, Any] | None,
    ) -> None:
        self._index, self._delete = actions
        self.target = f"{self._index.name} {scope.namespace}".rstrip()
        self.embedder = embedder
        self._store = store
        self._scope = scope
        self._context = context

    @classmethod
    async def open(
        cls,
        registry: Registry,
        indexer: str,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        context: Mapping[str, Any] | None = None,
    ) -> IndexSink:
        """Open the store `<plugin>/<store>` for the part of it that this caller may access.

        Raises:
            GenkitError: NOT_FOUND if there is no such store; PERMISSION_DENIED if the access rules of the store cannot
                be evaluated for this caller.
        """
        handle = await find_store(registry, indexer)
        scope = handle.scope(ActionContext(current_context() if context is None else context), namespace, None)
        actions = (
            await registry.get(ActionKind.INDEXER, indexer),
            await registry.get(ActionKind.UTIL, f"{indexer}/delete"),
        )
        return cls(actions, await handle.store(), (await handle.service()).embedder, scope, context)

    @property
    def _namespace(self) -> str:
        return self._scope.namespace

    async def index(self, documents: list[Document]) -> None:
        """Embed and store documents durably, replacing those with the same ids."""
        request = IndexerRequest(documents=documents, options={"namespace": self._namespace})
        await self._index(request, context=self._context)

    async def refresh(self, documents: list[Document]) -> None:
        """Replace the metadata of documents and keep their vectors; embed those that the store has lost."""
        import numpy as np

        ids = [document.id for document in documents]
        refuse_foreign(self._scope, documents, await self._store.get(ids, namespace=self._namespace))
        found = await self._store.vectors(ids, namespace=self._namespace)
        pairs = [(document, row) for document, row in zip(documents, found, strict=True) if row is not None]
        if pairs:
            rows = np.stack([row for _, row in pairs])
            await self._store.upsert([document for document, _ in pairs], rows, namespace=self._namespace)
        lost = [document for document, row in zip(documents, found, strict=True) if row is None]
        if lost:
            await self.index(lost)

    async def existing(self, ids: list[str]) -> set[str]:
        """Return those of the ids that are in the store and visible to the caller."""
        found = await self._store.get(ids, namespace=self._namespace)
        return {document.id for document in found if document is not None and self._scope.sees(document)}

    async def delete_ids(self, ids: list[str]) -> None:
        """Delete documents by id; unknown ids are ignored."""
        await self._delete(DeleteRequest(ids=ids, namespace=self._namespace), context=self._context)
