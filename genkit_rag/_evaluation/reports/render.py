"""Reports as text, HTML, JUnit XML and CSV. What rows hold comes from anywhere: it is escaped everywhere."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Iterator
from xml.etree import ElementTree as Xml

from genkit_rag._evaluation.reports.report_data import ReportData
from genkit_rag._evaluation.reports.rows import EvalRow, MetricSummary
from genkit_rag._evaluation.types import Score, text_of

MAX_CELL = 2_000
"""How many characters of a text a page or a table shows."""
MAX_HTML_ROWS = 1_000
"""How many rows a page shows, those that failed first; the JSON has all of them."""

# Characters that XML 1.0 does not allow, and those that a terminal obeys.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:80rem;padding:0 1rem;color:#1b1b1f;"
    "background:#fff}table{border-collapse:collapse;width:100%;margin:1rem 0}caption{text-align:left;"
    "font-weight:600}th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid #c8c8d0;"
    "overflow-wrap:anywhere}.pass{color:#0b6b2e}.fail{color:#a3121f}@media(prefers-color-scheme:dark){"
    "body{background:#16161a;color:#e6e6ea}.pass{color:#6fdc93}.fail{color:#ff8a8a}}"
)


def clean(text: str, limit: int = MAX_CELL) -> str:
    """Replace characters that XML does not allow or that terminals interpret, and cut the text at the limit."""
    text = _CONTROL.sub("\ufffd", text)
    return text if len(text) <= limit else text[:limit] + "…"


def score_text(score: Score | None) -> str:
    """Format a score for people."""
    if score is None:
        return ""
    if score.error is not None:
        return f"error: {score.error}"
    value = f"{score.score:.3f}" if isinstance(score.score, float) else "" if score.score is None else str(score.score)
    return " ".join(piece for piece in (value, score.status or "") if piece)


def interval_text(metric: MetricSummary) -> str:
    """Format the interval of a metric's mean; empty if there is none."""
    return "" if metric.low is None or metric.high is None else f"[{metric.low:.3f}, {metric.high:.3f}]"


def number_text(value: float | None, form: str = ".3f") -> str:
    """Format a number for people; empty for None."""
    return "" if value is None else format(value, form)


# ---- text


def to_text(report: ReportData) -> str:
    """Render the metrics as a text table, and the first failed rows."""
    title = clean(report.name or report.run_id).replace("\n", " ")
    lines = [f"{title}: {len(report.rows)} rows, {report.duration_ms / 1000:.1f} s"]
    lines.append(f"{'metric':<34}{'n':>6}{'mean':>8}  {'95 % interval':<17}{'pass rate':>9}{'errors':>8}")
    lines += [
        f"{metric.name:<34}{metric.n:>6}{number_text(metric.mean):>8}  {interval_text(metric):<17}"
        f"{number_text(metric.pass_rate, '.0%'):>9}{metric.errors:>8}"
        for metric in report.metrics
    ]
    for row in report.failed_rows[:10]:
        problems = row.error or "; ".join(f"{name}: {score_text(score)}" for name, score in bad_scores(row))
        lines.append(clean(f"{row.test_case_id}: {problems}".replace("\n", " "), 160))
    return "\n".join(lines)


def bad_scores(row: EvalRow) -> Iterator[tuple[str, Score]]:
    """Yield the metrics and scores of a row that are FAIL or an error."""
    for name, score in row.scores.items():
        if score.status == "FAIL" or score.error is not None:
            yield name, score


# ---- HTML


def to_html(report: ReportData, *, whole: bool = True) -> str:
    """Render an HTML page, or with `whole=False` only the table of the metrics."""
    metrics = _html_metrics(report)
    if not whole:
        return metrics
    rows = sorted(report.rows, key=lambda row: not row.failed)[:MAX_HTML_ROWS]
    left = len(report.rows) - len(rows)
    note = f"<p>{left} more rows are left out; the JSON report has all of them.</p>" if left else ""
    title = html.escape(clean(report.name or report.run_id))
    facts = f"{report.target or 'stored outputs'} · {report.created_at} · {len(report.rows)} rows"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body><main><h1>{title}</h1>"
        f"<p>{html.escape(clean(facts))}</p>{metrics}{_html_rows(report, rows)}{note}</main></body></html>"
    )


