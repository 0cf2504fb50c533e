"""The differences between two evaluation runs."""

from __future__ import annotations

from genkit_rag._documents.wire import WireModel


class MetricDelta(WireModel):
    """A metric in two runs, over the rows that have a value in both.

    Attributes:
        name: The metric.
        n: How many rows have a value in both runs.
        before: Its mean over them in the earlier run.
        after: Its mean over them in the later run.
        delta: `after - before`.
        low: The lower limit of the delta's 95 % interval, by paired bootstrap; None for fewer than two rows.
        high: The upper limit.
        p_value: Of a two-sided paired randomisation test, corrected by Holm for the number of metrics.
        significant: Whether the p-value is below 0.05.
        improved: How many rows are better.
        worse: How many are worse.
    """

    name: str
    n: int
    before: float | None = None
    after: float | None = None
    delta: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    significant: bool = False
    improved: int = 0
    worse: int = 0


class RowDelta(WireModel):
    """A changed metric of one row. A value is None if the row had an error or was not measured."""

    test_case_id: str
    metric: str
    before: float | None = None
    after: float | None = None

    @property
    def delta(self) -> float | None:
        """`after - before`; None unless both are there."""
        return None if self.before is None or self.after is None else self.after - self.before
