"""The tables: means, and differences to the default hybrid with a paired bootstrap interval."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality_collections import Collection, ndcg, recall
from benchmarks.quality_systems import DEFAULT, Measured

RESAMPLES = 10_000
HEAD = "| | nDCG@10 | less the default's, 95 % | recall@100 | p50 ms | p50 ms, first time |\n|---|---|---|---|---|---|"


@dataclass(frozen=True)
class Row:
    """One system on one collection. Empty latencies were not measured."""

    name: str
    ndcgs: NDArray[np.float64]
    recall: float
    p50: float | None
    cold: float | None

    @property
    def ndcg(self) -> float:
        return float(self.ndcgs.mean())


def row(measured: Measured, collection: Collection) -> Row:
    """Returns the scores over all judged queries; one without an answer counts 0."""
    rankings = [
        (measured.rankings.get(id_, []), gains) for id_, gains in collection.judged.items() if id_ in collection.queries
    ]
    return Row(
        measured.name,
        np.asarray([ndcg(ranking, gains) for ranking, gains in rankings]),
        statistics.mean(recall(ranking, gains) for ranking, gains in rankings),
        _p50(measured.laps),
        _p50(measured.cold),
    )


def interval(differences: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    """Returns the 95 % interval of the mean, over collections, of the mean difference; queries are resampled."""
    generator = np.random.default_rng(0)
    means: Any = 0.0
    for one in differences:
        rows = generator.integers(0, len(one), size=(RESAMPLES, len(one)), dtype=np.int32)
        means = means + one[rows].mean(axis=1) / len(differences)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def table(rows: Sequence[Row]) -> str:
    """Returns one collection's rows as Markdown."""
    default = next(row for row in rows if row.name == DEFAULT)
    return "\n".join([HEAD, *(_line([row], [default]) for row in rows)])


def mean_table(tables: Sequence[Sequence[Row]]) -> str:
    """Returns the means over collections, of systems that were measured on all."""
    by_name = [{row.name: row for row in rows} for rows in tables]
    defaults = [rows[DEFAULT] for rows in by_name]
    names = [row.name for row in tables[0] if all(row.name in rows for rows in by_name)]
    return "\n".join([HEAD, *(_line([rows[name] for rows in by_name], defaults) for name in names)])


def _line(rows: Sequence[Row], defaults: Sequence[Row]) -> str:
    difference = ""
    if rows[0].name != DEFAULT:
        pairs = [row.ndcgs - default.ndcgs for row, default in zip(rows, defaults, strict=True)]
        low, high = interval(pairs)
        mean = statistics.mean(float(pair.mean()) for pair in pairs)
        difference = f"{mean:+.3f} ({low:+.3f} to {high:+.3f})"
    cells = [
        f"{statistics.mean(row.ndcg for row in rows):.3f}",
        difference,
        f"{statistics.mean(row.recall for row in rows):.3f}",
        _latency([row.p50 for row in rows]),
        _latency([row.cold for row in rows]),
    ]
    return f"| {rows[0].name} | " + " | ".join(cells) + " |"


def _latency(values: Sequence[float | None]) -> str:
    given = [value for value in values if value is not None]
    return f"{statistics.mean(given):.1f}" if len(given) == len(values) else ""


def _p50(laps: Sequence[float]) -> float | None:
    return statistics.median(laps) * 1e3 if laps else None
