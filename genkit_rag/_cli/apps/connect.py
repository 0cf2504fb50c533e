"""The app that a command uses: a running one, or one started for it."""

from __future__ import annotations

import asyncio
import difflib
import os
import secrets
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genkit_rag._cli.apps.dev_folder import TRACES
from genkit_rag._cli.apps.programs import Program, started
from genkit_rag._cli.failures import NotReady
from genkit_rag._cli.output import Output
from genkit_rag._core.errors import GenkitError

if TYPE_CHECKING:
    from genkit_rag._server.runtimes import Runtime, Runtimes

Described = Mapping[str, Mapping[str, Any]]
"""The app's description of its actions by key."""

PATIENCE_SECONDS = 60.0
"""How long an app may take until it can be spoken to."""

_PAUSE = 0.05


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which app a command wants.

    Attributes:
        program: What to start; empty for an app that runs.
        wait: Whether to wait until one runs.
        folder: Where the traces of a program that is started here go.
    """

    program: Sequence[str]
    wait: bool
    folder: Path


@asynccontextmanager
async def connected(wanted: Wanted, out: Output) -> AsyncGenerator[Runtimes]:
    """Connect to an app that answers; one that was started for the command ends with the block.

    Raises:
        NotReady: No app runs, or the started one ended or was not ready within a minute.
    """
    from genkit_rag._server.reflection.runtime_file import project_root
    from genkit_rag._server.runtimes import Runtimes

    root = project_root()
    if wanted.program:
        async with _own_app(wanted, root) as runtimes:
            yield runtimes
        return
    runtimes = Runtimes(root, token=os.environ.get("GENKIT_REFLECTION_TOKEN"))
    try:
        if await runtimes.current() is None:
            if not wanted.wait:
                raise _no_app(root)
            out.say(f"Waiting for an app in {root} ...")
            await _any(runtimes)
        yield runtimes
    finally:
        await runtimes.close()


async def _any(runtimes: Runtimes) -> None:
    while await runtimes.current() is None:  # noqa: ASYNC110 - other processes tell nobody
        await asyncio.sleep(_PAUSE)


def app_environment(telemetry: str, runtime_id: str | None = None) -> dict[str, str]:
    """Return the environment of a visible app: ours, in development mode, with our telemetry server."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("GENKIT_REFLECTION_V2_SERVER", "GENKIT_TELEMETRY_TOKEN")
    }
    own = {"GENKIT_ENV": "dev", "GENKIT_TELEMETRY_SERVER": telemetry, "GENKIT_ENABLE_REALTIME_TELEMETRY": "true"}
    return {**kept, **own, **({"GENKIT_RUNTIME_ID": runtime_id} if runtime_id else {})}


@asynccontextmanager
async def _own_app(wanted: Wanted, root: Path) -> AsyncGenerator[Runtimes]:
    from genkit_rag._server.serving import serve
    from genkit_rag._server.telemetry import TraceStore
    from genkit_rag._server.telemetry.app import telemetry_app

    store = TraceStore(wanted.folder / TRACES)
    try:
        async with await serve(telemetry_app(store)) as telemetry:
            runtime_id = f"cli-{secrets.token_hex(8)}"
            runtimes = _one_runtime(root, runtime_id)
            async with started(wanted.program, app_environment(telemetry.url, runtime_id), talks=True) as program:
                try:
                    await _ready(runtimes, program, wanted.program)
                    yield runtimes
                finally:
                    await runtimes.close()
    finally:
        store.close()


def _one_runtime(root: Path, runtime_id: str) -> Runtimes:
    from genkit_rag._server.runtimes import Runtimes

    class OneRuntime(Runtimes):
        """The runtimes of one program, without others of the project."""

        async def found(self) -> list[Runtime]:
            """Return the runtimes that our program has started."""
            return [one for one in await super().found() if one.id == runtime_id]

    return OneRuntime(root, token=os.environ.get("GENKIT_REFLECTION_TOKEN"), patience=0.2)


async def _ready(runtimes: Runtimes, program: Program, command: Sequence[str]) -> None:
    ended = asyncio.ensure_future(program.wait())
    due = time.monotonic() + PATIENCE_SECONDS
    try:
        while await runtimes.current() is None:
            if ended.done():
                raise NotReady(
                    f"`{' '.join(command)}` ended with code {ended.result()} before its actions could be seen.",
                    hint="Look at what it said; it must make a Genkit() object, and the extra dev must be installed.",
                )
            if time.monotonic() > due:
                raise NotReady(
                    f"`{' '.join(command)}` made no Genkit() object within {PATIENCE_SECONDS:.0f} seconds.",
                    hint="Make it when the program starts, not at its first request.",
                )
            await asyncio.sleep(_PAUSE)
    finally:
        ended.cancel()


def _no_app(root: Path) -> NotReady:
    return NotReady(
        f"No app runs in {root}.",
        hint="Start one with `genkit-rag start -- python app.py`, name it behind --, or wait with --wait.",
    )


def action_key(given: str, actions: Described, kind: str = "flow") -> str:
    """Resolve a name or key to the key of an action.

    An unlisted key may be one that a plugin creates on request, so only an unknown name raises NOT_FOUND.
    """
    if given.startswith("/"):
        return given
    key = f"/{kind}/{given}"
    if key not in actions:
        raise no_action(given, actions, kind)
    return key


def no_action(given: str, actions: Described, kind: str = "flow") -> GenkitError:
    """Create the NOT_FOUND error with similar names."""
    names = [key.removeprefix(f"/{kind}/") for key in actions if key.startswith(f"/{kind}/")]
    elsewhere = [key for key in actions if key.split("/", 2)[2:] == [given]]
    last = {name.rpartition("/")[2]: name for name in names}
    close = elsewhere or difflib.get_close_matches(given, [*names, *actions], n=1)
    close = close or [last[name] for name in difflib.get_close_matches(given, last, n=1)]
    guess = f"Did you mean `{close[0]}`? " if close else ""
    listed = f"{kind}s there: {', '.join(sorted(names)[:20])}." if names else f"The app has no {kind}s."
    what = f"action {given}" if given.startswith("/") else f"{kind} {given!r}"
    return GenkitError("NOT_FOUND", f"There is no {what}.", hint=f"{guess}{listed[0].upper()}{listed[1:]}")
