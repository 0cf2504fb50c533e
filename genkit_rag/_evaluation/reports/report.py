"""The report of an evaluation: rows with scores, a summary of each metric, how long it took."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import cast

from genkit_rag._core.errors import GenkitError
from genkit_rag._core.schema import parse
from genkit_rag._evaluation.reports import statistics
from genkit_rag._evaluation.reports.compare import Comparison, compare_rows
from genkit_rag._evaluation.reports.markdown import report_markdown
from genkit_rag._evaluation.reports.render import to_csv, to_html, to_junit, to_text
from genkit_rag._evaluation.reports.report_data import ReportData
from genkit_rag._evaluation.reports.rows import EvalRow, MetricSummary


class EvalReport(ReportData):
    """The results of an evaluation, as tables and files and for comparison with another run."""

    def compare(self, before: EvalReport) -> Comparison:
        """Compare with an earlier run: each metric with interval and p-value, and each changed row.

        Rows are paired by their ids. Differences are this run's values minus those of `before`.
        """
        return compare_rows(
            (before.rows, [metric.name for metric in before.metrics]),
            (self.rows, [metric.name for metric in self.metrics]),
            self.seed,
        )

    def to_json(self, *, indent: int | None = None) -> str:
        """Serialise the report as JSON."""
        return json.dumps(self.to_wire(), ensure_ascii=False, indent=indent, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> EvalReport:
        """Parse a report from `to_json`; INVALID_ARGUMENT if it is not a report."""
        try:
            raw = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise GenkitError("INVALID_ARGUMENT", f"The report is no JSON: {error}.") from error
        return cast(EvalReport, parse(cls, raw, "The report"))

    def to_html(self) -> str:
        """Render a self-contained HTML page without scripts or external resources."""
        return to_html(self)

    def to_junit(self) -> str:
        """Render JUnit XML: a test suite for each metric, a test case for each row."""
        return to_junit(self)

    def to_markdown(self) -> str:
        """Render tables of the metrics and of the first failed rows, for a pull request."""
        return report_markdown(self)

    def to_csv(self) -> str:
        """Render a table with a line for each row, safe to open in a spreadsheet."""
        return to_csv(self)

    def __str__(self) -> str:
        return to_text(self)

    def __repr__(self) -> str:
        return f"<EvalReport {self.name or self.run_id}: {len(self.rows)} rows, {len(self.metrics)} metrics>"

    def _repr_html_(self) -> str:
        return to_html(self, whole=False)


def summarise(rows: Sequence[EvalRow], metrics: Sequence[str], seed: int) -> list[MetricSummary]:
    """Summarise each metric over the rows; may take a second for thousands of rows."""
    return [_summary(name, rows, seed) for name in metrics]


def _summary(name: str, rows: Sequence[EvalRow], seed: int) -> MetricSummary:
    scores = [score for row in rows if (score := row.scores.get(name)) is not None and score.error is None]
    values = [value for score in scores if (value := score.value) is not None]
    statuses = [score.status for score in scores]
    passed, failed = statuses.count("PASS"), statuses.count("FAIL")
    errors = sum(row.has_error(name) for row in rows)
    limits = statistics.interval(values, seed)
    return MetricSummary(
        name=name,
        n=len(values),
        mean=math.fsum(values) / len(values) if values else None,
        low=limits[0] if limits else None,
        high=limits[1] if limits else None,
        passed=passed,
        failed=failed,
        pass_rate=passed / (passed + failed) if passed + failed else None,
        unmeasured=len(rows) - len(values) - errors,
        errors=errors,
    )
