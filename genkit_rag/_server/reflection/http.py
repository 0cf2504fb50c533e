"""The reflection API over HTTP, version 1: the app is the server, Genkit's tools call it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from genkit_rag._core.errors import HTTP_CODES, STATUS_CODES, GenkitError, require_extra
from genkit_rag._core.threads import run_in_thread
from genkit_rag._server.guard import Guard, GuardPolicy
from genkit_rag._server.reflection import wire
from genkit_rag._server.reflection.core import Reflection
from genkit_rag._server.reflection.runs import Run, RunRequest

with require_extra("dev", "starlette"):
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MAX_BODY = 32 * 1024 * 1024
"""Bytes of a request: an input may hold images."""

_PARSED_INLINE = 65_536
"""Bodies up to this are parsed in the event loop: it takes under a millisecond."""

_HTTP_BY_CODE = {number: HTTP_CODES[name] for name, number in STATUS_CODES.items()}


def policy(token: str | None = None) -> GuardPolicy:
    """Return the guard's policy for programs: loopback, Host, no Origin, JSON only; Genkit's CLI sends no token."""
    return GuardPolicy(token=token, browser=False, max_body=MAX_BODY)


class ReflectionServer:
    """The guarded ASGI app of one app's reflection API.

    Args:
        reflection: The API to serve.
        token: The token of every request; None for Genkit's tools on this machine.
        on_quit: Called when a client asks the runtime to stop.

    Attributes:
        runtime_id: The id that a health check must send; set it when the server listens.
    """

    def __init__(
        self, reflection: Reflection, *, token: str | None = None, on_quit: Callable[[], None] = lambda: None
    ) -> None:
        self._reflection = reflection
        self._on_quit = on_quit
        self.runtime_id: str | None = None
        self.routes = [
            Route("/api/__health", self._health),
            Route("/api/actions", self._actions),
            Route("/api/values", self._values),
            Route("/api/envs", self._envs),
            Route("/api/notify", self._notify, methods=["POST"]),
            Route("/api/runAction", _RunAction(reflection), methods=["POST"]),
            Route("/api/cancelAction", self._cancel, methods=["POST"]),
            Route("/api/__quitquitquit", self._quit, methods=["POST"]),
        ]
        self._app = Starlette(routes=self.routes, exception_handlers={Exception: _failed})
        self.guard = Guard(self, policy(token))

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle a request; lifespan events are ignored."""
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)

    async def _health(self, request: Request) -> Response:
        wanted = request.query_params.get("id")
        if wanted is not None and wanted != self.runtime_id:
            return Response("Another runtime.", 503, media_type="text/plain")
        return Response("OK", media_type="text/plain")

    async def _actions(self, _request: Request) -> Response:
        return _json(await self._reflection.list_actions())

    async def _values(self, request: Request) -> Response:
        try:
            return _json(self._reflection.values(request.query_params.get("type")))
        except GenkitError as error:
            return _error(error)

    async def _envs(self, _request: Request) -> Response:
        return _json(self._reflection.envs())

    async def _notify(self, request: Request) -> Response:
        try:
            self._reflection.offer_telemetry_server((await _object(request)).get("telemetryServerUrl"))
        except GenkitError as error:
            return _error(error)
        return _json({})

    async def _cancel(self, request: Request) -> Response:
        try:
            found = self._reflection.cancel((await _object(request)).get("traceId"))
        except GenkitError as error:
            return _error(error)
        if not found:
            return _error(GenkitError("NOT_FOUND", "No action of this trace is running."))
        return _json({"message": "The action is being cancelled."})

    async def _quit(self, _request: Request) -> Response:
        asyncio.get_running_loop().call_soon(self._on_quit)
        return Response("OK", media_type="text/plain")


class _RunAction:
    """The one route that is more than an answer: its headers go out when the trace begins."""

    def __init__(self, reflection: Reflection) -> None:
        self._reflection = reflection

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        stream = request.query_params.get("stream") == "true"
        try:
            run = await self._reflection.start(RunRequest.from_wire(await _object(request)), stream=stream)
        except Exception as error:
            return await _error(error)(scope, receive, send)
        watch = asyncio.create_task(_cancel_when_gone(receive, run))
        try:
            await _answer(run, send, stream=stream)
        finally:
            watch.cancel()


async def _answer(run: Run, send: Send, *, stream: bool) -> None:
    begun = False
    try:
        await run.started.wait()
        begun = True
        await send(_head(run, stream=stream))
        async for chunk in run.pieces():
            await send({"type": "http.response.body", "body": f"{wire.encode(chunk)}\n".encode(), "more_body": True})
    except asyncio.CancelledError:  # the server closes
        run.cancel()
        if not begun:
            raise
        await asyncio.wait([run.task], timeout=0.1)
    # Genkit's CLI exits if a stream lacks its final object, or has a newline after it.
    await send({"type": "http.response.body", "body": wire.encode(run.final()).encode()})


def _head(run: Run, *, stream: bool) -> Message:
    headers = [
        (b"content-type", b"text/plain; charset=utf-8" if stream else b"application/json"),
        (b"x-genkit-trace-id", run.trace_id.encode()),
        (b"x-genkit-span-id", run.span_id.encode()),
        (b"x-genkit-version", wire.version().encode()),
    ]
    return {"type": "http.response.start", "status": 200, "headers": headers}


async def _cancel_when_gone(receive: Receive, run: Run) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        while (await receive())["type"] != "http.disconnect":
            pass
        run.cancel()


async def _object(request: Request) -> dict[str, Any]:
    body = await request.body()
    try:
        found = json.loads(body) if len(body) <= _PARSED_INLINE else await run_in_thread(json.loads, body)
    except ValueError as error:
        raise GenkitError("INVALID_ARGUMENT", f"The body is not JSON: {error}.", cause=error) from None
    if not isinstance(found, dict):
        raise GenkitError("INVALID_ARGUMENT", "The body must be a JSON object.")
    return found


def _json(value: Any, code: int = 200) -> Response:
    return Response(wire.encode(value), code, {"x-genkit-version": wire.version()}, "application/json")


def _error(error: Exception) -> Response:
    found = wire.status(error)
    return _json(found, _HTTP_BY_CODE.get(found["code"], 500))


async def _failed(_request: Request, error: Exception) -> Response:
    return _error(error)
