"""Fuse several rankings into one.

The default is a convex combination of normalised scores. It keeps the information in the scores that reciprocal rank
fusion discards (Bruch, Gai and Ingber 2023, "An Analysis of Fusion Functions for Hybrid Retrieval").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

RRF_K = 60
"""The constant of reciprocal rank fusion (Cormack, Clarke and Buettcher 2009)."""

Ranking = Sequence[tuple[str, float]]
"""`(id, score)`, best first."""


def fuse(
    rankings: Mapping[str, Ranking],
    *,
    method: Literal["convex", "rrf"] = "convex",
    weights: Mapping[str, float] | None = None,
    floors: Mapping[str, float] | None = None,
) -> list[tuple[str, float]]:
    """Fuse rankings into `(id, fused score)` pairs, best first; ties keep the order of the first ranking.

    `convex`: each ranking's scores are scaled to [0, 1], a document that a ranking does not have counts 0 there, and
    the weighted sum is divided by the sum of the weights: the result is in [0, 1]. `rrf`: the weighted sum of
    `1 / (60 + rank)`, ranks from 1.

    Args:
        rankings: Each by its name.
        method: How.
        weights: By name; 1 where none is given.
        floors: For convex, the score that becomes 0, by name, where it has a meaning: BM25's 0 says that no word is
            shared. Without one it is the lowest score among the candidates: a cosine of 0 says nothing.
    """
    shares = {name: (weights or {}).get(name, 1.0) for name in rankings}
    total = sum(shares.values()) or 1.0
    fused: dict[str, float] = {}
    for name, ranking in rankings.items():
        if method == "rrf":
            points = [1.0 / (RRF_K + rank) for rank in range(1, len(ranking) + 1)]
        else:
            points = normalised([score for _, score in ranking], (floors or {}).get(name))
        for (id_, _), point in zip(ranking, points, strict=True):
            share = shares[name] if method == "rrf" else shares[name] / total
            fused[id_] = fused.get(id_, 0.0) + share * point
    return sorted(fused.items(), key=lambda item: -item[1])


def normalised(scores: Sequence[float], floor: float | None = None) -> list[float]:
    """Scale scores to [0, 1]: the highest is 1, the floor (by default the lowest) is 0; equal scores are all 1."""
    if not scores:
        return []
    high = max(scores)
    low = min(scores) if floor is None else floor
    if high <= low:
        return [1.0] * len(scores)
    return [(score - low) / (high - low) for score in scores]
