"""Maximal marginal relevance (Carbonell and Goldstein 1998): relevant, but not the same thing twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genkit_rag._rag.vector_store import Vectors


def mmr_order(query: Vectors, vectors: Vectors, k: int, lambda_: float) -> list[int]:
    """Return the rows of `vectors` in the order of their selection, at most `k`; see `mmr_select`."""
    return [row for row, _ in mmr_select(query, vectors, k, lambda_)]


def mmr_select(query: Vectors, vectors: Vectors, k: int, lambda_: float) -> list[tuple[int, float]]:
    """Select rows by maximal marginal relevance: `(row, marginal relevance)`, at most `k`; ties go to the earlier row.

    Each step takes the row that maximises `lambda * cos(row, query) - (1 - lambda) * max cos(row, taken)`.
    """
    rows = _unit(vectors)
    return mmr_by_relevance(rows @ _unit(query[None, :])[0], rows, k, lambda_)


def mmr_by_relevance(relevance: Vectors, vectors: Vectors, k: int, lambda_: float) -> list[tuple[int, float]]:
    """Select rows like `mmr_select`, with relevances that are known from elsewhere, for example from a reranker.

    The first selected row is always the most relevant one.

    Args:
        relevance: Shape `(n,)`, on the scale of a cosine.
        vectors: The candidates, shape `(n, d)`; normalisation is not required.
        k: The maximum number of rows.
        lambda_: 1 for relevance only, 0 for diversity only.
    """
    import numpy as np

    rows = _unit(vectors)
    redundancy = np.zeros(len(rows), dtype=np.float32)
    free = np.ones(len(rows), dtype=bool)
    taken: list[tuple[int, float]] = []
    for _ in range(min(k, len(rows))):
        gains = lambda_ * relevance - (1 - lambda_) * redundancy
        best = int(np.argmax(np.where(free, gains if taken else relevance, -np.inf)))
        fresh = rows @ rows[best]
        redundancy = np.maximum(redundancy, fresh) if taken else fresh
        taken.append((best, float(gains[best])))
        free[best] = False
    return taken


def _unit(vectors: Vectors) -> Vectors:
    import numpy as np

    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Vectors = vectors / np.maximum(lengths, 1e-12)
    return unit
