"""What ingestion writes to: an indexer and the store behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from genkit_rag._core.context import ActionContext, current_context
from genkit_rag._documents.document import Document
from genkit_rag._rag.stores.access import Scope, refuse_foreign
from genkit_rag._rag.stores.actions import StorePlugin
from genkit_rag._rag.vector_store import DEFAULT_NAMESPACE, VectorStore

if TYPE_CHECKING:
    from genkit_rag._ai.retrieval import Retrieval
    from genkit_rag._rag.embedding import EmbedderAction


class IndexSink:
    """Chunks go through the indexer action, so that they are traced; what needs no embedding goes to its store.

    Made with `await IndexSink.open(ai, "faiss/docs")`.

    Attributes:
        target: The indexer's name, with the namespace where there is one.
        embedder: Nothing: a store is tied to one embedder and refuses others, so no source in it is of another one.
        action: The embedder itself, for its token counter.
    """

    def __init__(
        self,
        ai: Retrieval,
        indexer: str,
        store: VectorStore,
        embedder: EmbedderAction,
        scope: Scope,
        context: Mapping[str, Any] | None,
    ) -> None:
        self.target = f"{indexer} {scope.namespace}".rstrip()
        self.action = embedder
        self.embedder = ""
        self._ai = ai
        self._indexer = indexer
        self._store = store
        self._scope = scope
        self._namespace = scope.namespace
        self._context = context

    @classmethod
    async def open(
        cls,
        ai: Retrieval,
        indexer: str,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        context: Mapping[str, Any] | None = None,
    ) -> IndexSink:
        """Returns a sink over `<plugin>/<store>` for what this caller may touch of it.

        NOT_FOUND says which plugins have stores; PERMISSION_DENIED that the store's rules do not hold for this caller.
        """
        store = await ai.store(indexer)
        plugin_name, _, store_name = indexer.partition("/")
        plugin = next(plugin for plugin in ai.registry.plugins if plugin.name == plugin_name)
        assert isinstance(plugin, StorePlugin)  # `ai.store` found the store there
        handle = plugin.handle(store_name)
        ctx = ActionContext(current_context() if context is None else context)
        scope = handle.scope(ctx, namespace, None)
        return cls(ai, indexer, store, (await handle.service()).embedder, scope, context)

    async def index(self, documents: list[Document]) -> None:
        """Embeds and stores documents, replacing those with the same ids; they are durable then."""
        await self._ai.index(self._indexer, documents, {"namespace": self._namespace}, context=self._context)

    async def refresh(self, documents: list[Document]) -> None:
        """Replaces the metadata of documents whose vectors stay; embeds those that the store has lost meanwhile."""
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
        """Returns those of the ids that are in the store, and the caller's to see."""
        found = await self._store.get(ids, namespace=self._namespace)
        return {document.id for document in found if document is not None and self._scope.sees(document)}

    async def delete_ids(self, ids: list[str]) -> None:
        """Deletes documents; ids that are not there are no error."""
        await self._ai.delete(self._indexer, ids=ids, namespace=self._namespace, context=self._context)
