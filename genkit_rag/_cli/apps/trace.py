"""`genkit-rag trace`: what ran, how long it took and what came of it."""

from __future__ import annotations

import json as json_module
import re
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from genkit_rag._cli.apps.dev_folder import TRACES, DevFolder, dev_folder
from genkit_rag._cli.failures import WrongUsage
from genkit_rag._cli.options import Json, examples
from genkit_rag._cli.output import Output
from genkit_rag._core.errors import GenkitError

if TYPE_CHECKING:
    from genkit_rag._server.telemetry import Condition, TraceQuery, TraceStore

Status = Literal["ok", "error", "running"]

PAUSE = 0.1
"""Seconds between two looks of `tail`."""

_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_TRACE_ID = re.compile("[0-9a-f]{4,32}")

Name = Annotated[str | None, typer.Option("--name", help="Only traces of the action of this name.")]
Kind = Annotated[str | None, typer.Option("--kind", help="Only traces of this kind, such as flow or retriever.")]
OfStatus = Annotated[Status | None, typer.Option("--status", help="Only traces that ended well, badly, or not yet.")]

app = typer.Typer(
    help="Look at what ran under genkit-rag start.",
    epilog=examples("genkit-rag trace list --status error", "genkit-rag trace show 0af7651916cd43dd8448eb211c80319c"),
    rich_markup_mode=None,
)


