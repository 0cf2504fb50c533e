"""What is measured of this library: every mode and fusion, and the rerankers that need no server behind them."""

from __future__ import annotations

import json
import shutil
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality_collections import Collection, best_of_owners
from genkit_rag import Document, Genkit
from genkit_rag_faiss import Faiss
from genkit_rag_late_interaction import LateInteraction
from genkit_rag_minilm import MiniLM
from genkit_rag_mmr import MMR
from genkit_rag_rrf import RRF
from genkit_rag_wrapped import Wrapped, WrappedConfig

MODEL = "minilm/all-minilm-l6-v2"
STORE = "faiss/docs"
DEFAULT = "hybrid, convex (default)"
MODES: dict[str, dict[str, Any]] = {
    "vector": {"mode": "vector"},
    "text (BM25)": {"mode": "text"},
    "hybrid, rrf": {"mode": "hybrid", "fusion": "rrf"},
    DEFAULT: {"mode": "hybrid"},
}
LATE = "late-interaction/all-minilm-l6-v2"
RERANKED: dict[str, list[str]] = {
    "default + late interaction": [LATE],
    "default + late interaction + rrf over stages": [LATE, "rrf"],
    "default + rrf over stages": ["rrf"],
    "default + mmr": ["mmr"],
}
COLD: dict[str, str] = {"default + late interaction": "cold/all-minilm-l6-v2", "default + mmr": "mmr-cold"}
"""The same rerankers without anything kept from earlier calls."""
COLD_QUERIES = 10
RERANK = 30
"""Candidates that are reranked; the others stay behind them."""
DEPTH = 100
CHUNK_DEPTH = 300
"""Chunks that are retrieved: the best 100 documents are seldom in fewer."""


@dataclass
class Measured:
    """The rankings of one system, by query, and the seconds they took."""

    name: str
    rankings: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    laps: list[float] = field(default_factory=list[float])
    cold: list[float] = field(default_factory=list[float])


class Bench:
    """One collection in a store, asked again and again. `units` are what is in the store: documents or chunks."""

    def __init__(self, ai: Genkit, collection: Collection, units: Sequence[Document], depth: int) -> None:
        self.ai = ai
        self.collection = collection
        self.units = units
        self.depth = depth
        self._candidates: dict[str, list[Document]] = {}
        self._owners = {unit.id: str(unit.metadata["owner"]) for unit in units if "owner" in unit.metadata}

    async def mode(self, name: str, label: str = "") -> Measured:
        measured = Measured(label or name)
        for id_, text in self.collection.queries.items():
            start = time.perf_counter()
            found = await self._retrieve(name, text)
            measured.laps.append(time.perf_counter() - start)
            measured.rankings[id_] = best_of_owners([document.id for document in found], self._owners)
        return measured

    async def reranked(self, name: str) -> Measured:
        """Measures the reranking alone: its seconds are without the retrieval before it."""
        measured = Measured(name)
        for number, (id_, text) in enumerate(self.collection.queries.items()):
            candidates = self._candidates.get(id_) or await self._retrieve(DEFAULT, text)
            self._candidates[id_] = candidates
            if name in COLD and number < COLD_QUERIES:
                start = time.perf_counter()
                await self.ai.rerank(COLD[name], text, candidates[:RERANK])
                measured.cold.append(time.perf_counter() - start)
            start = time.perf_counter()
            best = candidates[:RERANK]
            for reranker in RERANKED[name]:
                best = await self.ai.rerank(reranker, text, best)
            measured.laps.append(time.perf_counter() - start)
            measured.rankings[id_] = [document.id for document in (*best, *candidates[RERANK:])]
        return measured

    async def warm(self) -> None:
        """Has late interaction read every document, so that what is timed later finds its token vectors."""
        documents = self.collection.documents
        for start in range(0, len(documents), 100):
            await self.ai.rerank(LATE, "warm", documents[start : start + 100])

    async def embedding_ms(self) -> float:
        """Returns the median of embedding a query, which the latency of every retrieval by vectors holds."""
        laps = []
        for text in self.collection.queries.values():
            start = time.perf_counter()
            await self.ai.embed_many(MODEL, [text])
            laps.append(time.perf_counter() - start)
        return statistics.median(laps) * 1e3

    async def export(self, folder: Path) -> None:
        """Writes units, queries and their vectors for the peers."""
        units = [[unit.id, unit.text] for unit in self.units]
        queries = [[id_, text] for id_, text in self.collection.queries.items()]
        texts = {"units": units, "queries": queries, "deep": self.depth}
        (folder / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
        np.savez(folder / "vectors.npz", units=await self._vectors(units), queries=await self._vectors(queries))

    async def _retrieve(self, name: str, text: str) -> list[Document]:
        return list(await self.ai.retrieve(STORE, text, {"k": self.depth, **MODES[name]}))

    async def _vectors(self, pairs: Sequence[Sequence[str]]) -> Any:
        rows = await self.ai.embed_many("wrapped/cached", [text for _, text in pairs])
        return np.asarray([row[0].embedding for row in rows], dtype=np.float32)


@asynccontextmanager
async def bench(collection: Collection, cache: Path, *, chunked: bool) -> AsyncIterator[Bench]:
    """Yields the collection in a store of its own. Document vectors and token vectors come from `cache`."""
    units = collection.chunks if chunked else collection.documents
    wrapped = Wrapped({"cached": WrappedConfig(MODEL, cache=cache / "vectors.sqlite")})
    path = Path(tempfile.mkdtemp(prefix="genkit_rag_quality_"))
    late = LateInteraction(cache_bytes=2 << 30, cache_path=cache / "tokens.sqlite", cache_path_bytes=4 << 30)
    cold = LateInteraction(name="cold", cache_bytes=0)
    try:
        async with Genkit(plugins=[MiniLM(), wrapped, Faiss(["docs"], path=path, embedder="wrapped/cached")]) as ai:
            await ai.index(STORE, units)
        # The store is asked with the bare model: a query's embedding belongs to its latency.
        plugins = [
            MiniLM(),
            wrapped,
            Faiss(["docs"], path=path, embedder=MODEL),
            late,
            cold,
            RRF(),
            MMR("wrapped/cached"),
            MMR(MODEL, name="mmr-cold"),
        ]
        async with Genkit(plugins=plugins) as ai:
            await ai.retrieve(STORE, "warm", {"mode": "hybrid"})
            yield Bench(ai, collection, units, CHUNK_DEPTH if chunked else DEPTH)
    finally:
        shutil.rmtree(path, ignore_errors=True)
