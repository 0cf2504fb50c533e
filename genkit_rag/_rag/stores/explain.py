"""Retrieves as the retriever does, and says how the result came about."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from genkit_rag._core.context import ActionContext
from genkit_rag._documents.document import Document
from genkit_rag._documents.wire import WireModel
from genkit_rag._rag.fusion import RRF_K, normalised
from genkit_rag._rag.retrieval import RetrieverRequest
from genkit_rag._rag.stores.handle import StoreHandle
from genkit_rag._rag.stores.search import FLOORS, SearchTrace, retrieve


class SubRetrieverRank(WireModel):
    """The position of a document in one ranking.

    Attributes:
        rank: From 0, among all candidates of this ranking.
        score: The score in this ranking.
        points: The input of the fusion: the normalised score, or `1 / (60 + rank from 1)`.
        adds: The contribution to the fused score: the points times the weight of the ranking.
    """

    rank: int
    score: float
    points: float | None = None
    adds: float | None = None


class RankingSummary(WireModel):
    """One ranking: how many candidates it had, between which scores, and its share in the fusion."""

    found: int
    best: float | None = None
    worst: float | None = None
    share: float | None = None


class Explanation(WireModel):
    """A retrieval with the steps that led to its result.

    Attributes:
        documents: The documents that the retriever returns.
        places: For each document its position in each ranking that found it.
        mode: The search mode.
        method: The fusion method.
        rankings: The rankings by name: `vector`, `text`.
        below: The number of results below `score_threshold`.
        milliseconds: The duration of each step: `embed`, `vector`, `text` (concurrent with `vector`), `documents`.
        notices: Further notices of the retriever.
    """

    documents: list[Document]
    places: list[dict[str, SubRetrieverRank]]
    mode: str
    method: str | None = None
    rankings: dict[str, RankingSummary]
    below: int = 0
    milliseconds: dict[str, float]
    notices: list[str] = Field(default_factory=list[str])


async def explain(handle: StoreHandle, request: RetrieverRequest, ctx: ActionContext) -> Explanation:
    """Run the store's retriever and return its documents with every step that led to them."""
    trail = SearchTrace(mode=handle.mode)
    found = await retrieve(handle, request, ctx, trail)
    shares = _shares(trail)
    tables = {name: _places(trail, name, shares.get(name)) for name in trail.rankings}
    return Explanation(
        documents=list(found),
        places=[{name: table[one.id] for name, table in tables.items() if one.id in table} for one in found],
        mode=trail.mode,
        method=trail.method,
        below=trail.below,
        notices=found.notices,
        rankings={
            name: RankingSummary(
                found=len(ranking),
                best=ranking[0][1] if ranking else None,
                worst=ranking[-1][1] if ranking else None,
                share=shares.get(name),
            )
            for name, ranking in trail.rankings.items()
        },
        milliseconds={step: round(seconds * 1000, 3) for step, seconds in trail.seconds.items()},
    )


def _shares(trail: SearchTrace) -> Mapping[str, float]:
    """Return the factor of each ranking's points, as `fuse` applies it."""
    if trail.method is None:
        return {}
    weights = {name: trail.weights.get(name, 1.0) for name in trail.rankings}
    total = 1.0 if trail.method == "rrf" else sum(weights.values()) or 1.0
    return {name: weight / total for name, weight in weights.items()}


def _places(trail: SearchTrace, name: str, share: float | None) -> dict[str, SubRetrieverRank]:
    ranking = trail.rankings[name]
    if trail.method is None or share is None:
        return {id_: SubRetrieverRank(rank=rank, score=score) for rank, (id_, score) in enumerate(ranking)}
    if trail.method == "rrf":
        points = [1.0 / (RRF_K + rank) for rank in range(1, len(ranking) + 1)]
    else:
        points = normalised([score for _, score in ranking], FLOORS.get(name))
    return {
        id_: SubRetrieverRank(rank=rank, score=score, points=point, adds=share * point)
        for rank, ((id_, score), point) in enumerate(zip(ranking, points, strict=True))
    }
