"""The vector store in PostgreSQL."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from genkit_rag.plugin_api import (
    DEFAULT_NAMESPACE,
    Document,
    Filter,
    Fingerprint,
    GenkitError,
    Hit,
    ScoreInfo,
    SearchMode,
    StoreInfo,
    Vectors,
    VectorStore,
    checked_vectors,
    fingerprint_mismatch,
    invalid,
    run_in_thread,
)
from genkit_rag_pgvector import _read as read
from genkit_rag_pgvector._index import Builder
from genkit_rag_pgvector._layout import Binding, Layout, is_gone
from genkit_rag_pgvector._options import PgVectorConfig, check_store_name
from genkit_rag_pgvector._pools import Pools
from genkit_rag_pgvector._psycopg import Connection, psycopg
from genkit_rag_pgvector._reindex import Change, Embed
from genkit_rag_pgvector._rows import check_batch, check_names, decode, encode
from genkit_rag_pgvector._search import Planner, search
from genkit_rag_pgvector._text import search_text
from genkit_rag_pgvector._write import Rebound, delete, upsert

P = ParamSpec("P")
T = TypeVar("T")

INLINE_DOCUMENTS = 64
"""Up to so many documents are made on the event loop: about 10 microseconds each."""
_ATTEMPTS = 5


class PgVectorStore(VectorStore):
    """Documents and vectors in PostgreSQL with pgvector: shared, durable when a write returns, with BM25.

    `store = await PgVectorStore.open("docs", "postgresql://user@host/database")`; scores are cosines in [-1, 1].
    """

    modes: tuple[SearchMode, ...] = ("vector", "text", "hybrid")

    def __init__(self, name: str, dsn: str, options: PgVectorConfig | None = None) -> None:
        self.name = check_store_name(name)
        self._options = options or PgVectorConfig()
        self._pools = Pools(dsn, self._options)
        self._layout = Layout(name, self._options, self._pools.where)
        self._planner = Planner(self._layout)
        self._builder = Builder(self._layout, self._pools)
        self._bound: Fingerprint | None = None
        self._binding: Binding | None = None

    @classmethod
    async def open(
        cls, name: str, dsn: str = "", options: PgVectorConfig | None = None, **changes: Any
    ) -> PgVectorStore:
        """Open the store with this name; create it if it does not exist.

        Args:
            name: The name of the store; part of its table names.
            dsn: The connection string; missing parts are taken from `PGHOST` and the like by libpq.
            options: Layout and connection options.
            **changes: Single options by name: `schema='rag'`, `halfvec=False`.

        Raises:
            GenkitError: UNAVAILABLE without a server, UNAUTHENTICATED for a wrong password, FAILED_PRECONDITION without
                pgvector 0.8, for another layout or a newer format, PERMISSION_DENIED for a role without the required
                rights.
        """
        store = cls(name, dsn, (options or PgVectorConfig()).changed(changes))
        try:
            await store._pools.run(store._layout.open)
        except BaseException:
            await store._pools.close()
            raise
        return store

    @classmethod
    async def names(cls, dsn: str, options: PgVectorConfig) -> list[str]:
        """Return the names of the stores in the database, sorted; creates nothing."""
        store = cls("docs", dsn, options)
        try:
            return await store._pools.run(store._layout.names)
        finally:
            await store._pools.close()

    # Writing.

    async def bind(self, fingerprint: Fingerprint) -> None:
        """Ties the store to an embedder or checks that it is tied to this one."""
        found = await self._pools.run(self._layout.bind, fingerprint)
        if found.fingerprint != fingerprint:
            raise fingerprint_mismatch(self.name, found.fingerprint, fingerprint)
        self._bound, self._binding = fingerprint, found

    async def upsert(
        self, documents: Sequence[Document], vectors: Vectors, *, namespace: str = DEFAULT_NAMESPACE
    ) -> None:
        """Add documents atomically and durably, replacing those with the same ids."""
        check_batch(documents, namespace)
        binding = await self._current(mine=True)
        if not documents:
            return
        if binding is None:
            raise GenkitError(
                "FAILED_PRECONDITION", f"The store `{self.name}` is tied to no embedder.", hint="Call `bind` first."
            )
        rows = await run_in_thread(self._encoded, documents, vectors, namespace, binding)
        total = await self._in(True, upsert, rows)
        self._builder.written(binding, total)

    def _encoded(self, documents: Sequence[Document], vectors: Vectors, namespace: str, binding: Binding) -> bytes:
        checked = checked_vectors(vectors, binding.fingerprint.dimensions)
        if len(checked) != len(documents):
            raise invalid("vectors", len(checked), f"must be one for each of the {len(documents)} documents")
        return encode(documents, normalized(checked, [document.id for document in documents]), namespace)

    async def delete(
        self, *, ids: Sequence[str] | None = None, filter: Filter | None = None, namespace: str = DEFAULT_NAMESPACE
    ) -> int:
        """Delete documents durably and return their number."""
        check_names("namespace", [namespace])
        check_names("ids", ids or [])
        if ids is not None and not ids:
            return 0
        return await self._pools.run(delete, self._layout, namespace, ids, filter)

    async def reindex(self, fingerprint: Fingerprint, embed: Embed, *, batch_size: int = 256) -> int:
        """Re-embed all documents with another model and swap the vectors atomically; return their number."""

        async def checked(documents: Sequence[Document]) -> Vectors:
            made = checked_vectors(await embed(documents), fingerprint.dimensions)
            if len(made) != len(documents):
                raise invalid("embed", len(made), f"must give one vector for each of the {len(documents)} documents")
            return normalized(made, [document.id for document in documents])

        async with self._pools.session() as connection:
            binding, count = await Change(connection, self._layout, fingerprint, checked, batch_size).run()
        self._bound, self._binding = fingerprint, binding
        self._planner.forget()
        return count

    # Searching.

    async def search(
        self,
        vectors: Vectors,
        k: int,
        *,
        filter: Filter | None = None,
        namespace: str = DEFAULT_NAMESPACE,
        payload: bool = True,
    ) -> list[list[Hit]]:
        """Return for each query vector the best `k` matching documents, best first; `k` of them if `k` exist."""
        check_names("namespace", [namespace])
        binding = await self._current(mine=True)
        if binding is None or k < 1:
            return [[] for _ in range(len(checked_vectors(vectors, None)))]
        queries = normalized(checked_vectors(vectors, binding.fingerprint.dimensions), None)
        work = functools.partial(_search, self._planner)
        return await self._in(True, work, queries, k, filter, (namespace, payload))

    async def search_text(
        self,
        query: str,
        k: int,
        *,
        filter: Filter | None = None,
        namespace: str = DEFAULT_NAMESPACE,
        payload: bool = True,
    ) -> list[Hit]:
        """Return the best `k` documents by keyword search (BM25). Any string is a query; there is no query syntax."""
        check_names("namespace", [namespace])
        if await self._current() is None or k < 1:
            return []
        return await self._in(False, search_text, query, k, filter, (namespace, payload))

    # Reading.

    async def get(self, ids: Sequence[str], *, namespace: str = DEFAULT_NAMESPACE) -> list[Document | None]:
        """Return the documents in the order of the ids; None for unknown ids."""
        if await self._current() is None:
            return [None] * len(ids)
        rows = await self._in(False, read.rows, _possible(ids), namespace)

        def made() -> list[Document | None]:
            return [decode(name, *rows[name]) if name in rows else None for name in ids]

        return made() if len(ids) <= INLINE_DOCUMENTS else await run_in_thread(made)

    async def vectors(self, ids: Sequence[str], *, namespace: str = DEFAULT_NAMESPACE) -> list[Vectors | None]:
        """Return the unit vectors in the order of the ids; None for unknown ids."""
        if await self._current(mine=True) is None:
            return [None] * len(ids)
        found = await self._in(True, read.vectors, _possible(ids), namespace)
        return [found.get(name) for name in ids]

    async def count(self, *, filter: Filter | None = None, namespace: str | None = None) -> int:
        """Count the live documents that match the filter; `namespace=None` counts all namespaces."""
        if await self._current() is None:
            return 0
        return await self._in(False, read.count, filter, namespace)

    async def ids(self, *, filter: Filter | None = None, namespace: str = DEFAULT_NAMESPACE) -> list[str]:
        """Return the ids of the matching documents, in order."""
        if await self._current() is None:
            return []
        return await self._in(False, read.ids, filter, namespace)

    async def page(
        self,
        limit: int,
        *,
        after: str | None = None,
        filter: Filter | None = None,
        namespace: str = DEFAULT_NAMESPACE,
        prefix: str = "",
    ) -> tuple[list[Document], str | None]:
        """Return up to `limit` documents in the order of their ids, and the last id if there are more."""
        check_names("after", [after or ""])
        if await self._current() is None or "\0" in prefix:
            return [], None
        rows = await self._in(False, read.page, filter, namespace, read.Window(limit + 1, after, prefix))
        return [decode(*row) for row in rows[:limit]], rows[limit - 1][0] if len(rows) > limit else None

    async def sample(
        self, limit: int, *, filter: Filter | None = None, namespace: str = DEFAULT_NAMESPACE
    ) -> list[str]:
        """Return the ids of up to `limit` matching documents, by a hash of the id; the same at every call."""
        return [] if await self._current() is None else await self._in(False, read.sample, filter, namespace, limit)

    async def namespaces(self, limit: int) -> dict[str, int]:
        """Return the number of documents of each namespace, largest first."""
        return {} if await self._current() is None else await self._in(False, read.namespaces, limit)

    async def describe(self) -> StoreInfo:
        """Return the properties of the store."""
        binding = await self._current()
        scores: dict[SearchMode, ScoreInfo] = {
            "vector": ScoreInfo("cosine", -1.0, 1.0),
            "text": ScoreInfo("bm25", 0.0),
            "hybrid": ScoreInfo("fused", 0.0),
        }
        count = 0 if binding is None else await self._in(False, read.count, None, None)
        details = {"server": self._pools.where, "schema": self._options.schema, "language": self._options.language}
        if binding is not None:
            details |= await self._in(False, read.details)
            binding = await self._current()
        return StoreInfo(self.name, count, self.modes, scores, binding.fingerprint if binding else None, details)

    async def close(self) -> None:
        """Build a due index, then close the connections. Safe to call twice."""
        if self._pools.closed:
            return
        try:
            await self._builder.finish()
        finally:
            await self._pools.close()

    # The active generation.

    async def _current(self, *, mine: bool = False) -> Binding | None:
        """Return the active generation as far as known; with `mine`, raise if it has another embedding model."""
        if self._pools.closed:
            raise GenkitError("FAILED_PRECONDITION", f"The store `{self.name}` is closed.", hint="Make a new one.")
        if self._binding is None:
            self._binding = await self._pools.run(self._layout.binding)
        binding = self._binding
        if mine and binding is not None and self._bound not in (None, binding.fingerprint):
            assert self._bound is not None
            raise fingerprint_mismatch(self.name, binding.fingerprint, self._bound)
        return binding

    async def _in(
        self,
        mine: bool,
        work: Callable[Concatenate[Connection, Layout, Binding, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run `work` on the active generation; repeat it if another process has just replaced it."""
        for _ in range(_ATTEMPTS):
            binding = await self._current(mine=mine)
            assert binding is not None
            try:
                return await self._pools.run(work, self._layout, binding, *args, **kwargs)
            except Rebound:
                self._binding = None
            except GenkitError as error:
                if not isinstance(error.__cause__, psycopg.Error) or not is_gone(error.__cause__):
                    raise
                self._binding = None
        raise Rebound


async def _search(
    planner: Planner, connection: Connection, layout: Layout, binding: Binding, *args: Any
) -> list[list[Hit]]:
    return await search(connection, layout, planner, binding, *args)


def normalized(vectors: Vectors, names: Sequence[str] | None) -> Vectors:
    """Return unit vectors; INVALID_ARGUMENT names the document of a zero vector."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not norms.all():
        row = int(np.flatnonzero(norms[:, 0] == 0)[0])
        which = f"document {names[row]!r}" if names is not None else f"query {row}"
        raise GenkitError(
            "INVALID_ARGUMENT",
            f"The vector of {which} is zero: it has no direction to compare.",
            hint="Check what the embedder makes of its text.",
        )
    made: Vectors = (vectors / norms).astype(np.float32)
    return made


def _possible(ids: Sequence[str]) -> list[str]:
    return [name for name in dict.fromkeys(ids) if "\0" not in name]
