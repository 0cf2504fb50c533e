"""`genkit-rag flow batch`: runs an action on every row of a file."""

from __future__ import annotations

import json as json_module
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genkit_rag._cli.apps.completion import complete_action
from genkit_rag._cli.apps.connect import Wanted, action_key, connected
from genkit_rag._cli.apps.dev_folder import DevFolder, dev_folder
from genkit_rag._cli.apps.programs import CommandWithProgram, program_of, run_until_signal
from genkit_rag._cli.apps.runs import Request, Wait, failed, pieces
from genkit_rag._cli.failures import FAILED, PARTIAL
from genkit_rag._cli.inputs import json_object, read_rows
from genkit_rag._cli.options import Json, examples
from genkit_rag._cli.output import Output
from genkit_rag._core.errors import GenkitError

if TYPE_CHECKING:
    from genkit_rag._cli.apps.connect import Described
    from genkit_rag._server.runtimes import Runtimes

Row = dict[str, Any]


def register(app: typer.Typer) -> None:
    """Register the command."""
    app.command(
        "batch",
        cls=CommandWithProgram,
        epilog=examples(
            "genkit-rag flow batch answer questions.jsonl > answers.jsonl",
            "genkit-rag flow batch answer questions.json --output answers.json --label nightly -- python app.py",
        ),
    )(batch)


def batch(  # noqa: PLR0913 - each is an option of the command line
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A flow's name, or an action's key.", autocompletion=complete_action)],
    file: Annotated[str, typer.Argument(help="The inputs: a JSON array or JSON Lines; - for stdin.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A .json or .jsonl file for the results; stdout by default.")
    ] = None,
    label: Annotated[
        str | None, typer.Option("--label", help="A name for the run; its traces carry it as `batchRun`.")
    ] = None,
    action_context: Annotated[
        str | None, typer.Option("--context", help="What the action finds as its context, as a JSON object.")
    ] = None,
    wait: Wait = False,
    folder: DevFolder = None,
    json: Json = False,
) -> None:
    """Run an action on each row of a file, in order.

    Prints a line of JSON for each: the input, and the result or the error. Leaves with 3 when some rows failed, with 1
    when all did.
    """
    rows = read_rows(file)
    request = Request(name, rows, json_object(action_context, "--context"))
    wanted = Wanted(program_of(context), wait, dev_folder(folder))
    out = Output(json=json)
    bad = run_until_signal(_batch(wanted, request, label, output, out))
    if bad:
        raise typer.Exit(FAILED if bad == len(rows) else PARTIAL)


async def _batch(wanted: Wanted, request: Request, label: str | None, output: Path | None, out: Output) -> int:
    """Run the batch and return the number of failed rows."""
    done: list[Row] = []
    try:
        async with connected(wanted, out) as runtimes:
            actions = await runtimes.list_actions()
            key = action_key(request.action, actions)
            for number, value in enumerate(request.input, 1):
                row = await _one(runtimes, key, Request(key, value, request.context), label, actions)
                done.append(row)
                if "error" in row:
                    out.say(f"row {number}: {row['error']['message']}")
                if output is None and not out.json:
                    out.row(row)
    finally:
        if output is not None and done:
            _write(output, done)
    bad = sum("error" in row for row in done)
    if out.json:
        out.data({"rows": len(done), "failed": bad, **({"output": str(output)} if output else {"results": done})})
    out.say(f"{len(done)} rows, {bad} failed.")
    return bad


async def _one(runtimes: Runtimes, key: str, request: Request, label: str | None, actions: Described) -> Row:
    """Return a row's result; raise only errors that every row would have."""
    labels = {"batchRun": label} if label else None
    row: Row = {"input": request.input}
    try:
        events = runtimes.run(key, request.input, stream=False, context=request.context, labels=labels)
        async with aclosing(events):
            async for event in pieces(events, key, request, actions):
                if "error" in event:
                    raise failed(key, event["error"], event["traceId"])
                if "result" in event:
                    return row | {"result": event["result"], "traceId": event["traceId"]}
        raise GenkitError("DATA_LOSS", f"`{key}` ended without a result.")
    except GenkitError as error:
        if error.status == "NOT_FOUND" and "traceId" not in error.details:
            raise
        trace = {"traceId": error.details["traceId"]} if "traceId" in error.details else {}
        return row | {"error": {"status": error.status, "message": error.message}, **trace}


def _write(path: Path, rows: list[Row]) -> None:
    if path.suffix == ".json":
        text = json_module.dumps(rows, ensure_ascii=False, indent=2) + "\n"
    else:
        text = "".join(json_module.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")
