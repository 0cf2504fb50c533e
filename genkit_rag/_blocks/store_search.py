"""Retrieving from a store: by vectors, by words, both fused, or diversified."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from genkit_rag._blocks.access import Scope
from genkit_rag._blocks.document import Document
from genkit_rag._blocks.document_checks import check_names
from genkit_rag._blocks.filters import parse_filter
from genkit_rag._blocks.fusion import fuse
from genkit_rag._blocks.mmr import mmr_order
from genkit_rag._blocks.options import RetrieverOptions, retriever_options
from genkit_rag._blocks.retrieval import EMPTY_QUERY, RetrieverRequest, RetrieverResponse
from genkit_rag._blocks.store_handle import StoreHandle
from genkit_rag._blocks.vector_store import Hit, SearchMode, VectorStore
from genkit_rag._core.context import ActionContext
from genkit_rag._core.errors import GenkitError

HYBRID_CANDIDATES = 150
"""How many candidates each leg of a hybrid search looks at, unless the options say otherwise."""

EVEN_WORDS = 5
"""A query of so many words gives both rankings of convex fusion the same share."""

Scores = dict[str, dict[str, float]]


async def retrieve(handle: StoreHandle, request: RetrieverRequest, ctx: ActionContext) -> RetrieverResponse:
    """Returns the documents of a store for a query."""
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
    if mode == "hybrid":
        hits, scores = await _hybrid(handle, store, query, options, scope)
    elif mode == "text":
        hits = await store.search_text(query.text, options.k, filter=scope.filter, namespace=scope.namespace)
    elif options.mmr_lambda is not None:
        hits = await _diverse(handle, store, query, options, scope)
    else:
        vector = await handle.query_vector(store, query)
        found = await store.search(vector[None, :], options.k, filter=scope.filter, namespace=scope.namespace)
        hits = found[0]
    return _response(handle.name, hits, options, scores)


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


async def _diverse(
    handle: StoreHandle, store: VectorStore, query: Document, options: RetrieverOptions, scope: Scope
) -> list[Hit]:
    """Maximal marginal relevance over more candidates than wanted."""
    import numpy as np

    assert options.mmr_lambda is not None
    vector = await handle.query_vector(store, query)
    candidates = max(options.candidates or 4 * options.k, options.k)
    found = await store.search(
        vector[None, :], candidates, filter=scope.filter, namespace=scope.namespace, payload=False
    )
    vectors = await store.vectors([hit.id for hit in found[0]], namespace=scope.namespace)
    pairs = [(hit, row) for hit, row in zip(found[0], vectors, strict=True) if row is not None]
    if not pairs:
        return []
    order = mmr_order(vector, np.stack([row for _, row in pairs]), options.k, options.mmr_lambda)
    return await _with_payload(store, [pairs[position][0] for position in order], scope)


async def _hybrid(
    handle: StoreHandle, store: VectorStore, query: Document, options: RetrieverOptions, scope: Scope
) -> tuple[list[Hit], Scores]:
    """Both legs at once, fused; also returns each leg's scores by id."""
    vector = await handle.query_vector(store, query)
    many = max(options.candidates or HYBRID_CANDIDATES, options.k)
    by_vector, by_text = await asyncio.gather(
        store.search(vector[None, :], many, filter=scope.filter, namespace=scope.namespace, payload=False),
        store.search_text(query.text, many, filter=scope.filter, namespace=scope.namespace, payload=False),
    )
    legs = {
        "vector": [(hit.id, hit.score) for hit in by_vector[0]],
        "text": [(hit.id, hit.score) for hit in by_text],
    }
    weight = share_of_vectors(query.text) if options.vector_weight is None else options.vector_weight
    method = options.fusion or "convex"
    # Reciprocal ranks are unweighted by definition, unless somebody asks for weights.
    weights = {"vector": weight, "text": 1 - weight}
    if method == "rrf" and options.vector_weight is None:
        weights = {}
    fused = fuse(legs, method=method, weights=weights, floors={"text": 0.0})[: options.k]
    scores: Scores = {}
    for name, leg in legs.items():
        for id_, score in leg:
            scores.setdefault(id_, {})[name] = score
    hits = [Hit(id_, score) for id_, score in fused]
    return await _with_payload(store, hits, scope), scores


def share_of_vectors(query: str) -> float:
    """Returns the share of the vector ranking when the options name none: `n / (n + EVEN_WORDS)` for n words.

    A few words are names to be found, which words find better; a question says what it means, which vectors find
    better. Chosen on two of three collections and tried on the third, the rule was ahead of an even share each time.
    """
    words = len(query.split())
    return words / (words + EVEN_WORDS) if words else 1.0


async def _with_payload(store: VectorStore, hits: Sequence[Hit], scope: Scope) -> list[Hit]:
    """Fetches the documents of the hits; those deleted in the meantime, or replaced by others, fall out."""
    documents = await store.get([hit.id for hit in hits], namespace=scope.namespace)
    return [
        Hit(hit.id, hit.score, document)
        for hit, document in zip(hits, documents, strict=True)
        if document is not None and scope.sees(document)
    ]  # fmt: skip


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
