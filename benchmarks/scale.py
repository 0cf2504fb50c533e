"""Cost against size in the FAISS store, as a table and a plot: `python -m benchmarks.scale [--sizes 10000 1000000]`.

384 dimensions, 2,000 clusters. For each size one process builds and closes the store, and a fresh one opens it, so that
memory is that of a reader. Recall is against a scan of all rows that pass. `--svg PATH` writes the plot.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genkit_rag.plugin_api import Document, Fingerprint, parse_filter
from genkit_rag_faiss import FaissStore

DIMENSIONS, CLUSTERS, QUERIES = 384, 2000, 100
FILTERS: dict[str, dict[str, Any] | None] = {
    "no filter": None,
    "50 %": {"half": 1},
    "10 %": {"tenth": 3},
    "1 %": {"hundredth": 3},
    "0.01 %": {"rare": 3},
}
PERIODS = {"half": 2, "tenth": 10, "hundredth": 100, "rare": 10_000}
BATCH = 5000


def rows(n: int, seed: int = 0) -> Any:
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((CLUSTERS, DIMENSIONS)).astype(np.float32)
    found = np.empty((n, DIMENSIONS), np.float32)
    for start in range(0, n, 50_000):
        part = found[start : start + 50_000]
        part[:] = centres[random.integers(0, CLUSTERS, len(part))]
        part += random.standard_normal(part.shape).astype(np.float32)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found


def document(i: int) -> Document:
    text = f"passage {i} about topic {i % 977} and word{i % 5003} in a collection of many"
    return Document(
        text, {"i": i, **{name: i % period for name, period in PERIODS.items()}}, id=f"file{i // 50}#{i:07x}"
    )


def _size(path: Path) -> float:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6


async def build(path: Path, n: int) -> dict[str, float]:
    vectors = rows(n)
    store = await FaissStore.open(path)
    await store.bind(Fingerprint("bench", "clusters", DIMENSIONS))
    writing = 0.0
    for start in range(0, n, BATCH):
        documents = [document(i) for i in range(start, min(start + BATCH, n))]
        begun = time.perf_counter()
        await store.upsert(documents, vectors[start : start + BATCH])
        writing += time.perf_counter() - begun
    begun = time.perf_counter()
    for raw in FILTERS.values():
        await store.count(filter=parse_filter(raw))
    columns = time.perf_counter() - begun
    begun = time.perf_counter()
    await store.compact()  # waits for the approximate index, and writes the segments
    indexing = time.perf_counter() - begun
    await store.close()
    return {"index_s": writing, "columns_s": columns, "compact_s": indexing, "disk_mb": _size(path), "peak_mb": _peak()}


async def use(path: Path, n: int) -> dict[str, Any]:
    before = _peak()
    begun = time.perf_counter()
    store = await FaissStore.open(path, mode="r")
    found: dict[str, Any] = {"reopen_s": time.perf_counter() - begun, "memory_mb": _peak() - before}
    vectors = rows(n)
    random = np.random.default_rng(5)
    noise = random.standard_normal((QUERIES, DIMENSIONS)).astype(np.float32)
    queries = vectors[random.integers(0, n, QUERIES)] + 0.5 * noise / math.sqrt(DIMENSIONS)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    scores = np.concatenate([queries @ vectors[at : at + 50_000].T for at in range(0, n, 50_000)], axis=1)
    del vectors
    for name, raw in FILTERS.items():
        passing = np.arange(n)
        if raw:
            ((field, value),) = raw.items()
            passing = passing[passing % PERIODS[field] == value]
        found[name] = await _searches(store, queries, scores, passing, raw)
    await store.close()
    return found


async def _searches(store: FaissStore, queries: Any, scores: Any, passing: Any, raw: Any) -> dict[str, float]:
    tree, k = parse_filter(raw), min(10, len(passing))
    best = passing[np.argsort(-scores[:, passing], axis=1)[:, :k]]
    await store.search(queries[:1], 10, filter=tree)  # resolves the filter
    laps: list[list[float]] = [[], []]
    hits = 0
    for lap in laps:  # the first time the documents come from the disk
        for query, truth in zip(queries, best, strict=True):
            begun = time.perf_counter()
            (found,) = await store.search(query[None], 10, filter=tree)
            lap.append(time.perf_counter() - begun)
            assert len(found) == k
            hits += len({hit.document.metadata["i"] for hit in found if hit.document} & set(truth.tolist()))
    first, again = (float(np.median(lap)) * 1e3 for lap in laps)
    return {"first_ms": first, "p50_ms": again, "recall": hits / (2 * k * len(queries))}


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def table(results: dict[int, dict[str, Any]]) -> str:
    sizes = list(results)
    lines = ["| | " + " | ".join(f"{size:,}" for size in sizes) + " |", "|---" * (len(sizes) + 1) + "|"]

    def row(label: str, cells: Sequence[str]) -> None:
        lines.append(f"| {label} | " + " | ".join(cells) + " |")

    row("index, durable: documents/s", [f"{size / results[size]['index_s']:,.0f}" for size in sizes])
    row("compact (approximate index, segments), s", [f"{results[size]['compact_s']:.1f}" for size in sizes])
    row("first filters (columns of 4 fields), s", [f"{results[size]['columns_s']:.2f}" for size in sizes])
    row("reopen, s", [f"{results[size]['reopen_s']:.2f}" for size in sizes])
    for name in FILTERS:
        found = [results[size][name] for size in sizes]
        row(f"search k=10, {name}: p50 ms / recall@10", [f"{one['p50_ms']:.2f} / {one['recall']:.3f}" for one in found])
    row(
        "search k=10, documents read from the disk: p50 ms",
        [f"{results[size]['no filter']['first_ms']:.2f}" for size in sizes],
    )
    row("memory of a reader, MB", [f"{results[size]['memory_mb']:,.0f}" for size in sizes])
    row("peak memory of the writer, MB", [f"{results[size]['peak_mb']:,.0f}" for size in sizes])
    row("disk, MB", [f"{results[size]['disk_mb']:,.0f}" for size in sizes])
    return "\n".join(lines)


def plot(results: dict[int, dict[str, Any]]) -> str:
    """Returns the costs over the sizes as SVG, both axes logarithmic; the dashed line grows with n log n."""
    curves = {
        "index, s": [one["index_s"] for one in results.values()],
        "reopen, s": [one["reopen_s"] for one in results.values()],
        "search, ms": [one["no filter"]["p50_ms"] for one in results.values()],
        "search 10 %, ms": [one["10 %"]["p50_ms"] for one in results.values()],
        "search 1 %, ms": [one["1 %"]["p50_ms"] for one in results.values()],
    }
    sizes = list(results)
    start = curves["index, s"][0] / (sizes[0] * math.log(sizes[0]))
    curves["n log n"] = [start * size * math.log(size) for size in sizes]
    values = [value for curve in curves.values() for value in curve if value > 0]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    width, height, left, right, top, bottom = 640, 400, 60, 490, 20, 360

    def x(size: float) -> float:
        return left + (right - left) * math.log10(size / sizes[0]) / (math.log10(sizes[-1] / sizes[0]) or 1)

    def y(value: float) -> float:
        return top + (bottom - top) * (high - math.log10(value)) / (high - low)

    def text(at: float, height: float, words: str, anchor: str = "start", colour: str = "#444") -> str:
        return f'<text x="{at:.1f}" y="{height + 4:.1f}" text-anchor="{anchor}" fill="{colour}">{words}</text>'

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="12"><rect width="{width}" height="{height}" fill="white"/>'
    ]
    for power in range(low, high + 1):
        parts.append(f'<path d="M{left} {y(10**power):.1f}H{right}" stroke="#ddd"/>')
        parts.append(text(left - 6, y(10**power), f"{10.0**power:g}", "end"))
    parts += [text(x(size), bottom + 18, f"{size:,}", "middle") for size in sizes]
    colours = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#999")
    used: list[float] = []
    for colour, (label, curve) in zip(colours, curves.items(), strict=True):
        points = " ".join(f"{x(size):.1f},{y(value):.1f}" for size, value in zip(sizes, curve, strict=True))
        dashes = ' stroke-dasharray="4"' if label == "n log n" else ""
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>')
        at = y(curve[-1])
        while any(abs(at - other) < 13 for other in used):
            at += 3
        used.append(at)
        parts.append(text(right + 8, at, label, colour=colour))
    return "\n".join([*parts, "</svg>\n"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=int, default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--svg", type=Path)
    parser.add_argument("--step", choices=("build", "use"), help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        step = build if given.step == "build" else use
        print(json.dumps(asyncio.run(step(given.path, given.sizes[0]))))
        return
    results: dict[int, dict[str, Any]] = {}
    for size in given.sizes:
        folder = Path(tempfile.mkdtemp(prefix="genkit_rag_scale_"))
        try:
            for step_name in ("build", "use"):
                command = [
                    sys.executable,
                    "-m",
                    "benchmarks.scale",
                    "--step",
                    step_name,
                    "--path",
                    str(folder / "docs"),
                    "--sizes",
                    str(size),
                ]
                out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
                results.setdefault(size, {}).update(json.loads(out.splitlines()[-1]))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        print(f"{size:,}: {results[size]}", file=sys.stderr, flush=True)
    print(table(results))
    if given.svg:
        given.svg.write_text(plot(results))


if __name__ == "__main__":
    main()
