"""Maximal marginal relevance (Carbonell and Goldstein 1998): relevant, but not the same thing twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genkit_rag._blocks.vector_store import Vectors


def mmr_order(query: Vectors, vectors: Vectors, k: int, lambda_: float) -> list[int]:
    """Returns the rows of `vectors` in the order of their selection, at most `k`.

    Each step takes the row that maximises `lambda * sim(row, query) - (1 - lambda) * max sim(row, taken)`, where
    `sim` is the dot product.

    Args:
        query: Shape `(d,)`.
        vectors: The candidates, shape `(n, d)`.
        k: How many to take.
        lambda_: 1 is relevance only, 0 is diversity only.
    """
    import numpy as np

    relevance = lambda_ * (vectors @ query)
    redundancy = np.full(len(vectors), -np.inf, dtype=np.float32)
    taken: list[int] = []
    free = np.ones(len(vectors), dtype=bool)
    for _ in range(min(k, len(vectors))):
        penalty = (1 - lambda_) * redundancy if taken else 0.0
        gains = np.where(free, relevance - penalty, -np.inf)
        best = int(np.argmax(gains))
        taken.append(best)
        free[best] = False
        np.maximum(redundancy, vectors @ vectors[best], out=redundancy)
    return taken
