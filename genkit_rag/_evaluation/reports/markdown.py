"""Reports and comparisons as tables in GitHub Flavored Markdown.

Text of rows is untrusted. It is put in code spans, where links, images, HTML and mentions have no effect.
"""

from __future__ import annotations

from collections.abc import Sequence

from genkit_rag._evaluation.reports.deltas import MetricDelta, RowDelta
from genkit_rag._evaluation.reports.render import bad_scores, clean, interval_text, number_text, score_text
from genkit_rag._evaluation.reports.report_data import ReportData

MAX_ROWS = 20
"""How many rows a table of failures or regressions shows."""
MAX_CELL = 200


def report_markdown(report: ReportData) -> str:
    """Render tables of the metrics and of the first failed rows."""
    names = ("metric", "n", "mean", "95 % interval", "pass rate", "errors")
    metrics = [
        (
            _code(metric.name),
            str(metric.n),
            number_text(metric.mean),
            interval_text(metric),
            number_text(metric.pass_rate, ".0%"),
            str(metric.errors),
        )
        for metric in report.metrics
    ]
    failed = report.failed_rows
    rows = [
        (
            _code(row.test_case_id),
            _code(row.error or "; ".join(f"{name}: {score_text(score)}" for name, score in bad_scores(row))),
        )
        for row in failed[:MAX_ROWS]
    ]
    title = f"{_code(report.name or report.run_id)}: {len(report.rows)} rows, {len(failed)} failed"
    return _joined(title, _table(names, metrics), _table(("row", "what is wrong"), rows), len(failed))


def comparison_markdown(deltas: Sequence[MetricDelta], worse: Sequence[RowDelta], improvements: int) -> str:
    """Render tables of the metrics and of the first regressions.

    Args:
        deltas: The differences of the metrics.
        worse: The regressions, worst first.
        improvements: The number of improvements.
    """
    names = ("metric", "n", "before", "after", "difference", "95 % interval", "p")
    metrics = [
        (
            _code(item.name),
            str(item.n),
            number_text(item.before),
            number_text(item.after),
            number_text(item.delta, "+.3f") + (" *" if item.significant else ""),
            "" if item.low is None else f"[{number_text(item.low, '+.3f')}, {number_text(item.high, '+.3f')}]",
            number_text(item.p_value),
        )
        for item in deltas
    ]
    rows = [
        (
            _code(row.test_case_id),
            _code(row.metric),
            number_text(row.before),
            "error" if row.after is None else number_text(row.after),
        )
        for row in worse[:MAX_ROWS]
    ]
    title = f"{len(worse)} regressions, {improvements} improvements"
    return _joined(title, _table(names, metrics), _table(("row", "metric", "before", "after"), rows), len(worse))


def _joined(title: str, metrics: str, rows: str, total: int) -> str:
    more = f"{total - MAX_ROWS} more rows are left out." if total > MAX_ROWS else ""
    return "\n\n".join(block for block in (title, metrics, rows, more) if block) + "\n"


def _code(text: str) -> str:
    text = clean(" ".join(text.split()), MAX_CELL).replace("`", "'").replace("|", "\\|")
    return f"`{text}`" if text else ""


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    return "\n".join(f"| {' | '.join(line)} |" for line in (names, ["---"] * len(names), *rows))
