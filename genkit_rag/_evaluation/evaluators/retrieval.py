"""Metrics of a ranking against judgements, as trec_eval and ir-measures compute them.

Recall, precision, reciprocal rank and average precision: C. D. Manning, P. Raghavan, H. Schütze, Introduction to
Information Retrieval (2008), chapter 8; a document is relevant from grade 1. nDCG: K. Järvelin, J. Kekäläinen,
Cumulated Gain-Based Evaluation of IR Techniques, ACM TOIS 20 (2002), with the grade as the gain and log2(rank + 1) as
the discount.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from pydantic import Field

from genkit_rag._core.errors import GenkitError
from genkit_rag._documents.wire import WireModel
from genkit_rag._evaluation.types import EvalDataPoint, Score, graded, reference_of, unmeasured

Grades = Mapping[str, float]

DEFAULT_K = 10
MAX_K = 10_000


def recall(ranking: Sequence[str], grades: Grades, k: int) -> float:
    """Return the share of the relevant documents among the first k."""
    return _hits(ranking, grades, k) / _relevant(grades)


def precision(ranking: Sequence[str], grades: Grades, k: int) -> float:
    """Return the share of k that is relevant; a shorter ranking counts as k."""
    return _hits(ranking, grades, k) / k


def success(ranking: Sequence[str], grades: Grades, k: int) -> float:
    """Return 1 if any of the first k is relevant, otherwise 0."""
    return float(_hits(ranking, grades, k) > 0)


def reciprocal_rank(ranking: Sequence[str], grades: Grades, k: int) -> float:
    """Return 1 / the rank of the first relevant document among the first k; 0 without one. Its mean is MRR."""
    return next((1 / rank for rank, id in enumerate(ranking[:k], 1) if grades.get(id, 0) >= 1), 0.0)


def average_precision(ranking: Sequence[str], grades: Grades, k: int) -> float:
    """Return the mean, over the relevant documents, of the precision at their ranks. Its mean is MAP."""
    hits, total = 0, 0.0
    for rank, id in enumerate(ranking[:k], 1):
        if grades.get(id, 0) >= 1:
            hits += 1
            total += hits / rank
    return total / _relevant(grades)


def ndcg(ranking: Sequence[str], grades: Grades, k: int) -> float:
    """Return the discounted gain of the first k relative to the best possible order."""
    gains = [max(0.0, grades.get(id, 0.0)) for id in ranking[:k]]
    best = sorted((grade for grade in grades.values() if grade > 0), reverse=True)[:k]
    return _discounted(gains) / _discounted(best)


def _discounted(gains: Sequence[float]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1))


def _hits(ranking: Sequence[str], grades: Grades, k: int) -> int:
    return sum(grades.get(id, 0) >= 1 for id in ranking[:k])


def _relevant(grades: Grades) -> int:
    return sum(grade >= 1 for grade in grades.values())


METRICS: dict[str, tuple[Callable[[Sequence[str], Grades, int], float], str]] = {
    "recall": (recall, "The share of the relevant documents that were found among the first {k}."),
    "precision": (precision, "The share of the first {k} documents that is relevant."),
    "success": (success, "Whether any of the first {k} documents is relevant."),
    "mrr": (reciprocal_rank, "1 / the rank of the first relevant document among the first {k}."),
    "ndcg": (ndcg, "The discounted gain of the first {k} documents by their grades, over that of the best order."),
    "map": (average_precision, "The mean precision at the ranks of the relevant documents among the first {k}."),
}

_NAME = re.compile(rf"({'|'.join(METRICS)})(?:@([1-9][0-9]{{0,4}}))?")


class RankingOptions(WireModel):
    """Options of the retrieval metrics.

    Attributes:
        field: What identifies a document: `id`, or a field of its metadata such as `source`, so that chunks count as
            the file that they are of; repetitions count once.
        threshold: PASS from this value on, FAIL below; None says neither.
    """

    field: str = "id"
    threshold: float | None = Field(default=None, ge=0, le=1)


def parse_metric(name: str) -> tuple[str, int] | None:
    """Parse `recall`, `recall@5` and similar names to metric and k; None for another name."""
    match = _NAME.fullmatch(name)
    if match is None or int(match[2] or DEFAULT_K) > MAX_K:
        return None
    return match[1], int(match[2] or DEFAULT_K)


def ranking_evaluator(metric: str, k: int) -> Callable[[EvalDataPoint, RankingOptions], Score]:
    """Create the function of an evaluator for a metric at k."""
    measure, definition = METRICS[metric]

    def evaluate(datapoint: EvalDataPoint, options: RankingOptions) -> Score:
        grades = relevant_grades(datapoint)
        if not any(grade >= 1 for grade in grades.values()):
            return unmeasured("The reference names no relevant document.")
        return graded(measure(ranking_of(datapoint, options.field), grades, k), options.threshold)

    evaluate.__doc__ = definition.format(k=k)
    return evaluate


def relevant_grades(point: EvalDataPoint) -> dict[str, float]:
    """Return the grades by id of a reference: a list of ids, or ids with grades; INVALID_ARGUMENT for other types."""
    raw = reference_of(point, "relevant")
    if isinstance(raw, str):
        return {raw: 1.0}
    if isinstance(raw, list | tuple):
        items: list[Any] = list(raw)
        if all(isinstance(item, str) for item in items):
            return {str(item): 1.0 for item in items}
    if isinstance(raw, Mapping):
        found = cast("Mapping[str, Any]", raw)
        if all(isinstance(grade, int | float) and math.isfinite(grade) for grade in found.values()):
            return {str(id): float(grade) for id, grade in found.items()}
    raise GenkitError(
        "INVALID_ARGUMENT",
        f"The reference {raw!r:.100} says no relevant documents.",
        hint='Write ["id", ...], {"id": grade} or {"relevant": ...}.',
    )


def ranking_of(point: EvalDataPoint, field: str) -> list[str]:
    """Return the unique ids, best first, of the output's documents, otherwise of the retrieved documents."""
    output = point.output
    items: Any = cast("Mapping[str, Any]", output).get("documents") if isinstance(output, Mapping) else None
    if items is None and isinstance(output, list) and point.further("retrieved") is None:
        items = output
    if items is None:
        items = point.further("retrieved")
    if not isinstance(items, list):
        raise GenkitError(
            "INVALID_ARGUMENT",
            "The data point has no ranking.",
            hint="Its output must hold `documents`, or be a list of ids; or a retriever must run inside of the target.",
        )
    found = (_identity(item, field) for item in items)
    return list(dict.fromkeys(name for name in found if name is not None))


def _identity(item: Any, field: str) -> str | None:
    if isinstance(item, str):
        return item
    facts: Any = item.get("metadata", item) if isinstance(item, Mapping) else None
    value: Any = facts.get(field) if isinstance(facts, Mapping) else None
    return None if value is None else str(value)
