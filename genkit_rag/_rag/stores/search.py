"""Retrieving from a store: by vectors, by words, both fused, or diversified."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from genkit_rag._core.context import ActionContext
from genkit_rag._core.errors import GenkitError
from genkit_rag._documents.checks import check_names
from genkit_rag._documents.document import Document
from genkit_rag._documents.filters import parse_filter
from genkit_rag._rag.fusion import Ranking, fuse
from genkit_rag._rag.mmr import mmr_order
from genkit_rag._rag.options import Fusion, RetrieverOptions, retriever_options
from genkit_rag._rag.retrieval import EMPTY_QUERY, RetrieverRequest, RetrieverResponse
from genkit_rag._rag.stores.access import Scope
from genkit_rag._rag.stores.handle import StoreHandle
from genkit_rag._rag.vector_store import Hit, SearchMode, Vectors, VectorStore

HYBRID_CANDIDATES = 150
"""The default number of candidates of each sub-retriever in a hybrid search."""

EVEN_WORDS = 5
"""A query of so many words gives both rankings of convex fusion the same share."""

FLOORS = {"text": 0.0}
"""A BM25 of 0 says that no word is shared; a cosine of 0 says nothing."""

Scores = dict[str, dict[str, float]]
_T = TypeVar("_T")


@dataclass(slots=True)
class SearchTrace:
    """The steps of a retrieval, for explanations.

    Attributes:
        mode: The search mode.
        rankings: The results of each ranking, `(id, score)`, best first; with `mmr_lambda` before diversification.
        method: The fusion method; None for a single ranking.
        weights: The weight of each ranking.
        seconds: The duration of each step; the two searches of a hybrid run concurrently.
        below: The number of results below the threshold.
    """

    mode: SearchMode = "vector"
    rankings: dict[str, Ranking] = field(default_factory=dict[str, Ranking])
    method: Fusion | None = None
    weights: dict[str, float] = field(default_factory=dict[str, float])
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    below: int = 0

    async def timed(self, step: str, work: Awaitable[_T]) -> _T:
        """Await the work and record its duration."""
        started = time.perf_counter()
        try:
            return await work
        finally:
            self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - started


def _timed(trail: SearchTrace | None, step: str, work: Awaitable[_T]) -> Awaitable[_T]:
    return work if trail is None else trail.timed(step, work)


async def retrieve(
    handle: StoreHandle, request: RetrieverRequest, ctx: ActionContext, trail: SearchTrace | None = None
) -> RetrieverResponse:
    """Retrieve documents of a store for a query; record the steps in `trail` if it is given."""
    options = retriever_options(request.options)
    tree = None if options.filter is None else parse_filter(options.filter)
    if options.namespace:
        check_names("options.namespace", [options.namespace])
    if options.k == 0:
        return RetrieverResponse()
    query = request.query
    if not query.data.strip():
        return RetrieverResponse(notices=[EMPTY_QUERY])
    store = await handle.store()
    mode = options.mode or handle.mode
    _check_mode(handle, store, mode, options)
    scope = handle.scope(ctx, options.namespace, tree)
    scores: Scores | None = None
    search = _Search(handle, store, options, scope, trail)
    if mode == "hybrid":
        hits, scores = await _hybrid(search, query)
    elif mode == "text":
        hits = await search.by_text(query, options.k)
    elif options.mmr_lambda is not None:
        hits = await _diverse(search, query, options.mmr_lambda)
    else:
        hits = await search.by_vector(await search.vector(query), options.k)
    response = _response(handle.name, hits, options, scores)
    if trail is not None:
        trail.mode, trail.below = mode, len(hits) - len(response)
    return response


@dataclass(slots=True)
class _Search:
    """The searches of one retrieval, limited to the caller's scope."""

    handle: StoreHandle
    store: VectorStore
    options: RetrieverOptions
    scope: Scope
    trail: SearchTrace | None

    async def vector(self, query: Document) -> Vectors:
        return await _timed(self.trail, "embed", self.handle.query_vector(self.store, query))

    async def by_vector(self, vector: Vectors, k: int, *, payload: bool = True) -> list[Hit]:
        scope = self.scope
        work = self.store.search(vector[None, :], k, filter=scope.filter, namespace=scope.namespace, payload=payload)
        found = await _timed(self.trail, "vector", work)
        return self._noted("vector", found[0])

    async def by_text(self, query: Document, k: int, *, payload: bool = True) -> list[Hit]:
        scope = self.scope
        work = self.store.search_text(query.text, k, filter=scope.filter, namespace=scope.namespace, payload=payload)
        return self._noted("text", await _timed(self.trail, "text", work))

    async def with_payload(self, hits: Sequence[Hit]) -> list[Hit]:
        """Fetch the documents of the hits; drop those that were deleted or replaced in the meantime."""
        work = self.store.get([hit.id for hit in hits], namespace=self.scope.namespace)
        documents = await _timed(self.trail, "documents", work)
        return [
            Hit(hit.id, hit.score, document)
            for hit, document in zip(hits, documents, strict=True)
            if document is not None and self.scope.sees(document)
        ]

    def _noted(self, ranking: str, hits: list[Hit]) -> list[Hit]:
        if self.trail is not None:
            self.trail.rankings[ranking] = [(hit.id, hit.score) for hit in hits]
        return hits


