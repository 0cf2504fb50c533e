"""The plugin: named stores in one database, each with an indexer and a retriever."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from genkit_rag.plugin_api import SearchMode, StorePlugin
from genkit_rag_pgvector._options import PgVectorConfig, check_store_name
from genkit_rag_pgvector._store import PgVectorStore


class PgVector(StorePlugin):
    """Stores in PostgreSQL: `/indexer/pgvector/<store>` and `/retriever/pgvector/<store>`.

    Args:
        stores: The names of its stores; each has its tables, made at the first use.
        dsn: A connection string, `postgresql://user@host/database`. Without one the environment's `DATABASE_URL` is
            taken, else `PGHOST`, `PGUSER` and the like. It is never shown.
        embedder: The name of the embedder action that fills and queries them.
        mode: How a retrieval searches when it does not say: by vectors, by words, or both fused.
        name: The plugin's name, the first part of its actions' names.
        **options: `required_filter` and `required_namespace`, as every store plugin has them, and `PgVectorConfig` by
            name: `schema='rag'`, `language='german'`, `pool_size=16`.
    """

    def __init__(
        self,
        stores: Sequence[str] = ("docs",),
        *,
        dsn: str | None = None,
        embedder: str = "minilm/all-minilm-l6-v2",
        mode: SearchMode = "vector",
        name: str = "pgvector",
        **options: Any,
    ) -> None:
        rules = {rule: options.pop(rule) for rule in ("required_filter", "required_namespace") if rule in options}
        self.options = PgVectorConfig().changed(options)
        self._dsn = dsn if dsn is not None else os.environ.get("DATABASE_URL", "")
        super().__init__(stores, name=name, embedder=embedder, mode=mode, **rules)
        for store in stores:
            check_store_name(store)
        PgVectorStore("docs", self._dsn, self.options)  # a malformed dsn is refused now, not at the first use

    async def open_store(self, store: str) -> PgVectorStore:
        """Open the store with this name; create it if it does not exist."""
        return await PgVectorStore.open(store, self._dsn, self.options)

    async def list_stores(self) -> Sequence[str]:
        """Return the names of the stores in the database, sorted."""
        return await PgVectorStore.names(self._dsn, self.options)
