"""`genkit-rag start`: the developer UI and the trace store beside a program under development."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
import threading
import webbrowser
from collections.abc import AsyncGenerator, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from genkit_rag._cli.apps.connect import app_environment
from genkit_rag._cli.apps.dev_folder import TRACES, DevFolder, dev_folder
from genkit_rag._cli.apps.programs import CommandWithProgram, program_of, run_until_signal, started
from genkit_rag._cli.options import Json, examples
from genkit_rag._cli.output import Output
from genkit_rag._core.errors import GenkitError

if TYPE_CHECKING:
    from genkit_rag._server.guard import Guard
    from genkit_rag._server.serving import Served
    from genkit_rag._server.telemetry import TraceStore

FIRST_PORT, LAST_PORT = 4000, 4099
"""Where the developer UI is looked for; behind these any port will do."""


@dataclass(frozen=True, slots=True)
class StartOptions:
    """What `start` was asked for."""

    folder: Path
    program: list[str]
    host: str
    port: int | None
    ui: bool
    opens: bool


def register(app: typer.Typer) -> None:
    """Register the command."""
    app.command(
        "start",
        cls=CommandWithProgram,
        epilog=examples(
            "genkit-rag start -- python app.py",
            "genkit-rag start --port 4010 --no-open -- uvicorn app:api --reload",
            "genkit-rag start",
        ),
    )(start)


def start(
    context: typer.Context,
    port: Annotated[
        int | None,
        typer.Option("--port", min=1, max=65_535, help="Of the developer UI; a free one from 4000 by default."),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="The address that the developer UI listens on.")] = "127.0.0.1",
    opens: Annotated[bool, typer.Option("--open/--no-open", help="Open the developer UI in the browser.")] = True,
    ui: Annotated[bool, typer.Option("--ui/--no-ui", help="Serve the developer UI, or keep traces only.")] = True,
    folder: DevFolder = None,
    json: Json = False,
) -> None:
    """Start a program and the developer UI that looks into it.

    The program gets GENKIT_ENV=dev and the address of the trace store; its exit code is passed on. Without a program,
    the plugins of genkit_rag.toml are served if there is such a file; otherwise the command waits for apps of this
    project. Ctrl-C ends both, a second Ctrl-C at once.
    """
    program = program_of(context) or _configured_app()
    options = StartOptions(dev_folder(folder), program, host, port, ui, opens)
    code = run_until_signal(_start(options, Output(json=json)))
    if code:
        raise typer.Exit(code)


def _configured_app() -> list[str]:
    """Return the program that serves the plugins of `genkit_rag.toml`; empty without the file."""
    from genkit_rag._config import load_config

    return [] if load_config().path is None else [sys.executable, "-m", "genkit_rag._cli.apps.configured_app"]


async def _start(options: StartOptions, out: Output) -> int:
    from genkit_rag._server.telemetry import TraceStore

    store = TraceStore(options.folder / TRACES)
    try:
        async with _servers(options, store) as (telemetry, pages):
            _say_where(telemetry, pages, options, out)
            if not options.program:
                await _announce(telemetry.url, out)
            async with started(options.program, app_environment(telemetry.url), talks=out.json) as program:
                announcing = asyncio.create_task(_announce(telemetry.url, out))
                try:
                    return await program.wait()
                finally:
                    announcing.cancel()
    finally:
        store.close()


@asynccontextmanager
async def _servers(options: StartOptions, store: TraceStore) -> AsyncGenerator[tuple[Served, Served | None]]:
    """Open the servers for telemetry and for the pages."""
    from genkit_rag._server.guard import Guard, new_token
    from genkit_rag._server.serving import serve
    from genkit_rag._server.telemetry.app import telemetry_app, telemetry_policy

    if not options.ui:
        async with await serve(telemetry_app(store)) as telemetry:
            yield telemetry, None
        return
    from genkit_rag._server.dev_ui import dev_app
    from genkit_rag._server.reflection.runtime_file import project_root

    token = new_token()
    pages = dev_app(project_root(), store, token, data=options.folder)
    doorway = Guard(_Doorway(pages, token), telemetry_policy(browser=False))
    async with await _serve_pages(pages, options) as served, await serve(doorway) as telemetry:
        yield telemetry, served


class _Doorway:
    """Lets any program on this machine hand in spans, as Genkit's runtimes do, and read nothing.

    The pages ask for a token that such programs do not have.
    """

    def __init__(self, pages: Guard, token: str) -> None:
        self._pages = pages
        self._header = (b"x-genkit-token", token.encode())

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        hands_in = scope["method"] == "POST" and scope["path"].startswith(_INGEST)
        if not hands_in and scope["path"] != _HEALTH:
            await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
            return
        await self._pages({**scope, "headers": [*scope["headers"], self._header]}, receive, send)


_HEALTH = "/api/__health"
_INGEST = ("/api/traces", "/api/otlp", "/v1/")


async def _serve_pages(pages: Guard, options: StartOptions) -> Served:
    """Serve the pages on the requested port, otherwise on the first free one."""
    from genkit_rag._server.serving import serve

    remote = options.host not in ("127.0.0.1", "localhost", "::1")
    if options.port is not None:
        return await serve(pages, options.host, options.port, remote=remote)
    for port in (*range(FIRST_PORT, LAST_PORT + 1), 0):
        try:
            return await serve(pages, options.host, port, remote=remote)
        except GenkitError as error:
            if error.status != "UNAVAILABLE" or not port:
                raise
        except OSError as error:  # another process was faster, between its bind and our listen
            if error.errno != errno.EADDRINUSE or not port:
                raise
    raise AssertionError("port 0 is always free or an error")


def _say_where(telemetry: Served, pages: Served | None, options: StartOptions, out: Output) -> None:
    url = pages.sign_in_url() if pages else None
    if out.json:
        out.row({"url": url, "telemetry": telemetry.url, "traces": str(options.folder / TRACES)})
    if url:
        out.say(f"Developer UI: {url}  (this address works once)")
    else:
        out.say(f"Traces are taken at {telemetry.url}; see them with: genkit-rag trace tail")
    if not options.program:
        out.say("Waiting for apps: start them in this project with GENKIT_ENV=dev. Ctrl-C ends it.")
    if pages and options.opens and can_open_browser():
        # Open the browser in a thread, since a terminal browser would block.
        threading.Thread(target=webbrowser.open, args=(pages.sign_in_url(),), daemon=True).start()


def can_open_browser() -> bool:
    """Return whether the session has a display."""
    if os.environ.get("CI") or not sys.stderr.isatty():
        return False
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


async def _announce(telemetry: str, out: Output) -> NoReturn:
    """Report apps that start and end, and tell apps started elsewhere where to send their spans."""
    import httpx

    from genkit_rag._server.reflection.runtime_file import project_root
    from genkit_rag._server.runtimes import Runtimes

    token = os.environ.get("GENKIT_REFLECTION_TOKEN")
    runtimes = Runtimes(project_root(), token=token)
    known: dict[str, str] = {}
    offer = {"telemetryServerUrl": telemetry, "reflectionApiSpecVersion": 1}
    headers = {"X-Genkit-Token": token} if token else {}
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=2.0, headers=headers) as client:
            while True:
                alive = {one.id: one for one in await runtimes.alive()}
                for one in alive.values():
                    if one.id not in known:
                        known[one.id] = f"{one.name or 'app'} (process {one.pid})"
                        out.say(f"Connected: {known[one.id]}")
                        await _post(client, f"{one.url}/api/notify", offer)
                for gone in known.keys() - alive.keys():
                    out.say(f"Gone: {known.pop(gone)}")
                await asyncio.sleep(0.5)
    finally:
        await runtimes.close()


async def _post(client: Any, url: str, body: dict[str, Any]) -> None:
    import httpx

    try:
        await client.post(url, json=body)
    except httpx.HTTPError:  # it is gone again
        return
