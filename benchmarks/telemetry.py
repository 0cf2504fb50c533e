"""The trace store and what tracing costs: `python -m benchmarks.telemetry`. Figures, no assertions."""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.workload import Report
from genkit_rag._server.telemetry import Condition, StoreLimits, TraceQuery, TraceStore
from genkit_rag._server.telemetry.wire import SpanData

TRACES, SPANS_PER_TRACE = 100_000, 5
NOW = time.time() * 1000
_KINDS = ("flow", "retriever", "embedder", "reranker", "model")
_WORDS = ("lunch", "noon", "vector", "index", "query", "answer", "document", "section", "rate", "limit", "token")


def _span(trace: int, number: int) -> SpanData:
    start = NOW - (TRACES - trace) * 100 + number
    text = " ".join(_WORDS[(trace * 7 + number * 3 + n) % len(_WORDS)] for n in range(8))
    attributes: dict[str, Any] = {
        "genkit:name": f"{_KINDS[number % 5]}-{trace % 40}",
        "genkit:type": "action",
        "genkit:state": "success",
        "genkit:metadata:subtype": _KINDS[number % 5],
        "genkit:input": json.dumps({"query": f"{text} n{trace}"}),
        "genkit:output": json.dumps({"documents": [{"content": [{"text": text * 3}]}]}),
    }
    return SpanData.model_validate(
        {
            "spanId": format(number + 1, "016x"),
            "traceId": format(trace + 1, "032x"),
            "startTime": start,
            "parentSpanId": format(1, "016x") if number else None,
            "endTime": start + trace % 977,
            "attributes": attributes,
            "displayName": "bench",
            "status": {"code": 2 if trace % 50 == 0 else 0},
        }
    )


def _best(work: Callable[[], Any], times: int = 5) -> float:
    durations = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        durations.append(time.perf_counter() - began)
    return statistics.median(durations)


def _fill(report: Report, store: TraceStore) -> None:
    spent, count = 0.0, 0
    for first in range(0, TRACES, 100):
        spans = [_span(trace, n) for trace in range(first, first + 100) for n in range(SPANS_PER_TRACE)]
        began = time.perf_counter()
        store.save(spans)
        spent += time.perf_counter() - began
        count += len(spans)
    rate = count / spent
    report.add(f"inserts, {count} spans in posts of 500", f"{rate:,.0f} spans/s", ">= 5,000", holds=rate >= 5000)


def _lists(report: Report, store: TraceStore) -> None:
    queries = {
        "newest": TraceQuery(),
        "by name": TraceQuery(where=(Condition("name", "eq", "flow-7"),)),
        "by name, nothing found": TraceQuery(where=(Condition("name", "eq", "none"),)),
        "errors over 900 ms": TraceQuery(where=(Condition("status", "eq", "error"), Condition("latency", "gte", 900))),
        "part of a name": TraceQuery(where=(Condition("name", "contains", "w-39"),)),
        "any span, by name": TraceQuery(where=(Condition("name", "eq", "model-3"),), any_span=True),
        "any span, by kind (all)": TraceQuery(where=(Condition("kind", "eq", "model"),), any_span=True),
        "a rare word": TraceQuery(text="n4711"),
        "a word in every trace": TraceQuery(text="lunch"),
        "two words and errors": TraceQuery(text="lunch noon", where=(Condition("status", "eq", "error"),)),
    }
    for name, query in queries.items():
        took = _best(lambda query=query: store.list_traces(query)) * 1e3
        report.add(f"list of {TRACES}: {name}", f"{took:.1f} ms", "< 300 ms", holds=took < 300)


def _big_trace(report: Report, store: TraceStore) -> None:
    spans = [_span(TRACES + 1, n) for n in range(1000)]
    store.save(spans)
    took = _best(lambda: store.load_json(spans[0].trace_id)) * 1e3
    report.add("load of 1,000 spans as JSON", f"{took:.1f} ms", "< 100 ms", holds=took < 100)
    took = _best(lambda: store.load(spans[0].trace_id)) * 1e3
    report.add("load of 1,000 spans, parsed", f"{took:.1f} ms", "< 100 ms", holds=took < 100)


def _traced(report: Report, folder: Path) -> None:
    from genkit_rag import Genkit
    from genkit_rag._server.telemetry.exporter import connect_telemetry

    ai = Genkit([])

    async def double(text: str) -> str:
        return text + text

    flow = ai.define_flow(double)

    async def runs(count: int, pause: float = 0.0) -> float:
        spent = 0.0
        for _ in range(count):
            began = time.perf_counter()
            await flow("x")
            spent += time.perf_counter() - began
            if pause:
                await asyncio.sleep(pause)
        return spent / count * 1e6

    bare = asyncio.run(runs(20_000))
    with _server(folder) as url:
        provider = connect_telemetry(url, realtime=True)
        asyncio.run(runs(200))
        provider.force_flush()
        for name, pause in (("in bursts of 1,000", 0.0), ("one every 2 ms", 0.002)):
            figures = []
            for _ in range(5):
                figures.append(asyncio.run(runs(1000 if not pause else 100, pause)))
                provider.force_flush()
            added = statistics.median(figures) - bare
            report.add(
                f"tracing with a server attached adds, {name}",
                f"{added:.0f} us per action",
                "< 150 us",
                holds=added < 150,
            )
        processor = provider._active_span_processor._span_processors[0]
        report.add("spans dropped meanwhile", str(getattr(processor, "dropped", "?")))
        provider.shutdown()


@contextlib.contextmanager
def _server(folder: Path) -> Iterator[str]:
    """A telemetry server in a process of its own, as `genkit-rag start` has it."""
    command = [sys.executable, "-c", _SERVE, str(folder / "live.db")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.communicate("")  # the end of its input is its sign to stop


_SERVE = """
import sys
from genkit_rag._server.serving import serve_in_thread
from genkit_rag._server.telemetry import TraceStore
from genkit_rag._server.telemetry.app import telemetry_app
with serve_in_thread(telemetry_app(TraceStore(sys.argv[1]))) as served:
    print(served.url, flush=True)
    sys.stdin.read()
"""


def run(report: Report) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = TraceStore(Path(folder) / "traces.db", StoreLimits(max_traces=2 * TRACES))
        _fill(report, store)
        _lists(report, store)
        _big_trace(report, store)
        report.add("size on disk", f"{store.stats()['bytes'] / 1e6:.0f} MB")
        store.close()
        _traced(report, Path(folder))


if __name__ == "__main__":
    report = Report("telemetry")
    run(report)
    report.show()
