"""The workload, a fake embedder that costs nothing, and timers.

20,000 documents of about 230 characters with three metadata fields, unit vectors of 384 float32, 200 queries;
`cat == 'c07'` passes 5 %. CPU time is the figure to trust on a shared machine.
"""

from __future__ import annotations

import asyncio
import gc
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from genkit_rag.plugin_api import Batching, Document, EmbedderInfo, Plugin, embedder_action, run_in_thread

DIMENSIONS = 384
QUERIES = 200
FILTER = {"cat": "c07"}
_KEY = re.compile(r"\b([dq])(\d{6})\b").search


class Workload:
    """`n` documents and `QUERIES` queries; the same ones in every run."""

    def __init__(self, n: int = 20_000) -> None:
        rng = np.random.default_rng(7)
        self.n = n
        self.vectors = rng.standard_normal((n, DIMENSIONS), dtype=np.float32)
        self.vectors /= np.linalg.norm(self.vectors, axis=1, keepdims=True)
        near = rng.integers(0, n, QUERIES)
        noise = rng.standard_normal((QUERIES, DIMENSIONS), dtype=np.float32)
        self.query_vectors = self.vectors[near] + 0.5 * noise / np.sqrt(DIMENSIONS)
        self.query_vectors /= np.linalg.norm(self.query_vectors, axis=1, keepdims=True)
        self.query_vectors = np.ascontiguousarray(self.query_vectors, dtype=np.float32)
        vocabulary = np.array([f"w{j:04d}{'abcdefghij'[j % 10]}" for j in range(4000)])
        weights = 1.0 / np.arange(1, 4001)
        words = vocabulary[rng.choice(4000, size=(n, 32), p=weights / weights.sum())]
        self.ids = [f"d{i:06d}" for i in range(n)]
        self.texts = [f"{self.ids[i]} {' '.join(words[i])}." for i in range(n)]
        self.metadata = [
            {"cat": f"c{i % 20:02d}", "year": 2000 + i % 26, "source": f"file_{i // 50:04d}.md"} for i in range(n)
        ]
        self.queries = [f"q{j:06d} {' '.join(words[near[j]][[3, 11, 17]])}" for j in range(QUERIES)]

    def documents(self) -> list[Document]:
        return [Document(t, m, id=i) for i, t, m in zip(self.ids, self.texts, self.metadata, strict=True)]

    def truth(self, k: int = 10, category: str | None = None) -> list[list[str]]:
        scores = self.query_vectors @ self.vectors.T
        if category:
            scores[:, [m["cat"] != category for m in self.metadata]] = -9
        return [[self.ids[i] for i in row] for row in np.argsort(-scores, axis=1)[:, :k]]

    def row(self, text: str) -> Any:
        found = _KEY(text)
        assert found is not None
        table = self.query_vectors if found[1] == "q" else self.vectors
        return table[int(found[2])]


class BenchEmbedder(Plugin):
    """Looks the vector up by the key in the text; `blocks` seconds are slept in a worker thread first."""

    name = "bench"

    def __init__(self, workload: Workload, blocks: float = 0.0, *, query_cache: int = 0) -> None:
        self.workload, self.blocks, self.calls, self.query_cache = workload, blocks, 0, query_cache

    async def init(self) -> Sequence[Any]:
        from genkit_rag._rag.embedding_service import EmbeddingService

        def many(documents: list[Document]) -> Any:
            self.calls += 1
            if self.blocks:
                time.sleep(self.blocks)
            return np.stack([self.workload.row(document.text) for document in documents])

        async def embed(documents: list[Document]) -> Any:
            return await run_in_thread(many, documents) if self.blocks else many(documents)

        info = EmbedderInfo(dimensions=DIMENSIONS)
        action = embedder_action("bench/rows", embed, info=info, batching=Batching(max_texts=1000))
        # A cache would answer the repeated queries of a benchmark: off, unless it is what is measured.
        action.service = EmbeddingService(action, query_cache=self.query_cache)
        return [action]


@dataclass
class Timing:
    """Microseconds."""

    cpu: float
    p50: float
    p95: float


async def timed(call: Callable[[Any], Awaitable[Any]], inputs: Sequence[Any], warm: int = 20) -> Timing:
    for value in inputs[:warm]:
        await call(value)
    gc.collect()
    laps: list[float] = []
    cpu = time.process_time()
    for value in inputs:
        start = time.perf_counter()
        await call(value)
        laps.append(time.perf_counter() - start)
    cpu = time.process_time() - cpu
    laps.sort()
    return Timing(cpu / len(inputs) * 1e6, laps[len(laps) // 2] * 1e6, laps[int(len(laps) * 0.95)] * 1e6)


async def interleaved(
    calls: dict[str, Callable[[Any], Awaitable[Any]]], inputs: Sequence[Any], rounds: int = 9
) -> dict[str, Timing]:
    """The best of rounds in which the candidates take turns: what else the machine does only ever adds."""
    found: dict[str, list[Timing]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            found[name].append(await timed(call, inputs))
    return {
        name: Timing(*(min(getattr(t, part) for t in timings) for part in ("cpu", "p50", "p95")))
        for name, timings in found.items()
    }


async def with_ticker(work: Awaitable[Any], period: float = 0.005) -> tuple[float, float]:
    """Seconds that `work` took, and how late at most the loop came back to a ticker."""
    late, running = [0.0], True

    async def tick() -> None:
        while running:
            start = time.perf_counter()
            await asyncio.sleep(period)
            late.append(time.perf_counter() - start - period)

    ticker = asyncio.create_task(tick())
    await asyncio.sleep(0.02)
    start = time.perf_counter()
    await work
    wall = time.perf_counter() - start
    await asyncio.sleep(period)
    running = False
    await ticker
    return wall, max(late)


async def concurrently(call: Callable[[Any], Awaitable[Any]], inputs: Iterable[Any], width: int = 32) -> None:
    waiting = iter(inputs)

    async def worker() -> None:
        for value in waiting:
            await call(value)

    await asyncio.gather(*(worker() for _ in range(width)))


@dataclass
class Report:
    """Rows of `what | figure | bar`; a row that misses its bar is marked and counted."""

    title: str
    rows: list[tuple[str, str, str, bool]] = field(default_factory=list)

    def add(self, what: str, figure: str, bar: str = "", *, holds: bool = True) -> None:
        self.rows.append((what, figure, bar, holds))

    def show(self) -> int:
        print(f"\n{self.title}")
        for what, figure, bar, holds in self.rows:
            print(f"  {what:<66} {figure:>22}   {bar}{'' if holds else '   <-- MISSED'}")
        return sum(not holds for *_, holds in self.rows)