@app.command(
    "list",
    epilog=examples(
        "genkit-rag trace list",
        "genkit-rag trace list --kind flow --slower 500 --json",
        'genkit-rag trace list --search "refunds" --since 2h',
    ),
)
def list_(  # noqa: PLR0913 - each is an option of the command line
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many traces.")] = 20,
    name: Name = None,
    kind: Kind = None,
    status: OfStatus = None,
    search: Annotated[str, typer.Option("--search", help="Words that a span has, as the beginnings of words.")] = "",
    slower: Annotated[
        float | None, typer.Option("--slower", min=0, help="Only traces that took this many milliseconds or more.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="Only traces that began within this time, such as 30s, 5m, 2h, 1d.")
    ] = None,
    folder: DevFolder = None,
    json: Json = False,
) -> None:
    """List traces, the newest first."""
    from genkit_rag._cli.apps.trace_view import show_list
    from genkit_rag._server.telemetry import Condition, TraceQuery

    where = _conditions(name, kind, status)
    if slower is not None:
        where.append(Condition("latency", "gte", slower))
    if since is not None:
        where.append(Condition("start", "gte", (time.time() - _seconds(since)) * 1000))
    out = Output(json=json)
    with _store(folder, out) as store:
        query = TraceQuery(limit=limit, where=tuple(where), text=search)
        traces = store.list_traces(query).traces if store is not None else []
    if json:
        out.data({"traces": [one.to_wire() for one in traces]})
    elif traces:
        show_list(traces, out)
    elif store is not None:
        out.say("No trace is like that.")


@app.command(epilog=examples("genkit-rag trace show 0af76519", "genkit-rag trace show last --json"))
def show(
    trace: Annotated[str, typer.Argument(help="A trace's id, its first digits, or last for the newest.")],
    contents: Annotated[bool, typer.Option("--contents", help="Show what went in and came out.")] = False,
    folder: DevFolder = None,
    json: Json = False,
) -> None:
    """Show a trace as a tree.

    Each span stands with its kind, its time, its tokens and its error.
    """
    from genkit_rag._cli.apps.trace_view import show_trace

    out = Output(json=json)
    with _store(folder, out) as store:
        if store is None:
            raise _no_trace(trace)
        trace_id = _find(store, trace)
        spans = store.load(trace_id)
        raw = store.load_json(trace_id) if json else None
    if not spans:
        raise _no_trace(trace)
    if raw is not None:
        out.data(json_module.loads(raw))
    else:
        show_trace(trace_id, spans, out, contents=contents)


@app.command(epilog=examples("genkit-rag trace tail", "genkit-rag trace tail --status error --json"))
def tail(
    name: Name = None,
    kind: Kind = None,
    status: OfStatus = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="Leave after this many; 0 never does.")] = 0,
    folder: DevFolder = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Print each trace when it has ended, until Ctrl-C."""
    from genkit_rag._cli.apps.trace_view import trace_line
    from genkit_rag._server.telemetry import TraceQuery

    out = Output(json=json)
    where = tuple(_conditions(name, kind, status))
    out.say("Waiting for traces. Ctrl-C ends it.")
    for number, one in enumerate(_follow(dev_folder(folder) / TRACES, TraceQuery(limit=200, where=where)), 1):
        if json:
            out.row(one.to_wire())
        else:
            out.show(trace_line(one))
        if number == limit:
            return


def _conditions(name: str | None, kind: str | None, status: str | None) -> list[Condition]:
    from genkit_rag._server.telemetry import Condition

    given = {"name": name, "kind": kind, "status": status}
    return [Condition(field, "eq", value) for field, value in given.items() if value is not None]


def _seconds(age: str) -> float:
    found = _AGE.fullmatch(age.strip())
    if found is None:
        raise WrongUsage(f"`--since`: {age!r} is no time.", hint="Write such as 30s, 5m, 2h or 1d.")
    return float(found[1]) * _SECONDS[found[2]]


@contextmanager
def _store(folder: Path | None, out: Output) -> Generator[TraceStore | None]:
    """Open the project's trace store for reading; report and return None if there is none.

    It is never created here. SQLite lets it be read while a server writes.
    """
    path = dev_folder(folder) / TRACES
    if not path.exists():
        out.say(f"There are no traces in {path.parent} yet. Make some: genkit-rag start -- python app.py")
        yield None
        return
    from genkit_rag._server.telemetry import TraceStore

    store = TraceStore(path)
    try:
        yield store
    finally:
        store.close()


def _find(store: TraceStore, given: str) -> str:
    """Resolve a full id, a unique prefix or `last` to an id."""
    from genkit_rag._server.telemetry import Condition, TraceQuery

    if given == "last":
        newest = store.list_traces(TraceQuery(limit=1)).traces
        if not newest:
            raise _no_trace(given)
        return newest[0].trace_id
    wanted = given.strip().lower()
    if not _TRACE_ID.fullmatch(wanted):
        raise WrongUsage(
            f"{given!r} is no trace id.", hint="Write 4 to 32 hex digits, or last. See: genkit-rag trace list"
        )
    if len(wanted) == 32:
        return wanted
    bounds = (Condition("id", "gte", wanted), Condition("id", "lte", wanted + "g"))
    found = [one.trace_id for one in store.list_traces(TraceQuery(limit=10, where=bounds)).traces]
    if not found:
        raise _no_trace(given)
    if len(found) > 1:
        raise GenkitError(
            "FAILED_PRECONDITION",
            f"{len(found)} traces begin with {given}.",
            hint=f"Write more digits: {', '.join(found[:5])}.",
        )
    return found[0]


def _no_trace(given: str) -> GenkitError:
    return GenkitError("NOT_FOUND", f"There is no trace {given}.", hint="See: genkit-rag trace list")


def _follow(path: Path, query: TraceQuery) -> Iterator[Any]:
    """Yield traces that end from now on, in the order of discovery."""
    from genkit_rag._server.telemetry import TraceStore

    known: set[str] | None = None if path.exists() else set()
    while not path.exists():
        time.sleep(PAUSE)
    store = TraceStore(path)
    try:
        while True:
            found = [one for one in store.list_traces(query).traces if one.status != "running" or _asks_running(query)]
            if known is None:
                known = {one.trace_id for one in found}
            for one in reversed(found):
                if one.trace_id not in known:
                    known.add(one.trace_id)
                    yield one
            time.sleep(PAUSE)
    finally:
        store.close()


def _asks_running(query: TraceQuery) -> bool:
    return any(one.field == "status" and one.value == "running" for one in query.where)
