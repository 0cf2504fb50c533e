"""`genkit-rag eval`: run datasets through an app and score the outputs."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genkit_rag._cli.apps.completion import complete_action, complete_dataset, complete_evaluators
from genkit_rag._cli.apps.connect import Wanted, action_key, connected, no_action
from genkit_rag._cli.apps.dev_folder import TRACES, DevFolder, dev_folder
from genkit_rag._cli.apps.programs import CommandWithProgram, program_of, run_until_signal
from genkit_rag._cli.apps.runs import Wait
from genkit_rag._cli.evaluation import results as eval_results
from genkit_rag._cli.failures import FAILED, PARTIAL, NotReady, WrongUsage
from genkit_rag._cli.options import Json, examples
from genkit_rag._cli.output import Output, one_line

if TYPE_CHECKING:
    from genkit_rag._cli.evaluation.store import Points
    from genkit_rag.evaluation import EvalProgress, EvalReport

app = typer.Typer(
    help="Evaluate flows, and compare evaluations.",
    epilog=examples(
        "genkit-rag eval flow answer --dataset questions.jsonl --evaluators exact_match,ndcg@10 -- python app.py",
        "genkit-rag eval compare 4f1c last --fail-on-regression",
    ),
    rich_markup_mode=None,
)

EvaluatorNames = Annotated[
    str,
    typer.Option("--evaluators", "-e", help="Names, with commas between them.", autocompletion=complete_evaluators),
]
ReportFile = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="A file for the report: .html, .json, .xml (JUnit), .csv, .md or .txt."),
]
Called = Annotated[str | None, typer.Option("--name", help="What the evaluation is called.")]
Strict = Annotated[bool, typer.Option("--strict", help="Leave with 1 when a row has an error or a FAIL.")]
Concurrency = Annotated[
    int, typer.Option("--concurrency", min=1, max=256, help="How many rows are worked on at a time.")
]


@dataclass(frozen=True, slots=True)
class _Asked:
    """The arguments of a command."""

    action: str | None
    dataset: str
    evaluators: list[str]
    name: str | None
    output: Path | None
    concurrency: int
    strict: bool


@app.command(
    cls=CommandWithProgram,
    epilog=examples(
        "genkit-rag eval flow answer --dataset questions.jsonl --evaluators exact_match --output report.html",
        "genkit-rag eval flow /retriever/faiss/docs --dataset judged --evaluators ndcg@10,recall@5 -- python app.py",
    ),
)
def flow(  # noqa: PLR0913 - each is an option of the command line
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A flow's name, or an action's key.", autocompletion=complete_action)],
    dataset: Annotated[
        str,
        typer.Option(
            "--dataset", "-d", help="A file (.json, .jsonl, .csv) or a dataset's id.", autocompletion=complete_dataset
        ),
    ],
    evaluators: EvaluatorNames,
    called: Called = None,
    output: ReportFile = None,
    concurrency: Concurrency = 4,
    strict: Strict = False,
    wait: Wait = False,
    folder: DevFolder = None,
    json: Json = False,
) -> None:
    """Run a flow on every row of a dataset, and score its outputs.

    The report is printed and kept; see eval list. Leaves with 3 when some rows ended in an error, with 1 when all did.
    """
    asked = _Asked(name, dataset, _names(evaluators), called, output, concurrency, strict)
    _evaluate(asked, Wanted(program_of(context), wait, dev_folder(folder)), Output(json=json))


@app.command(
    cls=CommandWithProgram,
    epilog=examples(
        "genkit-rag eval run answers.jsonl --evaluators exact_match",
        "genkit-rag eval run answers.json --evaluators faithfulness --json -- python app.py",
    ),
)
def run(  # noqa: PLR0913 - each is an option of the command line
    context: typer.Context,
    dataset: Annotated[
        str, typer.Argument(help="A file of rows with outputs, or a dataset's id.", autocompletion=complete_dataset)
    ],
    evaluators: EvaluatorNames,
    called: Called = None,
    output: ReportFile = None,
    concurrency: Concurrency = 4,
    strict: Strict = False,
    wait: Wait = False,
    folder: DevFolder = None,
    json: Json = False,
) -> None:
    """Score outputs that are there already.

    Evaluators that ask no model need no app.
    """
    asked = _Asked(None, dataset, _names(evaluators), called, output, concurrency, strict)
    _evaluate(asked, Wanted(program_of(context), wait, dev_folder(folder)), Output(json=json))


eval_results.register(app)


def _names(given: str) -> list[str]:
    names = [name.strip().removeprefix("/evaluator/") for name in given.split(",") if name.strip()]
    if not names:
        raise WrongUsage("`--evaluators` names none.", hint="For example: --evaluators exact_match,ndcg@10")
    return names


def _evaluate(asked: _Asked, wanted: Wanted, out: Output) -> None:
    from genkit_rag._cli.evaluation.store import check_report_path, load_points, write_report
    from genkit_rag._server.datasets import RunStore

    check_report_path(asked.output)
    points = load_points(asked.dataset, wanted.folder)
    report = run_until_signal(_report(asked, wanted, points, out))
    RunStore(wanted.folder).save(report, dataset_id=points.dataset_id, dataset_version=points.version)
    if asked.output is not None:
        write_report(report, asked.output)
    out.result(report.to_wire(), str(report))
    out.say(f"Kept as {report.run_id}  (genkit-rag eval show {report.run_id[:8]})")
    code = exit_code(report, strict=asked.strict)
    if code:
        raise typer.Exit(code)


def exit_code(report: EvalReport, *, strict: bool) -> int:
    """Return 0 if every row was run and scored, 3 if some were not, 1 if none was."""
    bad = sum(row.error is not None or any(score.error for score in row.scores.values()) for row in report.rows)
    if bad == len(report.rows) or (strict and not report.passed):
        return FAILED
    return PARTIAL if bad else 0


async def _report(asked: _Asked, wanted: Wanted, points: Points, out: Output) -> EvalReport:
    from genkit_rag._cli.evaluation.run import built_in_registry, refuse_unknown, run_evaluation, runs_here
    from genkit_rag._server.remote_evaluation import Plan

    registry = built_in_registry()
    local = [await runs_here(registry, name) for name in asked.evaluators]
    async with AsyncExitStack() as stack:
        runtimes: Any = None
        target = None
        if asked.action is not None or None in local or wanted.program:
            try:
                runtimes = await stack.enter_async_context(connected(wanted, out))
            except NotReady:
                if asked.action is None:  # it may just be misspelt
                    await refuse_unknown(registry, asked.evaluators)
                raise
        if asked.action is not None:
            actions = await runtimes.list_actions()
            target = action_key(asked.action, actions)
            if target not in actions:
                raise no_action(asked.action, actions)
        plan = Plan(points.points, target, asked.evaluators, concurrency=asked.concurrency, name=asked.name)
        return await run_evaluation(runtimes, plan, wanted.folder / TRACES, _progress(out))


def _progress(out: Output) -> Any:
    said: dict[str, int] = {}

    def report(progress: EvalProgress) -> None:
        tenth = progress.done * 10 // max(progress.total, 1)
        if out.live:
            end = "\n" if progress.done == progress.total else ""
            out.redraw(f"{one_line(progress.stage)}: {progress.done} of {progress.total}", end)
        elif tenth > said.get(progress.stage, 0):
            said[progress.stage] = tenth
            out.say(f"{progress.stage}: {progress.done} of {progress.total}")

    return report
