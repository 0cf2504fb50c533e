"""The actions of a store that is open already."""

from __future__ import annotations

from genkit_rag._rag.stores.actions import StorePlugin
from genkit_rag._rag.vector_store import SearchMode, VectorStore


class OpenStore(StorePlugin):
    """Registers the actions of a store that is open already, with the embedding model that filled it.

    A plugin needs the name of the embedding model when it is created; the command line learns it from the open store.

    Args:
        owner: The plugin that opened the store. Its name and access rules apply.
        name: The name of the store within its plugin.
        store: The store.
        embedder: The name of its embedding model.
    """

    def __init__(self, owner: StorePlugin, name: str, store: VectorStore, embedder: str) -> None:
        super().__init__(
            [name],
            name=owner.name,
            embedder=embedder,
            mode=default_mode(store),
            required_filter=owner.access.required_filter,
            required_namespace=owner.access.required_namespace,
        )
        self._store = store

    async def open_store(self, store: str) -> VectorStore:
        """Return the open store."""
        return self._store


def default_mode(store: VectorStore) -> SearchMode:
    """Return the search mode of a command that names none: hybrid if the store supports it."""
    return "hybrid" if "hybrid" in store.modes else store.modes[0]
