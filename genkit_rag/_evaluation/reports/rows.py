"""The rows of a report, and the summary of a metric over them."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from genkit_rag._documents.wire import WireModel
from genkit_rag._evaluation.types import EvalDataPoint, Score


class EvalRow(WireModel):
    """One row of a report.

    Attributes:
        data_point: The row of the dataset, with the output, context and trace of this run.
        error: The error of the target; such a row has no scores.
        duration_ms: The duration of the target; None if it was not run.
        scores: By metric: the evaluator's name, with `:` and the score's id if it has one.
    """

    data_point: EvalDataPoint
    error: str | None = None
    duration_ms: float | None = None
    scores: dict[str, Score] = Field(default_factory=dict[str, Score])

    @property
    def test_case_id(self) -> str:
        """Names the row."""
        return self.data_point.test_case_id or ""

    @property
    def input(self) -> Any:
        """The input of the target."""
        return self.data_point.input

    @property
    def output(self) -> Any:
        """The output of the target."""
        return self.data_point.output

    @property
    def trace_id(self) -> str | None:
        """The trace of the target's run; None without tracing."""
        return self.data_point.trace_ids[-1] if self.data_point.trace_ids else None

    @property
    def failed(self) -> bool:
        """Whether the target or an evaluator raised, or a score is FAIL."""
        return self.error is not None or any(
            score.status == "FAIL" or score.error is not None for score in self.scores.values()
        )

    def has_error(self, metric: str) -> bool:
        """Return whether the metric is missing because the target or the evaluator raised an error."""
        score = self.scores.get(metric) or self.scores.get(metric.rpartition(":")[0])
        return self.error is not None or (score is not None and score.error is not None)


class MetricSummary(WireModel):
    """A metric over all rows.

    Attributes:
        name: The evaluator's name, with `:` and the score's id where that has one.
        n: How many rows have a value; `mean` is over them.
        mean: The mean of the values; a flag counts 0 or 1.
        low: The lower limit of the mean's 95 % interval, by bootstrap; None for fewer than two values.
        high: The upper limit.
        passed: How many rows are PASS.
        failed: How many are FAIL.
        pass_rate: The share of PASS among both.
        unmeasured: How many rows the evaluator had nothing to say of.
        errors: How many rows have no score because the target or the evaluator raised.
    """

    name: str
    n: int
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    passed: int = 0
    failed: int = 0
    pass_rate: float | None = None
    unmeasured: int = 0
    errors: int = 0
