"""Retrieval quality on collections in BEIR layout: nDCG@10, recall@100 and latency of every mode and fusion.

nDCG as in Jarvelin and Kekalainen 2002 with the gains of the judgements and log2 discounts, over all judged queries.
"""

from __future__ import annotations

import asyncio
import json
import math
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genkit_rag import Document, Genkit
from genkit_rag_faiss import Faiss
from genkit_rag_late_interaction import LateInteraction
from genkit_rag_minilm import MiniLM

SYSTEMS: dict[str, dict[str, Any]] = {
    "vector": {"mode": "vector"},
    "text (BM25)": {"mode": "text"},
    "hybrid, RRF": {"mode": "hybrid", "fusion": "rrf"},
    "hybrid, convex (default)": {"mode": "hybrid"},
}
RERANKED = "hybrid + late interaction"
RERANKED_QUERIES = 100
"""The reranker reads its candidates anew at every query, half a second for 30: it gets the first hundred queries."""


class Collection:
    """Documents, queries and judgements."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        self.documents = [
            Document(f"{row['title']}\n\n{row['text']}" if row.get("title") else row["text"], id=row["_id"])
            for row in _lines(folder / "corpus.jsonl")
        ]
        self.judged: dict[str, dict[str, int]] = {}
        for line in (folder / "qrels" / "test.tsv").read_text(encoding="utf-8").splitlines()[1:]:
            query, document, gain = line.split("\t")
            self.judged.setdefault(query, {})[document] = int(gain)
        self.queries = {
            row["_id"]: row["text"] for row in _lines(folder / "queries.jsonl") if row["_id"] in self.judged
        }


def ndcg(ranking: Sequence[str], gains: dict[str, int], k: int = 10) -> float:
    found = sum(gains.get(id_, 0) / math.log2(rank + 2) for rank, id_ in enumerate(ranking[:k]))
    ideal = sum(gain / math.log2(rank + 2) for rank, gain in enumerate(sorted(gains.values(), reverse=True)[:k]))
    return found / ideal if ideal else 0.0


def recall(ranking: Sequence[str], gains: dict[str, int], k: int = 100) -> float:
    relevant = {id_ for id_, gain in gains.items() if gain > 0}
    return len(relevant & set(ranking[:k])) / len(relevant) if relevant else 0.0


def run(folders: Sequence[Path]) -> int:
    """Prints the table; returns 1 when the default hybrid is not ahead of both legs and of RRF somewhere."""
    missed = 0
    for folder in folders:
        missed |= asyncio.run(_collection(Collection(folder)))
    return missed


async def _collection(collection: Collection) -> int:
    path = Path(tempfile.mkdtemp(prefix="genkit_rag_quality_"))
    try:
        async with Genkit(plugins=[MiniLM(), Faiss(["docs"], path=path), LateInteraction()]) as ai:
            start = time.perf_counter()
            await ai.index("faiss/docs", collection.documents)
            took = time.perf_counter() - start
            print(f"\n{collection.name}: {len(collection.documents)} documents in {took:.0f} s, ", end="")
            print(f"{len(collection.queries)} queries\n  {'':<28}{'nDCG@10':>9}{'R@100':>9}{'p50 ms':>9}")
            scores = {name: await _system(ai, collection, name) for name in SYSTEMS}
            print(f"  the first {RERANKED_QUERIES} queries:")
            for name in ("hybrid, convex (default)", RERANKED):
                await _system(ai, collection, name, RERANKED_QUERIES)
    finally:
        shutil.rmtree(path, ignore_errors=True)
    best = scores["hybrid, convex (default)"]
    ahead = all(best > scores[name] for name in ("vector", "text (BM25)", "hybrid, RRF"))
    if not ahead:
        print("  <-- MISSED: the default hybrid is not ahead of both legs and of RRF")
    return 0 if ahead else 1


async def _system(ai: Genkit, collection: Collection, name: str, first: int | None = None) -> float:
    gains, recalls, laps = [], [], []
    for id_, text in list(collection.queries.items())[:first]:
        start = time.perf_counter()
        found: list[Document] = await ai.retrieve(
            "faiss/docs", text, {"k": 100, **SYSTEMS.get(name, {"mode": "hybrid"})}
        )
        if name == RERANKED:
            found = await ai.rerank("late-interaction/all-minilm-l6-v2", text, found[:30])
        laps.append(time.perf_counter() - start)
        ranking = [document.id for document in found]
        gains.append(ndcg(ranking, collection.judged[id_]))
        recalls.append(recall(ranking, collection.judged[id_]))
    mean = statistics.mean(gains)
    print(f"  {name:<28}{mean:>9.3f}{statistics.mean(recalls):>9.3f}{statistics.median(laps) * 1e3:>9.1f}")
    return mean


def _lines(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]