def _check_mode(handle: StoreHandle, store: VectorStore, mode: SearchMode, options: RetrieverOptions) -> None:
    if mode not in store.modes:
        raise GenkitError(
            "UNIMPLEMENTED",
            f"The store `{handle.name}` has no mode {mode!r}.",
            hint=f"It has {', '.join(store.modes)}.",
            details={"argument": "options.mode"},
        )
    if options.mmr_lambda is not None and mode != "vector":
        raise GenkitError(
            "UNIMPLEMENTED",
            f"`mmr_lambda` does not go with mode={mode!r}.",
            hint="Use mode='vector', or rerank the result with `mmr`.",
            details={"argument": "options.mmr_lambda"},
        )
    if mode == "hybrid":
        return
    idle = [name for name in ("fusion", "vector_weight", "candidates") if getattr(options, name) is not None]
    if idle and (idle != ["candidates"] or options.mmr_lambda is None):
        raise GenkitError(
            "INVALID_ARGUMENT",
            f"`options.{idle[0]}` does nothing with mode={mode!r}.",
            hint="Add mode='hybrid', or leave it out.",
            details={"argument": f"options.{idle[0]}"},
        )


async def _diverse(search: _Search, query: Document, mmr_lambda: float) -> list[Hit]:
    """Maximal marginal relevance over more candidates than wanted."""
    import numpy as np

    options = search.options
    vector = await search.vector(query)
    found = await search.by_vector(vector, max(options.candidates or 4 * options.k, options.k), payload=False)
    vectors = await search.store.vectors([hit.id for hit in found], namespace=search.scope.namespace)
    pairs = [(hit, row) for hit, row in zip(found, vectors, strict=True) if row is not None]
    if not pairs:
        return []
    order = mmr_order(vector, np.stack([row for _, row in pairs]), options.k, mmr_lambda)
    return await search.with_payload([pairs[position][0] for position in order])


async def _hybrid(search: _Search, query: Document) -> tuple[list[Hit], Scores]:
    """Run vector and keyword search concurrently and fuse them; also return each ranking's scores by id."""
    options = search.options
    vector = await search.vector(query)
    many = max(options.candidates or HYBRID_CANDIDATES, options.k)
    by_vector, by_text = await asyncio.gather(
        search.by_vector(vector, many, payload=False), search.by_text(query, many, payload=False)
    )
    rankings = {
        "vector": [(hit.id, hit.score) for hit in by_vector],
        "text": [(hit.id, hit.score) for hit in by_text],
    }
    weight = share_of_vectors(query.text) if options.vector_weight is None else options.vector_weight
    method = options.fusion or "convex"
    # Reciprocal rank fusion is unweighted by definition; weights apply only on request.
    weights = {"vector": weight, "text": 1 - weight}
    if method == "rrf" and options.vector_weight is None:
        weights = {}
    if search.trail is not None:
        search.trail.method, search.trail.weights = method, weights
    fused = fuse(rankings, method=method, weights=weights, floors=FLOORS)[: options.k]
    scores: Scores = {}
    for name, ranking in rankings.items():
        for id_, score in ranking:
            scores.setdefault(id_, {})[name] = score
    return await search.with_payload([Hit(id_, score) for id_, score in fused]), scores


def share_of_vectors(query: str) -> float:
    """Return the default weight of the vector ranking: `n / (n + EVEN_WORDS)` for a query of n words.

    Short queries are often names, which keyword search finds better; questions express a meaning, which vector search
    finds better. The rule was chosen on two of three collections and beat an even weight on the third.
    """
    words = len(query.split())
    return words / (words + EVEN_WORDS) if words else 1.0


def _response(name: str, hits: list[Hit], options: RetrieverOptions, scores: Scores | None) -> RetrieverResponse:
    response = RetrieverResponse()
    for hit in hits:
        document = hit.document
        if document is None or (options.score_threshold is not None and hit.score < options.score_threshold):
            continue
        document.score = hit.score
        document.rank = len(response)
        document.retriever = name
        if scores is not None:
            document.scores = scores.get(hit.id)
        response.append(document)
    return response
