"""The plugin."""

from __future__ import annotations

from collections.abc import Sequence

from genkit_rag.plugin_api import RequiredFilter, RequiredNamespace, SearchMode, StorePlugin, VectorStore
from genkit_rag_memory._store import MemoryStore


class Memory(StorePlugin):
    """Registers `/indexer/memory/<store>` and `/retriever/memory/<store>` for each store.

    Args:
        stores: Their names.
        embedder: The embedder action that fills them, such as `minilm/all-minilm-l6-v2`.
        name: The plugin's name.
        mode: The search mode when a call names none.
        required_filter: A filter that holds for every call: a mapping, or a function of the action's context.
        required_namespace: The only namespace of every call: a name, or a function of the action's context.
    """

    def __init__(
        self,
        stores: Sequence[str] = ("docs",),
        *,
        embedder: str = "minilm/all-minilm-l6-v2",
        name: str = "memory",
        mode: SearchMode = "vector",
        required_filter: RequiredFilter | None = None,
        required_namespace: RequiredNamespace | None = None,
    ) -> None:
        super().__init__(
            stores,
            name=name,
            embedder=embedder,
            mode=mode,
            required_filter=required_filter,
            required_namespace=required_namespace,
        )

    async def open_store(self, store: str) -> VectorStore:
        """Create an empty store."""
        return MemoryStore(f"{self.name}/{store}")
