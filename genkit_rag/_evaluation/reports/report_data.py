"""The data of an evaluation report: rows with scores, and a summary of each metric."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field

from genkit_rag._core.errors import GenkitError
from genkit_rag._documents.wire import WireModel
from genkit_rag._evaluation.reports.rows import EvalRow, MetricSummary


class EvaluatorInfo(WireModel):
    """An evaluator as it was used."""

    name: str
    display_name: str
    definition: str
    is_billed: bool = False
    options: Any = None


class ReportData(WireModel):
    """The results of an evaluation.

    Attributes:
        run_id: The id of the run.
        name: The name of the run, if it has one.
        created_at: The start, as ISO 8601 in UTC.
        target: The evaluated target, such as `/flow/answer`; None if the dataset had the outputs.
        evaluators: The evaluators and their options.
        dataset_hash: A hash of ids, inputs and references; equal for runs over the same dataset.
        seed: The seed of the confidence intervals.
        duration_ms: The duration of the run.
        metrics: A summary of each metric.
        rows: The rows, in the order of the dataset.
    """

    schema_version: Literal[1] = 1
    run_id: str
    name: str | None = None
    created_at: str
    target: str | None = None
    evaluators: list[EvaluatorInfo] = Field(default_factory=list[EvaluatorInfo])
    dataset_hash: str
    seed: int = 0
    duration_ms: float = 0
    metrics: list[MetricSummary] = Field(default_factory=list[MetricSummary])
    rows: list[EvalRow] = Field(default_factory=list[EvalRow])

    def metric(self, name: str) -> MetricSummary:
        """Return the summary of a metric; NOT_FOUND lists the metrics."""
        for summary in self.metrics:
            if summary.name == name:
                return summary
        names = ", ".join(summary.name for summary in self.metrics)
        raise GenkitError("NOT_FOUND", f"The report has no metric {name!r}.", hint=f"It has: {names}.")

    @property
    def failed_rows(self) -> list[EvalRow]:
        """The rows with an error or a FAIL."""
        return [row for row in self.rows if row.failed]

    @property
    def passed(self) -> bool:
        """Whether there are rows, and none has an error or a FAIL."""
        return bool(self.rows) and not self.failed_rows

    def latency(self, share: float) -> float | None:
        """Return a percentile of the targets' durations in milliseconds: 0.95 for p95."""
        times = sorted(row.duration_ms for row in self.rows if row.duration_ms is not None)
        return times[max(0, math.ceil(share * len(times)) - 1)] if times else None
