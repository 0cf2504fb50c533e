"""Intervals and tests for means over rows.

Percentile bootstrap: B. Efron, R. J. Tibshirani, An Introduction to the Bootstrap (1993), chapter 13. Paired
randomisation test: M. D. Smucker, J. Allan, B. Carterette, A Comparison of Statistical Significance Tests for
Information Retrieval Evaluation, CIKM 2007. Correction for several metrics: S. Holm, A Simple Sequentially Rejective
Multiple Test Procedure, Scandinavian Journal of Statistics 6 (1979).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

RESAMPLES = 5_000
"""How many samples an interval or a test is made of; its limits are then good to about 1 % of their width."""

EXACT_ROWS = 12
"""Up to so many rows that differ the test tries every one of the 2^n signs."""

_CELLS = 4_000_000  # how many numbers are drawn at a time: 32 MB


def interval(values: Sequence[float], seed: int) -> tuple[float, float] | None:
    """Return the 95 % bootstrap interval of the mean; None for fewer than two values. Deterministic for a seed."""
    import numpy as np

    if len(values) < 2:
        return None
    data = np.asarray(values, dtype=np.float64)
    means = np.concatenate(
        [
            data[random.integers(0, len(data), size=(rows, len(data)))].mean(axis=1)
            for random, rows in _draws(np, seed, len(data))
        ]
    )
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def randomisation_p(differences: Sequence[float], seed: int) -> float | None:
    """Return the two-sided p-value of a mean difference by a randomisation test.

    None for no rows.
    """
    import numpy as np

    if not differences:
        return None
    data = np.asarray([value for value in differences if value != 0], dtype=np.float64)
    if not len(data):
        return 1.0
    seen = abs(float(data.sum())) * (1 - 1e-12)
    if len(data) <= EXACT_ROWS:
        bits = np.arange(2 ** len(data))[:, None] >> np.arange(len(data)) & 1
        return float((np.abs((bits * 2 - 1) @ data) >= seen).mean())
    hits = sum(
        int((np.abs((random.integers(0, 2, size=(rows, len(data))) * 2 - 1) @ data) >= seen).sum())
        for random, rows in _draws(np, seed, len(data))
    )
    return (hits + 1) / (RESAMPLES + 1)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Correct p-values for multiple comparisons (Holm)."""
    adjusted: dict[str, float] = {}
    highest = 0.0
    for position, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        highest = max(highest, min(1.0, p * (len(p_values) - position)))
        adjusted[name] = highest
    return adjusted


def _draws(np: Any, seed: int, width: int) -> list[tuple[Any, int]]:
    """Return the generator and the number of samples to draw at a time."""
    random = np.random.default_rng(seed)
    rows = max(1, _CELLS // width)
    return [(random, min(rows, RESAMPLES - start)) for start in range(0, RESAMPLES, rows)]
