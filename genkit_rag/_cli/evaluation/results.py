"""`genkit-rag eval list`, `show` and `compare`: evaluations that were kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genkit_rag._cli.apps.dev_folder import DevFolder, dev_folder
from genkit_rag._cli.failures import FAILED
from genkit_rag._cli.options import Json, examples
from genkit_rag._cli.output import Output, one_line

if TYPE_CHECKING:
    from genkit_rag._server.datasets import DatasetInfo, RunSummary
    from genkit_rag.evaluation import Comparison

Evaluation = Annotated[str, typer.Argument(help="An evaluation's id, its beginning, last, or a .json report.")]


def register(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("list", epilog=examples("genkit-rag eval list", "genkit-rag eval list --datasets --json"))(list_)
    app.command(epilog=examples("genkit-rag eval show last", "genkit-rag eval show 4f1c --output report.html"))(show)
    app.command(
        epilog=examples(
            "genkit-rag eval compare 4f1c last", "genkit-rag eval compare main.json last --fail-if 'ndcg@10 < -0.01'"
        )
    )(compare)


def list_(
    datasets: Annotated[bool, typer.Option("--datasets", help="List the datasets instead.")] = False,
    folder: DevFolder = None,
    json: Json = False,
) -> None:
    """List the evaluations, the newest first."""
    from genkit_rag._server.datasets import DatasetStore, RunStore

    out = Output(json=json)
    root = dev_folder(folder)
    if datasets:
        _show_datasets(DatasetStore(root).list(), out)
    else:
        _show_runs(RunStore(root).list(), out)


def _show_datasets(found: list[DatasetInfo], out: Output) -> None:
    if out.json:
        out.data({"datasets": [one.to_wire() for one in found]})
    elif not found:
        out.say("There are no datasets. Files need none: --dataset questions.jsonl")
    else:
        rows = [
            [one.dataset_id, one.kind, f"{one.size:,}", str(one.version), one_line(one.target or "")] for one in found
        ]
        out.table(["dataset", "kind", "rows", "version", "for"], rows)


def _show_runs(found: list[RunSummary], out: Output) -> None:
    if out.json:
        out.data({"evaluations": [one.to_wire() for one in found]})
    elif not found:
        out.say("There are no evaluations. Make one: genkit-rag eval flow NAME --dataset FILE --evaluators exact_match")
    else:
        rows = [
            [
                one.run_id,
                one.created_at[:19].replace("T", " "),
                one_line(one.name or one.target or "outputs"),
                f"{one.rows:,}",
                f"{one.failed:,}",
                ", ".join(_mean(metric.name, metric.mean) for metric in one.metrics),
            ]
            for one in found
        ]
        out.table(["evaluation", "began (UTC)", "of", "rows", "failed", "means"], rows)


def _mean(name: str, mean: float | None) -> str:
    return f"{one_line(name)} {'-' if mean is None else f'{mean:.3f}'}"


def show(
    evaluation: Evaluation,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A file for the report: .html, .json, .xml (JUnit), .csv, .md or .txt."),
    ] = None,
    folder: DevFolder = None,
    json: Json = False,
) -> None:
    """Show an evaluation."""
    from genkit_rag._cli.evaluation.store import check_report_path, load_report, write_report

    check_report_path(output)
    report = load_report(evaluation, dev_folder(folder))
    if output is not None:
        write_report(report, output)
    Output(json=json).result(report.to_wire(), str(report))


def compare(
    before: Evaluation,
    after: Evaluation,
    fail: Annotated[
        bool, typer.Option("--fail-on-regression", help="Leave with 1 when a metric is worse, or a row fails anew.")
    ] = False,
    fail_if: Annotated[
        list[str] | None,
        typer.Option("--fail-if", help="Leave with 1 when a difference is such: 'ndcg@10 < -0.01'. May be repeated."),
    ] = None,
    folder: DevFolder = None,
    json: Json = False,
) -> None:
    """Compare an evaluation with an earlier one.

    Differences stand with their 95 % intervals; a star marks those that chance hardly makes.
    """
    from genkit_rag._cli.evaluation.store import load_report

    out = Output(json=json)
    root = dev_folder(folder)
    old, new = load_report(before, root), load_report(after, root)
    if old.dataset_hash != new.dataset_hash:
        out.say("The two ran over different rows; those that both have are compared.")
    found = new.compare(old)
    worse = regressions(found)
    met = [condition for condition in fail_if or () if found.meets(condition)]
    out.result({**found.to_wire(), "worse": worse, "met": met}, str(found))
    for what in worse:
        out.say(f"worse: {what}")
    for condition in met:
        out.say(f"met: {condition}")
    if (fail and worse) or met:
        raise typer.Exit(FAILED)


def regressions(found: Comparison) -> list[str]:
    """Return the regressions: metrics with the interval of the difference below zero, and newly failing rows."""
    metrics = [
        f"{metric.name} {metric.delta:+.3f}"
        for metric in found.metrics
        if metric.delta is not None and metric.delta < 0 and (metric.high is None or metric.high < 0)
    ]
    rows = [f"{row.metric} of {row.test_case_id} is an error now" for row in found.regressions if row.after is None]
    return metrics + rows
