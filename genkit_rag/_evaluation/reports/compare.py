"""Comparison of two runs over the same rows."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence

from pydantic import Field

from genkit_rag._core.errors import GenkitError
from genkit_rag._documents.wire import WireModel
from genkit_rag._evaluation.reports import statistics
from genkit_rag._evaluation.reports.condition import parse_condition
from genkit_rag._evaluation.reports.deltas import MetricDelta, RowDelta
from genkit_rag._evaluation.reports.markdown import comparison_markdown
from genkit_rag._evaluation.reports.rows import EvalRow

SIGNIFICANT = 0.05
"""A difference is significant below this p-value, corrected for the number of metrics."""

EQUAL = 1e-9
"""Smaller differences count as equal."""


class Comparison(WireModel):
    """Two runs side by side.

    Attributes:
        metrics: Every metric that both runs have.
        regressions: The rows and metrics that are worse, the worst first; a value that has become an error is one.
        improvements: Those that are better, the best first; an error that has become a value is one.
        only_before: Ids of rows, and names of metrics, that only the earlier run has.
        only_after: Those that only the later run has.
    """

    metrics: list[MetricDelta] = Field(default_factory=list[MetricDelta])
    regressions: list[RowDelta] = Field(default_factory=list[RowDelta])
    improvements: list[RowDelta] = Field(default_factory=list[RowDelta])
    only_before: list[str] = Field(default_factory=list[str])
    only_after: list[str] = Field(default_factory=list[str])

    def to_json(self, *, indent: int | None = None) -> str:
        """Serialise the comparison as JSON."""
        return json.dumps(self.to_wire(), ensure_ascii=False, indent=indent, allow_nan=False)

    def to_markdown(self) -> str:
        """Render tables of the metrics and of the first regressions, for a pull request."""
        return comparison_markdown(self.metrics, self.regressions, len(self.improvements))

    def meets(self, condition: str) -> bool:
        """Return whether a condition on a metric's difference holds, such as `ndcg@10 < -0.01`.

        A metric without a row that has a value in both runs meets every condition.

        Raises:
            GenkitError: INVALID_ARGUMENT for an invalid condition, NOT_FOUND for a metric that the runs do not share.
        """
        wanted = parse_condition(condition)
        names = {wanted.metric.lower(), f"builtin/{wanted.metric}".lower()}
        for item in self.metrics:
            if item.name.lower() in names:
                return item.delta is None or wanted.holds(item.delta)
        there = ", ".join(item.name for item in self.metrics) or "none"
        raise GenkitError("NOT_FOUND", f"The two runs share no metric {wanted.metric!r}.", hint=f"They share: {there}.")

    def __str__(self) -> str:
        lines = [f"{'metric':<34}{'n':>6}{'before':>9}{'after':>9}{'delta':>9}  95 % interval      p"]
        for item in self.metrics:
            if item.before is None or item.after is None or item.delta is None:
                lines.append(f"{item.name:<34}{item.n:>6}")
                continue
            limits = "" if item.low is None or item.high is None else f"[{item.low:+.3f}, {item.high:+.3f}]"
            shown = f"{item.name:<34}{item.n:>6}{item.before:>9.3f}{item.after:>9.3f}{item.delta:>+9.3f}  {limits:<18}"
            lines.append(f"{shown} {item.p_value:.3f}{' *' if item.significant else ''}")
        counts = f"{len(self.regressions)} regressions, {len(self.improvements)} improvements"
        return "\n".join([*lines, counts])


Run = tuple[Sequence[EvalRow], Sequence[str]]
"""The rows of a run and the names of its metrics."""


def compare_rows(before: Run, after: Run, seed: int) -> Comparison:
    """Compare two runs; rows are paired by their ids."""
    old, new = ({row.test_case_id: row for row in rows} for rows, _ in (before, after))
    pairs = [(row, new[id]) for id, row in old.items() if id in new]
    names = [name for name in after[1] if name in before[1]]
    changes = [change for name in names for one, other in pairs if (change := _change(one, other, name))]
    worse = [change for change in changes if _gain(change) < 0]
    return Comparison(
        metrics=_corrected([_delta(name, pairs, seed) for name in names]),
        regressions=sorted(worse, key=_gain),
        improvements=sorted((change for change in changes if _gain(change) > 0), key=_gain, reverse=True),
        only_before=[*_only(old, new), *_only(before[1], after[1])],
        only_after=[*_only(new, old), *_only(after[1], before[1])],
    )


def _corrected(deltas: Sequence[MetricDelta]) -> list[MetricDelta]:
    """Return the deltas with p-values corrected for multiple comparisons."""
    adjusted = statistics.holm({delta.name: delta.p_value for delta in deltas if delta.p_value is not None})
    return [
        delta.model_copy(update={"p_value": p, "significant": p < SIGNIFICANT})
        if (p := adjusted.get(delta.name)) is not None
        else delta
        for delta in deltas
    ]


def _only(these: Iterable[str], those: Iterable[str]) -> list[str]:
    known = set(those)
    return [name for name in these if name not in known]


def _value(row: EvalRow, name: str) -> float | None:
    score = row.scores.get(name)
    return None if score is None else score.value


def _change(old: EvalRow, new: EvalRow, name: str) -> RowDelta | None:
    one, other = _value(old, name), _value(new, name)
    if one is None or other is None:
        changed = (one is None) != (other is None) and (old.has_error(name) or new.has_error(name))
    else:
        changed = abs(other - one) > EQUAL
    return RowDelta(test_case_id=new.test_case_id, metric=name, before=one, after=other) if changed else None


def _gain(change: RowDelta) -> float:
    """Return the improvement of a row; an error is worse than any value."""
    if change.after is None:
        return -math.inf
    return math.inf if change.before is None else change.after - change.before


def _delta(name: str, rows: Sequence[tuple[EvalRow, EvalRow]], seed: int) -> MetricDelta:
    pairs = [(_value(old, name), _value(new, name)) for old, new in rows]
    both = [(one, other) for one, other in pairs if one is not None and other is not None]
    if not both:
        return MetricDelta(name=name, n=0)
    differences = [other - one if abs(other - one) > EQUAL else 0.0 for one, other in both]
    limits = statistics.interval(differences, seed)
    before, after = (math.fsum(pair[side] for pair in both) / len(both) for side in (0, 1))
    return MetricDelta(
        name=name,
        n=len(both),
        before=before,
        after=after,
        delta=math.fsum(differences) / len(both),
        low=limits[0] if limits else None,
        high=limits[1] if limits else None,
        p_value=statistics.randomisation_p(differences, seed),
        improved=sum(value > 0 for value in differences),
        worse=sum(value < 0 for value in differences),
    )
