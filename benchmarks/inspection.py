"""What the developer UI's screens about stores cost on a large FAISS index: pages, facets, a source, the map.

`python -m benchmarks.inspection [DOCUMENTS]`; a million by default, whose vectors are short: pages do not look at them.
Every figure is of the action on the wire, validation and JSON included.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.workload import Report
from genkit_rag import Document, Genkit
from genkit_rag.plugin_api import EmbedResponse, embedder_action
from genkit_rag_faiss import Faiss, FaissStore

DOCUMENTS = 1_000_000
DIMENSIONS = 32
BATCH = 20_000
BAR_MS = 300.0
"""Of a page, wherever it begins."""


def _documents(first: int, count: int) -> list[Document]:
    return [
        Document(
            f"passage {i} about topic {i % 977} and word{i % 5003}",
            {"number": i, "tenth": i % 10, "rare": i % 10_000, "source": f"file{i // 50}.md", "start": i % 50 * 40},
            id=f"file{i // 50}.md#{i:08x}",
        )
        for i in range(first, first + count)
    ]


def _embedder() -> Any:
    async def embed(documents: Sequence[Document]) -> EmbedResponse:
        seeds = [abs(hash(document.text)) % 2**32 for document in documents]
        rows = [np.random.default_rng(seed).standard_normal(DIMENSIONS) for seed in seeds]
        return EmbedResponse(np.stack(rows).astype("f4"))

    return embedder_action("bench/random", embed)


async def _fill(path: Path, embedder: Any, count: int) -> None:
    store = await FaissStore.open(path, index="flat")
    await store.bind(embedder.fingerprint(DIMENSIONS))
    rng = np.random.default_rng(1)
    for first in range(0, count, BATCH):
        size = min(BATCH, count - first)
        await store.upsert(_documents(first, size), rng.standard_normal((size, DIMENSIONS)).astype("f4"))
    await store.close()


async def _timed(action: Any, request: Any, rounds: int = 5) -> tuple[float, float, Any]:
    """Returns the first and the median of the others in milliseconds, and the answer."""
    took: list[float] = []
    answer: Any = None
    for _ in range(rounds):
        started = time.perf_counter()
        answer = await action.run_json(request)
        json.dumps(answer)
        took.append((time.perf_counter() - started) * 1000)
    return took[0], statistics.median(took[1:]) if rounds > 1 else took[0], answer


async def run(report: Report, count: int = DOCUMENTS) -> None:
    """Builds an index and reports the figures beside their bars."""
    with tempfile.TemporaryDirectory() as folder:
        embedder = _embedder()
        await _fill(Path(folder) / "docs", embedder, count)
        plugin = Faiss(["docs"], path=folder, embedder="bench/random", index="flat")
        async with Genkit(plugins=[plugin]) as ai:
            ai.registry.register(embedder)
            actions = {
                verb: await ai.registry.get("util", f"faiss/docs/{verb}")
                for verb in ("stats", "page", "facets", "source", "projection")
            }
            await actions["stats"].run_json({})  # opens the store
            await _pages(report, actions["page"], count)
            for verb, request in (
                ("stats", {}),
                ("facets", {"sample": 2000}),
                ("source", {"source": f"file{count // 100}.md"}),
                ("projection", {"points": 2000}),
                ("projection", {"points": 50_000, "field": "tenth"}),
            ):
                first, median, _ = await _timed(actions[verb], request, 3)
                report.add(f"{verb} {json.dumps(request)}", f"{median:.0f} ms, first time {first:.0f} ms")


async def _pages(report: Report, page: Any, count: int) -> None:
    cases = {
        "the first page": {"limit": 50, "count": True},
        "a page in the middle": {"limit": 50, "after": str(count // 2)},
        "the last page": {"limit": 50, "after": str(count - 40)},
        "ids that begin so, at the end": {"limit": 50, "prefix": f"file{(count - 1) // 50}.md"},
        "under a filter of a tenth": {"limit": 50, "filter": {"tenth": 3}, "count": True},
        "under a filter of a ten-thousandth": {"limit": 50, "filter": {"rare": 77}, "count": True},
    }
    for name, request in cases.items():
        first, median, answer = await _timed(page, request)
        assert answer["documents"], name
        report.add(
            f"{name} of {count:,}",
            f"{median:.1f} ms, first time {first:.0f} ms",
            f"< {BAR_MS:.0f} ms",
            holds=median < BAR_MS,
        )


if __name__ == "__main__":
    alone = Report("Looking inside a store")
    asyncio.run(run(alone, int(sys.argv[1]) if len(sys.argv) > 1 else DOCUMENTS))
    sys.exit(1 if alone.show() else 0)
