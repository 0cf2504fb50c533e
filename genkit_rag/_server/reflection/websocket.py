"""The reflection API over WebSocket, version 2: Genkit's tools are the server, the app calls them (JSON-RPC 2.0)."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from genkit_rag._core.errors import GenkitError, require_extra
from genkit_rag._server.reflection import wire
from genkit_rag._server.reflection.core import Reflection
from genkit_rag._server.reflection.runs import InputStream, Run, RunRequest

with require_extra("dev", "websockets"):
    from websockets.asyncio.client import ClientConnection, connect
    from websockets.exceptions import WebSocketException

logger = logging.getLogger("genkit_rag.reflection")

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 5.0
"""Seconds before the first and before any later attempt to connect again; the pause doubles."""

MAX_MESSAGE = 32 * 1024 * 1024
"""Bytes of a message: an input may hold images."""

METHOD_NOT_FOUND, INVALID_PARAMS, SERVER_ERROR = -32601, -32602, -32000
_REGISTER = "1"


class ReflectionClient:
    """Keeps one app registered with a tools server while `run` runs.

    Args:
        url: `ws://...`, as Genkit's CLI sets it in `GENKIT_REFLECTION_V2_SERVER`.
        reflection: The API to serve.
        identity: The parameters of `register`.

    Attributes:
        registered: Set while the tools server knows this app.
    """

    def __init__(self, url: str, reflection: Reflection, identity: Mapping[str, Any]) -> None:
        self._url = url
        self._reflection = reflection
        self._identity = dict(identity)
        self.registered = asyncio.Event()

    async def run(self) -> None:
        """Connect, serve, and reconnect when the connection ends; cancel it to stop."""
        pause = FIRST_PAUSE
        while True:
            try:
                async with connect(self._url, max_size=MAX_MESSAGE, proxy=None, compression=None) as socket:
                    session = _Session(socket, self._reflection, self.registered)
                    await session.serve(self._identity)
            except (OSError, WebSocketException, TimeoutError) as error:
                logger.debug("no connection to %s: %r", self._url, error)
            if self.registered.is_set():
                pause = FIRST_PAUSE
                self.registered.clear()
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)


class _Session:
    """One connection with its request tasks, which end with it."""

    def __init__(self, socket: ClientConnection, reflection: Reflection, registered: asyncio.Event) -> None:
        self._socket = socket
        self._reflection = reflection
        self._registered = registered
        self._outgoing: asyncio.Queue[str] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._runs: set[Run] = set()
        self._inputs: dict[str, InputStream] = {}
        self._requests: dict[str, Callable[[str, Any], Awaitable[Any]]] = {
            "listActions": self._list_actions,
            "listValues": self._list_values,
            "runAction": self._run_action,
            "cancelAction": self._cancel_action,
        }

    async def serve(self, identity: Mapping[str, Any]) -> None:
        writer = asyncio.create_task(self._write())
        self._send({"id": _REGISTER, "method": "register", "params": dict(identity)})
        try:
            async for frame in self._socket:
                self._receive(frame)
        finally:
            for run in self._runs:  # nobody is there to take what they give
                run.cancel()
            for task in (writer, *self._tasks):
                task.cancel()

    async def _write(self) -> None:
        while True:
            await self._socket.send(await self._outgoing.get())
            self._outgoing.task_done()

    def _send(self, message: Mapping[str, Any]) -> None:
        self._outgoing.put_nowait(wire.encode({"jsonrpc": "2.0", **message}))

    # -- incoming messages

    def _receive(self, frame: str | bytes) -> None:
        try:
            message = json.loads(frame)
        except (ValueError, RecursionError) as error:
            logger.debug("not JSON: %r", error)
            return
        if not isinstance(message, dict):
            return
        message = cast(dict[str, Any], message)
        method, identifier, params = message.get("method"), message.get("id"), message.get("params")
        if not isinstance(method, str):
            self._answered(message)
        elif identifier is None:
            self._notified(method, params)
        else:
            self._asked(identifier, method, params)

    def _answered(self, message: Mapping[str, Any]) -> None:
        if message.get("id") != _REGISTER or self._registered.is_set():
            return
        if "error" in message:
            logger.warning("The tools server does not take this app: %s", message["error"])
            return
        self._registered.set()
        self._configure(message.get("result"))

    def _configure(self, params: Any) -> None:
        if isinstance(params, Mapping):
            self._reflection.offer_telemetry_server(cast(Mapping[str, Any], params).get("telemetryServerUrl"))

    def _notified(self, method: str, params: Any) -> None:
        if method == "configure":
            return self._configure(params)
        facts = cast(Mapping[str, Any], params if isinstance(params, Mapping) else {})
        inputs = self._inputs.get(str(facts.get("requestId")))
        if inputs is None:
            return
        if method == "sendInputStreamChunk":
            inputs.send(facts.get("chunk"))
        elif method == "endInputStream":
            inputs.end()

    def _asked(self, identifier: Any, method: str, params: Any) -> None:
        if method == "runAction" and isinstance(params, Mapping) and cast(Any, params).get("streamInput") is True:
            self._inputs[str(identifier)] = InputStream()  # its chunks may come in before the run has begun
        task = asyncio.create_task(self._answer(identifier, method, params))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- what goes out

    async def _answer(self, identifier: Any, method: str, params: Any) -> None:
        handler = self._requests.get(method)
        if handler is None:
            return self._refuse(identifier, METHOD_NOT_FOUND, f"There is no method `{method}`.")
        if not isinstance(params, Mapping | None):
            return self._refuse(identifier, INVALID_PARAMS, "The params must be an object.")
        try:
            result = await handler(identifier, cast(Mapping[str, Any], params or {}))
        except GenkitError as error:
            wrong = error.status == "INVALID_ARGUMENT" and "argument" in error.details
            self._fail(identifier, wire.status(error), INVALID_PARAMS if wrong else SERVER_ERROR)
        except Exception as error:  # a plugin's
            self._fail(identifier, wire.status(error))
        else:
            if result is not None:
                self._send({"id": identifier, "result": result})

    def _refuse(self, identifier: Any, code: int, message: str) -> None:
        self._send({"id": identifier, "error": {"code": code, "message": message}})

    def _fail(self, identifier: Any, status: Mapping[str, Any], code: int = SERVER_ERROR) -> None:
        self._send({"id": identifier, "error": {"code": code, "message": status["message"], "data": status}})

    async def _list_actions(self, _id: str, _params: Mapping[str, Any]) -> dict[str, Any]:
        return {"actions": await self._reflection.list_actions()}

    async def _list_values(self, _id: str, params: Mapping[str, Any]) -> dict[str, Any]:
        return {"values": self._reflection.values(params.get("type"))}

    async def _cancel_action(self, _id: str, params: Mapping[str, Any]) -> dict[str, Any]:
        if not self._reflection.cancel(params.get("traceId")):
            raise GenkitError("NOT_FOUND", "No action of this trace is running.")
        return {"message": "The action is being cancelled."}

    async def _run_action(self, identifier: Any, params: Mapping[str, Any]) -> None:
        stream = params.get("stream") is True
        try:
            request = RunRequest.from_wire(params, self._inputs.get(str(identifier)))
            run = await self._reflection.start(request, stream=stream)
            self._runs.add(run)
            try:
                await self._follow(identifier, run)
            finally:
                self._runs.discard(run)
        finally:
            self._inputs.pop(str(identifier), None)

    async def _follow(self, identifier: Any, run: Run) -> None:
        await run.started.wait()
        self._notify("runActionState", {"requestId": identifier, "state": {"traceId": run.trace_id}})
        async for chunk in run.pieces():
            self._notify("streamChunk", {"requestId": identifier, "chunk": chunk})
            await self._outgoing.join()  # chunks wait in their run, which has a limit, and not here
        final = run.final()
        if "error" in final:
            self._fail(identifier, final["error"])
        else:
            self._send({"id": identifier, "result": final})

    def _notify(self, method: str, params: Mapping[str, Any]) -> None:
        self._send({"method": method, "params": dict(params)})
