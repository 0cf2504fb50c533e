"""The commands, put together."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from genkit_rag._cli import models
from genkit_rag._cli.apps import flow, start, trace
from genkit_rag._cli.doctor import config, doctor
from genkit_rag._cli.evaluation import commands as evals
from genkit_rag._cli.failures import INTERRUPTED, interrupted, report
from genkit_rag._cli.options import examples
from genkit_rag._cli.output import replace_closed_streams, tolerate_any_encoding
from genkit_rag._cli.stores import ask, ingest, query, store

app = typer.Typer(
    name="genkit-rag",
    help="Index documents, search them, and answer questions from them.",
    epilog=examples(
        "genkit-rag ingest docs/",
        'genkit-rag query "how are tokens renewed?"',
        'genkit-rag ask "how are tokens renewed?"',
        "genkit-rag doctor",
    ),
    rich_markup_mode=None,  # help must not cost an import of rich
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    """Index documents, search them, and answer questions from them."""
    if version:
        from importlib.metadata import version as installed_version

        typer.echo(f"genkit-rag {installed_version('genkit-rag')}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


ingest.register(app)
query.register(app)
ask.register(app)
start.register(app)
app.add_typer(flow.app, name="flow")
app.add_typer(evals.app, name="eval")
app.add_typer(trace.app, name="trace")
app.add_typer(store.app, name="store")
app.add_typer(models.app, name="models")
app.add_typer(config.app, name="config")
doctor.register(app)


def run(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code; errors are reported, not raised."""
    replace_closed_streams()
    tolerate_any_encoding()
    try:
        code = app(list(arguments), prog_name="genkit-rag", standalone_mode=False)
        sys.stdout.flush()  # a full disk or a closed pipe shows here at the latest, not at the interpreter's exit
    except (Exception, KeyboardInterrupt) as error:
        return report(error, json="--json" in arguments)
    if code == INTERRUPTED:  # typer makes an exit code of Ctrl-C itself
        return interrupted()
    return code if isinstance(code, int) else 0
