"""The durable, embedded vector store. Blocking work runs in threads."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from genkit_rag.plugin_api import (
    DEFAULT_NAMESPACE,
    Document,
    Embed,
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
    run_in_thread,
)
from genkit_rag_faiss._browse import Wanted, begins_so, page, sample, start_of
from genkit_rag_faiss._engine import Engine
from genkit_rag_faiss._index.view import View
from genkit_rag_faiss._inline import InlineBudget
from genkit_rag_faiss._options import FaissConfig
from genkit_rag_faiss._query import Crowd, Query, check_k
from genkit_rag_faiss._storage.files import check_store_name, io_error
from genkit_rag_faiss._storage.records import damaged, decode
from genkit_rag_faiss._storage.salvage import Salvage, Wreck, copy_documents
from genkit_rag_faiss._verify import Report, describe, verify

P = ParamSpec("P")
T = TypeVar("T")

INLINE_DOCUMENTS = 64
"""Up to so many documents are read on the event loop: about 5 microseconds each."""
_ATTEMPTS = 10
"""One is enough in the process that writes; a reader may meet the writer's next deletion."""


class FaissStore(VectorStore):
    """Documents and vectors in one directory: durable when a write returns, exact up to 200,000, with BM25.

    `store = await FaissStore.open("data/docs")`; scores are cosines in [-1, 1], or inner products with `metric='dot'`.
    """

    modes: tuple[SearchMode, ...] = ("vector", "text", "hybrid")

    def __init__(self, path: Path, options: FaissConfig) -> None:
        self.name = path.name
        self._engine = Engine(path, options)
        self._budget = InlineBudget()
        self._pid = os.getpid()
        self._closed = False
        self._writer = ThreadPoolExecutor(1, "faiss-writer")
        self._crowd = Crowd()
        self._searchers = self._crowd.pool
        self._background = ThreadPoolExecutor(1, "faiss-background")
        self._building: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, path: str | os.PathLike[str], options: FaissConfig | None = None, **changes: Any) -> FaissStore:
        """Open the store in a directory; create it if it does not exist.

        Args:
            path: The directory; its last part is the name of the store.
            options: How to open it.
            **changes: Single options by name: `mode='r'`, `index='hnsw'`.

        Raises:
            GenkitError: INVALID_ARGUMENT for an unsafe name, NOT_FOUND if there is no store to read,
                FAILED_PRECONDITION for another format or metric, DATA_LOSS for a damaged store.
        """
        directory = Path(path)
        check_store_name(directory.name)
        store = cls(directory, (options or FaissConfig()).changed(changes))
        try:
            await store._write(Engine.open)
        except BaseException:
            store._engine.close()
            store._shut_down()
            raise
        store._keep_up()
        return store

    @property
    def path(self) -> Path:
        """Its directory."""
        return self._engine.path

    # Writing.

    async def bind(self, fingerprint: Fingerprint) -> None:
        """Ties the store to an embedder, kept with its first documents, or checks that it is tied to this one."""
        await self._current()
        self._engine.bind(fingerprint)

    async def upsert(
        self, documents: Sequence[Document], vectors: Vectors, *, namespace: str = DEFAULT_NAMESPACE
    ) -> None:
        """Add documents atomically and durably, replacing those with the same ids."""
        await self._write(Engine.upsert, documents, vectors, namespace)
        self._keep_up()

    async def delete(
        self, *, ids: Sequence[str] | None = None, filter: Filter | None = None, namespace: str = DEFAULT_NAMESPACE
    ) -> int:
        """Delete documents durably and return their number."""
        return await self._write(Engine.delete, ids, filter, namespace)

    async def compact(self) -> None:
        """Drop the rows of deleted documents, build due indexes and write them to disk.

        Never needed for correctness: it saves memory, disk, and time at the next opening.
        """
        await self._write(Engine.compact)

    async def reindex(self, fingerprint: Fingerprint, embed: Embed, *, batch_size: int = 256) -> int:
        """Re-embed all documents with another model and swap the vectors at once; a killed run can continue."""
        await self._write(Engine.begin_reindex, fingerprint)
        while True:
            after = 0
            while rows := await self._write(Engine.without_new_vector, after, batch_size):
                vectors = await embed([decode(row).document() for row in rows])
                await self._write(Engine.lay_aside, rows, vectors, fingerprint.dimensions)
                after = rows[-1][0]
            changed = await self._write(Engine.finish_reindex, fingerprint)
            if changed is not None:
                self._keep_up()
                return changed

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
        check_k(k)
        view = await self._current()
        if view is None or k == 0:
            return [[] for _ in range(len(checked_vectors(vectors, None)))]
        self._engine.check_bound()
        queries = self._engine.normalized(checked_vectors(vectors, view.matrix.shape[1]))
        return await self._run(Query(self._engine, view, queries, k, filter, namespace, payload))

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
        check_k(k)
        view = await self._current()
        if view is None or k == 0:
            return []
        text = self._engine.caches.texts.get(namespace)
        if text is None or not text.covers(view):
            await self._in(self._background, self._engine.synced_text, namespace, view)
        return (await self._run(Query(self._engine, view, query, k, filter, namespace, payload)))[0]

    async def _run(self, job: Query) -> list[list[Hit]]:
        found = job.run_here() if self._cheap(job) else await self._crowd.run(job)
        for _ in range(_ATTEMPTS):
            if found is not None:
                return found
            found = await self._write(job.again)  # a deletion came between the search and the reading of documents
        raise damaged("documents that it should have are missing")

    def _cheap(self, job: Query) -> bool:
        engine, view = self._engine, job.view
        if job.size > INLINE_DOCUMENTS or not engine.filters.quick(job.filter, view):
            return False
        return self._budget.take(job.seconds())

    # Reading.

    async def get(self, ids: Sequence[str], *, namespace: str = DEFAULT_NAMESPACE) -> list[Document | None]:
        """Return the documents in the order of the ids; None for unknown ids."""
        await self._current()
        if len(ids) <= INLINE_DOCUMENTS:
            found = self._get(ids, namespace)
        else:
            found = await self._in(self._searchers, self._get, ids, namespace)
        await self._check_absent(namespace, [name for name, row in zip(ids, found, strict=True) if row is None])
        return found

    def _get(self, ids: Sequence[str], namespace: str) -> list[Document | None]:
        rows = {row[2]: decode(row) for row in self._engine.database.rows_of(namespace, list(dict.fromkeys(ids)))}
        return [rows[name].document() if name in rows else None for name in ids]

    async def _check_absent(self, namespace: str, ids: Sequence[str]) -> None:
        """Raise DATA_LOSS if existing ids were not found."""
        view = self._engine.view
        if ids and view is not None and view.holds(namespace, ids):
            # Just deleted, perhaps, or just added: where the writing is done, none comes between.
            await self._write(Engine.check_findable, namespace, ids)

    async def vectors(self, ids: Sequence[str], *, namespace: str = DEFAULT_NAMESPACE) -> list[Vectors | None]:
        """Return the vectors, as they are searched, in the order of the ids; None for unknown ids."""
        view = await self._current()
        if view is None:
            return [None] * len(ids)
        seqs = await self._in(self._searchers, self._engine.database.seqs_of, namespace, list(dict.fromkeys(ids)))
        await self._check_absent(namespace, [name for name in ids if name not in seqs])
        view = await self._current() or view
        rows = dict(zip(seqs, view.rows_of_seqs(np.array(list(seqs.values()), np.int64)).tolist(), strict=True))
        return [view.matrix[row].copy() if (row := rows.get(name, -1)) >= 0 else None for name in ids]

    async def count(self, *, filter: Filter | None = None, namespace: str | None = None) -> int:
        """Count the live documents that match the filter; `namespace=None` counts all namespaces."""
        view = await self._current()
        if view is None:
            return 0
        if filter is None:
            return view.live if namespace is None else view.counts.get(namespace, 0)
        rows = await self._in(self._searchers, self._engine.filters.rows, filter, namespace, view)
        return view.live if rows is None else len(rows)

    async def ids(self, *, filter: Filter | None = None, namespace: str = DEFAULT_NAMESPACE) -> list[str]:
        """Return the ids of the matching documents, oldest first."""
        view = await self._current()
        if view is None:
            return []
        rows = await self._in(self._searchers, self._engine.filters.rows, filter, namespace, view)
        chosen = np.flatnonzero(view.alive) if rows is None else rows
        return [view.ids[row] for row in chosen.tolist()]

    async def page(
        self,
        limit: int,
        *,
        after: str | None = None,
        filter: Filter | None = None,
        namespace: str = DEFAULT_NAMESPACE,
        prefix: str = "",
    ) -> tuple[list[Document], str | None]:
        """Return up to `limit` documents, oldest first or by id under a prefix, and the start of the next page."""
        view = await self._current()
        if view is None:
            return [], None
        wanted = Wanted(filter, namespace, prefix)
        if prefix and filter is None:
            return await self._in(self._searchers, begins_so, self._engine, wanted, after, limit)
        start = start_of(after, view)
        return await self._in(self._searchers, page, self._engine, view, wanted, start, limit)

    async def sample(
        self, limit: int, *, filter: Filter | None = None, namespace: str = DEFAULT_NAMESPACE
    ) -> list[str]:
        """Return the ids of up to `limit` matching documents, spread from the oldest to the newest."""
        view = await self._current()
        if view is None:
            return []
        return await self._in(self._searchers, sample, self._engine, view, Wanted(filter, namespace), limit)

    async def namespaces(self, limit: int) -> dict[str, int]:
        """Return the number of live documents of each namespace, largest first."""
        view = await self._current()
        counts = [] if view is None else [one for one in view.counts.items() if one[1]]
        return dict(sorted(counts, key=lambda one: -one[1])[:limit])

    async def problems(self) -> list[str]:
        """Read every byte of the documents and return the problems found."""
        return list((await self.verify()).problems)

    async def describe(self) -> StoreInfo:
        """Return the properties of the store."""
        view = await self._current()
        cosine = self._engine.options.metric == "cosine"
        vector = ScoreInfo("cosine", -1.0, 1.0) if cosine else ScoreInfo("dot")
        return StoreInfo(
            name=self.name,
            count=view.live if view is not None else 0,
            modes=self.modes,
            scores={"vector": vector, "text": ScoreInfo("bm25", 0.0), "hybrid": ScoreInfo("fused", 0.0)},
            fingerprint=self._engine.fingerprint,
            details=await self._in(self._searchers, describe, self._engine),
        )

    async def verify(self) -> Report:
        """Read every byte of the store and report problems; may take minutes."""
        await self._current()
        return await self._in(self._background, verify, self._engine)

    @classmethod
    async def salvage(cls, path: str | os.PathLike[str], target: str | os.PathLike[str]) -> Salvage:
        """Copy every document of a damaged store whose checksums hold into the new store `target`.

        The damaged store must be closed and is not changed.

        Raises:
            GenkitError: NOT_FOUND without its `store.db`; FAILED_PRECONDITION for a target that is not empty.
        """
        wreck = await run_in_thread(Wreck, Path(path) / "store.db")
        metric = wreck.setting("metric") or "cosine"
        store = await cls.open(target, metric=metric)
        try:
            if await store.count():
                raise GenkitError(
                    "FAILED_PRECONDITION",
                    f"The store `{target}` is not empty.",
                    hint="Name a new one: what is in it would be mixed with what is saved.",
                )
            return await copy_documents(wreck, store)
        finally:
            await store.close()
            wreck.close()

    async def close(self) -> None:
        """Save the data for a fast opening and free all resources. Safe to call twice."""
        if self._closed or os.getpid() != self._pid:
            self._closed = True
            return
        self._closed = True

        def finish() -> None:
            self._searchers.shutdown(wait=True)
            self._background.shutdown(wait=True)
            self._engine.close()

        await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._writer, finish))
        self._shut_down()

    # Threads.

    async def _current(self) -> View | None:
        """Return the newest view; FAILED_PRECONDITION if the store cannot be used from here."""
        self._usable()
        if self._engine.behind():
            await self._write(Engine.refresh)
        return self._engine.view

    def _usable(self) -> None:
        if self._closed:
            raise GenkitError("FAILED_PRECONDITION", f"The store `{self.name}` is closed.", hint="Open it again.")
        if os.getpid() != self._pid:
            raise GenkitError(
                "FAILED_PRECONDITION",
                f"The store `{self.name}` was opened before this process was forked.",
                hint="Open it in the process that uses it.",
            )

    async def _write(self, call: Callable[Concatenate[Engine, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        self._usable()
        return await self._in(self._writer, call, self._engine, *args, **kwargs)

    async def _in(self, pool: ThreadPoolExecutor, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, lambda: call(*args, **kwargs))
        except OSError as error:
            raise io_error(error, self._engine.path) from error

    def _keep_up(self) -> None:
        """Start building an approximate index if one is due and none is being built."""
        if self._engine.ann_is_due() and (self._building is None or self._building.done()):
            self._building = asyncio.ensure_future(self._build())

    async def _build(self) -> None:
        while self._engine.ann_is_due() and not self._closed:
            view = self._engine.view
            assert view is not None
            ann = await self._in(self._background, self._engine.caches.build_ann, view)
            if not self._closed:
                await self._write(Engine.install, view, ann)

    def _shut_down(self) -> None:
        for pool in (self._searchers, self._background, self._writer):
            pool.shutdown(wait=False)
