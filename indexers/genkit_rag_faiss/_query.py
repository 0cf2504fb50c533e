"""One search over one view, and many of them at once."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Any, TypeAlias

import numpy as np

from genkit_rag.plugin_api import Filter, Hit, Vectors, invalid
from genkit_rag_faiss._engine import Engine
from genkit_rag_faiss._index.arrays import Ints
from genkit_rag_faiss._index.exact import set_threads, threads
from genkit_rag_faiss._index.planner import scanned, search
from genkit_rag_faiss._index.view import View
from genkit_rag_faiss._inline import BYTES_PER_SECOND

Hits: TypeAlias = list[list[Hit]]

TEXT_SECONDS = (100e-6, 10e-9)
"""The cost of a keyword search: a constant, and seconds for each document."""
TOGETHER = 32
"""How many searches become one: a matrix product of so many queries takes a fifth of as many scans."""
WORKERS = 2


class Query:
    """One search over one view, to be run wherever there is time for it."""

    __slots__ = ("engine", "filter", "k", "namespace", "payload", "query", "view")

    def __init__(
        self,
        engine: Engine,
        view: View,
        query: Vectors | str,
        k: int,
        filter: Filter | None,
        namespace: str,
        payload: bool,
    ) -> None:
        self.engine = engine
        self.view = view
        self.query = query
        self.k = k
        self.filter = filter
        self.namespace = namespace
        self.payload = payload

    @property
    def size(self) -> int:
        """How many hits it gives at most."""
        return self.k * self.size_of_query

    @property
    def size_of_query(self) -> int:
        """How many vectors are searched for at once."""
        return 1 if isinstance(self.query, str) else len(self.query)

    def seconds(self) -> float:
        """Estimate the duration in seconds."""
        view = self.view
        if isinstance(self.query, str):
            return TEXT_SECONDS[0] + TEXT_SECONDS[1] * view.n
        rows = self.engine.filters.rows(self.filter, self.namespace, view)
        return len(self.query) * scanned(view, rows) * int(view.matrix.shape[1]) * 4 / BYTES_PER_SECOND

    def run_here(self) -> Hits | None:
        """Run the search with one FAISS thread, whatever the setting of this thread."""
        before = threads()
        if before == 1:
            return self.run()
        set_threads(1)
        try:
            return self.run()
        finally:
            set_threads(before)

    def again(self, engine: Engine) -> Hits | None:
        """Run the search on the newest view; called on the writer thread, so that no write intervenes."""
        engine.refresh()
        self.view = engine.view or self.view
        return self.run_here()

    def run(self) -> Hits | None:
        """Return the hits of each query; None if their documents were deleted in the meantime."""
        view = self.view
        rows = self.engine.filters.rows(self.filter, self.namespace, view)
        if not isinstance(self.query, str):
            return self.hits(*search(view, self.query, self.k, rows))
        text = self.engine.caches.texts.get(self.namespace)
        if text is None or not text.covers(view):
            text = self.engine.synced_text(self.namespace, view)
        pairs = text.search(self.query, self.k, view, None if self.filter is None else rows)
        one = self._hits([score for _, score in pairs], [row for row, _ in pairs])
        return None if one is None else [one]

    def hits(self, scores: Vectors, rows: Ints) -> Hits | None:
        """Return the hits of the search results; None if their documents were deleted in the meantime."""
        if self.engine.options.metric == "cosine" and scores.size and scores.max() > 1.0:
            scores = np.minimum(scores, 1.0)  # rounding
        hits: Hits = []
        for some_scores, some_rows in zip(scores.tolist(), rows.tolist(), strict=True):
            one = self._hits(some_scores, some_rows)
            if one is None:
                return None
            hits.append(one)
        return hits

    def _hits(self, scores: list[float], rows: list[int]) -> list[Hit] | None:
        ids = self.view.ids
        if not self.payload:
            return [Hit(ids[row], score) for score, row in zip(scores, rows, strict=True)]
        seqs: list[int] = self.view.seqs[rows].tolist() if rows else []
        payloads = self.engine.payloads.fetch(seqs)
        if len(payloads) < len(seqs):
            return None
        return [
            Hit((payload := payloads[seq]).id, score, payload.document(score))
            for score, seq in zip(scores, seqs, strict=True)
        ]

    @property
    def group(self) -> tuple[Any, ...]:
        """Equal for searches that look through the same rows."""
        tree = None if self.filter is None else repr(self.filter)
        return (self.view.generation, self.namespace, tree, self.query if isinstance(self.query, str) else None)


def run_together(jobs: Sequence[Query]) -> list[Hits | BaseException | None]:
    """Run several searches and return their results or errors; searches of the same rows share one scan."""
    results: dict[int, Hits | BaseException | None] = {}
    order = sorted(range(len(jobs)), key=lambda i: repr(jobs[i].group))
    for _, members in groupby(order, key=lambda i: jobs[i].group):
        results |= _run_group([(i, jobs[i]) for i in members])
    return [results[i] for i in range(len(jobs))]


def _run_group(group: Sequence[tuple[int, Query]]) -> dict[int, Hits | BaseException | None]:
    first = group[0][1]
    try:
        if len(group) == 1 or isinstance(first.query, str):
            return {i: job.run() for i, job in group}
        rows = first.engine.filters.rows(first.filter, first.namespace, first.view)
        queries = [job.query for _, job in group if not isinstance(job.query, str)]
        scores, found = search(first.view, np.concatenate(queries), max(job.k for _, job in group), rows)
        results: dict[int, Hits | BaseException | None] = {}
        start = 0
        for (i, job), query in zip(group, queries, strict=True):
            stop = start + len(query)
            results[i] = job.hits(scores[start:stop, : job.k], found[start:stop, : job.k])
            start = stop
        return results
    except Exception as error:
        return {i: error for i, _ in group}


class Crowd:
    """Searches that wait for a thread. Whatever has gathered while the threads were busy is done together."""

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(WORKERS, "faiss-search", initializer=set_threads, initargs=(1,))
        self._waiting: deque[tuple[Query, asyncio.Future[Hits | None]]] = deque()
        self._working = 0
        self._lock = threading.Lock()

    async def run(self, job: Query) -> Hits | None:
        """Run the search together with concurrent ones and return its result."""
        future: asyncio.Future[Hits | None] = asyncio.get_running_loop().create_future()
        with self._lock:
            self._waiting.append((job, future))
            start = self._working < WORKERS
            if start:
                self.pool.submit(self._work)
                self._working += 1
        return await future

    def _work(self) -> None:
        while batch := self._take():
            results = run_together([job for job, _ in batch])
            done = zip([future for _, future in batch], results, strict=True)
            for loop, pairs in groupby(done, key=lambda pair: pair[0].get_loop()):
                if not loop.is_closed():
                    loop.call_soon_threadsafe(_deliver, list(pairs))

    def _take(self) -> list[tuple[Query, asyncio.Future[Hits | None]]]:
        with self._lock:
            batch: list[tuple[Query, asyncio.Future[Hits | None]]] = []
            size = 0
            while self._waiting and (not batch or size + self._waiting[0][0].size_of_query <= TOGETHER):
                batch.append(self._waiting.popleft())
                size += batch[-1][0].size_of_query
            if not batch:
                self._working -= 1
            return batch


def _deliver(pairs: Iterable[tuple[asyncio.Future[Hits | None], Hits | BaseException | None]]) -> None:
    for future, result in pairs:
        if future.done():
            continue
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)


def check_k(k: int) -> None:
    """Raise INVALID_ARGUMENT unless `k` is an integer of at least 0."""
    if not isinstance(k, int) or isinstance(k, bool) or k < 0:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise invalid("k", k, "must be 0 or more")
