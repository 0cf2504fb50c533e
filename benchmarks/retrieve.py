"""Index, retrieve, filtered retrieve, tracing, concurrency, durability on FAISS flat against plain faiss."""

from __future__ import annotations

import asyncio
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from benchmarks.workload import (
    DIMENSIONS,
    FILTER,
    BenchEmbedder,
    Report,
    Workload,
    concurrently,
    interleaved,
    with_ticker,
)
from genkit_rag import Genkit
from genkit_rag_faiss import Faiss

K = {"k": 10, "mode": "vector"}


class Plain:
    """What somebody writes who has nothing but faiss: an index, lists for the payload, ids by category."""

    def __init__(self, workload: Workload) -> None:
        faiss.omp_set_num_threads(1)
        self.workload = workload
        self.index = faiss.IndexFlatIP(DIMENSIONS)
        self.index.add(workload.vectors)
        self.rows = list(zip(workload.ids, workload.texts, workload.metadata, strict=True))
        passing = [i for i, m in enumerate(workload.metadata) if m["cat"] == FILTER["cat"]]
        self.passing = np.asarray(passing, dtype="int64")

    async def retrieve(self, query: str) -> list[Any]:
        scores, found = self.index.search(self.workload.row(query)[None], 10)
        return [(*self.rows[i], float(s)) for s, i in zip(scores[0], found[0], strict=True)]

    async def filtered(self, query: str) -> list[Any]:
        selector = faiss.IDSelectorBatch(self.passing)
        params = faiss.SearchParameters(sel=selector)
        scores, found = self.index.search(self.workload.row(query)[None], 10, params=params)
        return [(*self.rows[i], float(s)) for s, i in zip(scores[0], found[0], strict=True)]


async def run(report: Report, n: int = 20_000) -> None:
    folder = Path(tempfile.mkdtemp(prefix="genkit_rag_bench_"))
    try:
        workload = Workload(n)
        await _index(report, workload, folder)
        await _retrieve(report, workload, folder)
        await _concurrent(report, workload, folder)
        await _small(report, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make(workload: Workload, folder: Path, **embedder: Any) -> Genkit:
    return Genkit(plugins=[BenchEmbedder(workload, **embedder), Faiss(["docs"], path=folder, embedder="bench/rows")])


async def _index(report: Report, workload: Workload, folder: Path) -> None:
    rates = []
    for _ in range(3):
        shutil.rmtree(folder, ignore_errors=True)
        async with make(workload, folder) as ai:
            await ai.store("faiss/docs")
            documents = workload.documents()
            start, cpu = time.perf_counter(), time.process_time()
            await ai.index("faiss/docs", documents, {"batch_size": 1000})
            rates.append((workload.n / (time.perf_counter() - start), (time.process_time() - cpu) / workload.n * 1e6))
    rate, cpu = max(rates)
    report.add(
        f"index {workload.n:,} documents, durable batches of 1,000",
        f"{rate:,.0f}/s, {cpu:.0f} us CPU",
        ">= 40,000/s",
        holds=rate >= 40_000,
    )
    start = time.perf_counter()
    async with make(workload, folder) as ai:
        await ai.retrieve("faiss/docs", workload.queries[0])
        report.add("reopen and answer the first query", f"{(time.perf_counter() - start) * 1e3:.0f} ms", "")


async def _retrieve(report: Report, workload: Workload, folder: Path) -> None:
    plain = Plain(workload)
    async with make(workload, folder) as ai:

        async def ours(query: str) -> Any:
            return await ai.retrieve("faiss/docs", query, K)

        async def filtered(query: str) -> Any:
            return await ai.retrieve("faiss/docs", query, {**K, "filter": FILTER})

        truth, filtered_truth = workload.truth(), workload.truth(category="c07")
        exact = [[d.id for d in await ours(q)] == t for q, t in zip(workload.queries, truth, strict=True)]
        report.add("retrieve is the exact top 10", f"{sum(exact)} of {len(exact)}", "all", holds=all(exact))
        hits = [{d.id for d in await filtered(q)} for q in workload.queries]
        same = [len(h & set(t)) for h, t in zip(hits, filtered_truth, strict=True)]
        report.add("a 5 % filter returns, of 10", f"{statistics.mean(same):.2f}", "10", holds=min(same) == 10)

        found = await interleaved(
            {"plain": plain.retrieve, "ours": ours, "plain filtered": plain.filtered, "ours filtered": filtered},
            workload.queries,
        )
        cost = found["ours"].cpu - found["plain"].cpu
        report.add("retrieve, plain faiss + payload, CPU", f"{found['plain'].cpu:.0f} us")
        report.add("retrieve over plain, CPU, untraced", f"{cost:+.0f} us", "<= 40 us", holds=cost <= 40)
        ratio = found["ours filtered"].p50 / found["plain filtered"].p50
        report.add("5 % filter, plain id selector, p50", f"{found['plain filtered'].p50:.0f} us")
        report.add("5 % filter, ours / plain, p50", f"{ratio:.2f}x", "<= 2x", holds=ratio <= 2)


async def _small(report: Report, folder: Path) -> None:
    """What the framework costs by itself: 200 documents, so that scanning memory, which varies by more, is no part."""
    workload = Workload(200)
    plain = Plain(workload)
    async with make(workload, folder / "small") as ai:
        await ai.index("faiss/docs", workload.documents())

        async def ours(query: str) -> Any:
            return await ai.retrieve("faiss/docs", query, K)

        calls = {"plain": plain.retrieve, "ours": ours}
        found = await interleaved(calls, workload.queries * 3)
        report.add("200 documents: plain, CPU", f"{found['plain'].cpu:.0f} us")
        report.add(
            "200 documents: retrieve over plain, CPU, untraced", f"{found['ours'].cpu - found['plain'].cpu:+.0f} us"
        )
        spans = _record_spans()
        found = await interleaved(calls, workload.queries * 3)
        before = len(spans)
        await ours(workload.queries[0])
        cost = found["ours"].cpu - found["plain"].cpu
        label = f"200 documents: retrieve over plain, CPU, traced ({len(spans) - before} spans)"
        report.add(label, f"{cost:+.0f} us", "<= 120 us", holds=cost <= 120)


def _record_spans() -> list[str]:
    """Returns the names of all spans from now on; their exporter keeps nothing else, as one that sends them does."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

    names: list[str] = []

    class Names(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            names.extend(span.name for span in spans)
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(Names()))
    trace.set_tracer_provider(provider)
    return names


async def _concurrent(report: Report, workload: Workload, folder: Path) -> None:
    async with make(workload, folder, blocks=0.02) as ai:

        async def ours(query: str) -> Any:
            return await ai.retrieve("faiss/docs", query, K)

        await ours(workload.queries[-1])
        runs = []
        for _ in range(5):
            runs.append(await with_ticker(concurrently(ours, workload.queries[:64])))
            await asyncio.sleep(0.1)
        wall, stall = statistics.median(w for w, _ in runs), statistics.median(s for _, s in runs)
        label = "64 queries, 32 at a time, embedder blocks 20 ms"
        report.add(f"{label}: wall", f"{wall * 1e3:.0f} ms", "< 120 ms", holds=wall < 0.12)
        report.add(f"{label}: worst stall", f"{stall * 1e3:.1f} ms", "<= 15 ms", holds=stall <= 0.015)
