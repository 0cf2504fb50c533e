"""The plugin: named stores below one folder, each with an indexer and a retriever."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genkit_rag.plugin_api import RequiredFilter, RequiredNamespace, SearchMode, StorePlugin
from genkit_rag_faiss._options import FaissConfig
from genkit_rag_faiss._storage.files import check_store_name
from genkit_rag_faiss._storage.salvage import Salvage
from genkit_rag_faiss._store import FaissStore


class Faiss(StorePlugin):
    """Durable vector stores in this process: `/indexer/faiss/<store>` and `/retriever/faiss/<store>`.

    Args:
        stores: The names of its stores; each is a folder, opened at its first use.
        path: The folder of the stores. Stores that exist there are found by their names even when not named here.
        embedder: The name of the embedder action that fills and queries them.
        mode: How a retrieval searches when it does not say: by vectors, by words, or both fused.
        name: The plugin's name, the first part of its actions' names.
        required_filter: A filter that holds for every call: a mapping, or a function of the action's context.
        required_namespace: The only namespace of every call: a name, or a function of the action's context.
        **options: `FaissConfig` by name: `index='hnsw'`, `quantize='fp16'`, `metric='dot'`, `lock_timeout=5`.
    """

    def __init__(
        self,
        stores: Sequence[str] = ("docs",),
        *,
        path: str | os.PathLike[str] = ".genkit_rag/faiss",
        embedder: str = "minilm/all-minilm-l6-v2",
        mode: SearchMode = "vector",
        name: str = "faiss",
        required_filter: RequiredFilter | None = None,
        required_namespace: RequiredNamespace | None = None,
        **options: Any,
    ) -> None:
        self.path = Path(path)
        self.options = FaissConfig().changed(options)
        super().__init__(
            stores,
            name=name,
            embedder=embedder,
            mode=mode,
            required_filter=required_filter,
            required_namespace=required_namespace,
        )
        for store in stores:
            check_store_name(store)

    async def open_store(self, store: str) -> FaissStore:
        """Open the store with this name; create it if it does not exist."""
        return await FaissStore.open(self.path / check_store_name(store), self.options)

    async def list_stores(self) -> Sequence[str]:
        """Return the names of the stores in the folder, sorted."""
        try:
            return sorted(entry.name for entry in self.path.iterdir() if (entry / "FORMAT").is_file())
        except OSError:
            return []

    async def salvage(self, store: str, to: str) -> Salvage:
        """Copy the undamaged documents of a store into a new store; see `FaissStore.salvage`."""
        return await FaissStore.salvage(self.path / check_store_name(store), self.path / check_store_name(to))

    def knows(self, store: str) -> bool:
        """Return whether the folder has a store with this name."""
        try:
            return (self.path / check_store_name(store) / "FORMAT").is_file()
        except Exception:  # a name that is no folder name is no store
            return False