def _html_metrics(report: ReportData) -> str:
    names = ("metric", "n", "mean", "95 % interval", "pass rate", "not measured", "errors")
    body = [
        (
            metric.name,
            str(metric.n),
            number_text(metric.mean),
            interval_text(metric),
            number_text(metric.pass_rate, ".1%"),
            str(metric.unmeasured),
            str(metric.errors),
        )
        for metric in report.metrics
    ]
    return _table("Metrics", names, ["".join(f"<td>{_cell(text)}</td>" for text in line) for line in body])


def _html_rows(report: ReportData, rows: list[EvalRow]) -> str:
    metrics = [metric.name for metric in report.metrics]
    lines: list[str] = []
    for row in rows:
        texts = (row.test_case_id, text_of(row.input), row.error or text_of(row.output))
        cells = [f"<td>{_cell(text)}</td>" for text in texts]
        cells += [_html_score(row.scores.get(name)) for name in metrics]
        lines.append("".join(cells))
    return _table("Rows", ("row", "input", "output", *metrics), lines)


def _html_score(score: Score | None) -> str:
    bad = score is not None and (score.status == "FAIL" or score.error is not None)
    kind = "fail" if bad else "pass" if score is not None and score.status == "PASS" else ""
    why = score.reasoning if score is not None else None
    return f'<td class="{kind}">{_cell(score_text(score))}{f"<br><small>{_cell(why)}</small>" if why else ""}</td>'


def _cell(text: str) -> str:
    return html.escape(clean(text))


def _table(caption: str, names: tuple[str, ...], lines: list[str]) -> str:
    head = "".join(f'<th scope="col">{_cell(name)}</th>' for name in names)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


# ---- JUnit XML


def to_junit(report: ReportData) -> str:
    """Render a JUnit test suite for each metric: FAIL is a failure, an error an error, an unmeasured row is skipped."""
    top = Xml.Element("testsuites", name=clean(report.name or report.run_id), time=f"{report.duration_ms / 1000:.3f}")
    for metric in report.metrics:
        skipped = sum(_outcome(row, metric.name)[0] == "skipped" for row in report.rows)
        suite = Xml.SubElement(
            top,
            "testsuite",
            name=clean(metric.name),
            tests=str(len(report.rows)),
            failures=str(metric.failed),
            errors=str(metric.errors),
            skipped=str(skipped),
        )
        for row in report.rows:
            seconds = f"{(row.duration_ms or 0) / 1000:.3f}"
            case = Xml.SubElement(
                suite, "testcase", name=clean(row.test_case_id), classname=clean(metric.name), time=seconds
            )
            kind, message = _outcome(row, metric.name)
            if kind:
                Xml.SubElement(case, kind, message=clean(message))
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + Xml.tostring(top, encoding="unicode")


def _outcome(row: EvalRow, metric: str) -> tuple[str, str]:
    score = row.scores.get(metric)
    if row.has_error(metric):
        return "error", row.error or (score.error if score and score.error else "the evaluator failed")
    if score is None or score.value is None:
        return "skipped", (score.reasoning or "" if score else "")
    return ("failure", score.reasoning or score_text(score)) if score.status == "FAIL" else ("", "")


# ---- CSV


def to_csv(report: ReportData) -> str:
    """Render a CSV line for each row: id, input, output, error, milliseconds, then value and status of each metric."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    metrics = [metric.name for metric in report.metrics]
    columns = [f"{name}{suffix}" for name in metrics for suffix in ("", " status")]
    writer.writerow(map(_guarded, ("testCaseId", "input", "output", "error", "durationMs", *columns)))
    for row in report.rows:
        cells: list[str | float | None] = [
            _guarded(row.test_case_id),
            _guarded(text_of(row.input)),
            _guarded(text_of(row.output)),
            _guarded(row.error or ""),
            row.duration_ms,
        ]
        for name in metrics:
            score = row.scores.get(name)
            raw = None if score is None else score.score
            cells += [_guarded(raw) if isinstance(raw, str) else raw, score.status if score else None]
        writer.writerow(cells)
    return out.getvalue()


def _guarded(text: str) -> str:
    """Escape a cell so that no spreadsheet evaluates it as a formula."""
    text = clean(text)
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) or text.startswith(_FORMULA) else text
