"""The other side of the reflection API, over both protocols and with one interface: what a tool sees of an app."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
from websockets.asyncio.server import Server, ServerConnection, serve

from genkit_rag._core.registry import Registry
from genkit_rag._server.reflection.core import Reflection
from genkit_rag._server.reflection.http import ReflectionServer
from genkit_rag._server.reflection.websocket import ReflectionClient
from genkit_rag._server.serving import serve as serve_http

RUNTIME = "runtime-1"


class Refused(Exception):
    """The app refused a request before anything ran."""

    def __init__(self, http: int | None, status: dict[str, Any]) -> None:
        super().__init__(status)
        self.http, self.status = http, status


class Running:
    """A run as a tool sees it: `trace_id` early, `chunks` as they come, `result` or `error` at the end."""

    def __init__(self) -> None:
        self.trace_id: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.chunks: list[Any] = []
        self.first_chunk, self.sent = asyncio.Event(), asyncio.Event()
        self.final: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.raw = b""
        self.task: asyncio.Task[None] | None = None

    def chunk(self, chunk: Any) -> None:
        self.chunks.append(chunk)
        self.first_chunk.set()

    def end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None and not self.final.done():
            self.final.set_exception(task.exception() or RuntimeError())

    async def outcome(self) -> dict[str, Any]:
        """Returns `{result, telemetry}` or `{error}`; raises `Refused` for a run that never began."""
        return await asyncio.wait_for(self.final, 10)


class HttpTools:
    """Version 1: the app is the server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = httpx.AsyncClient(base_url=url, timeout=10, trust_env=False)

    async def get(self, path: str) -> Any:
        return self._checked(await self.client.get(path))

    async def post(self, path: str, body: Any) -> Any:
        return self._checked(await self.client.post(path, json=body))

    @staticmethod
    def _checked(response: httpx.Response) -> Any:
        if response.status_code != 200:
            raise Refused(response.status_code, response.json())
        return response.json()

    async def actions(self) -> dict[str, Any]:
        return await self.get("/api/actions")

    async def values(self, kind: str) -> dict[str, Any]:
        return await self.get(f"/api/values?type={kind}")

    async def cancel(self, trace_id: Any) -> Any:
        return await self.post("/api/cancelAction", {"traceId": trace_id})

    async def offer(self, url: str) -> None:
        await self.post("/api/notify", {"telemetryServerUrl": url, "reflectionApiSpecVersion": 1})

    def run(self, key: Any, value: Any = None, *, stream: bool = False, **body: Any) -> Running:
        running = Running()
        running.task = asyncio.create_task(self._run(running, {"key": key, "input": value, **body}, stream))
        running.task.add_done_callback(running.end)
        return running

    async def _run(self, running: Running, body: dict[str, Any], stream: bool) -> None:
        path = "/api/runAction?stream=true" if stream else "/api/runAction"
        content = json.dumps(body).encode()  # ASCII: any text, half of a pair too
        headers = {"Content-Type": "application/json"}
        async with self.client.stream("POST", path, content=content, headers=headers) as response:
            if response.status_code != 200:
                status = json.loads(await response.aread())
                running.trace_id.cancel()
                running.final.set_exception(Refused(response.status_code, status))
                return
            running.trace_id.set_result(response.headers["x-genkit-trace-id"])
            async for piece in response.aiter_bytes():
                running.raw += piece
                *lines, _ = running.raw.split(b"\n")
                for line in lines[len(running.chunks) :]:
                    running.chunk(json.loads(line))
        # As Genkit's CLI reads it: what stands behind the last newline is the final object, and there is one.
        running.final.set_result(json.loads(running.raw.rpartition(b"\n")[2]))


class SocketTools:
    """Version 2: the tool is the server."""

    def __init__(self) -> None:
        self.identity: dict[str, Any] = {}
        self.connections = 0
        self.telemetry_server: str | None = None
        self.connected = asyncio.Event()
        self.stray: list[Any] = []
        self._socket: ServerConnection | None = None
        self._numbers = itertools.count(1)
        self._pending: dict[str, asyncio.Future[Any]] = {}
        self._runs: dict[str, Running] = {}

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        server: Server = await serve(self._serve, "127.0.0.1", 0)
        async with server:
            yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _serve(self, socket: ServerConnection) -> None:
        async for frame in socket:
            message = json.loads(frame)
            assert message["jsonrpc"] == "2.0"
            if message.get("method") == "register":
                self.identity, self._socket = message["params"], socket
                self.connections += 1
                result = {} if self.telemetry_server is None else {"telemetryServerUrl": self.telemetry_server}
                await socket.send(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}))
                self.connected.set()
            else:
                self._received(message)

    def _received(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        running = self._runs.get(params.get("requestId"))
        if running is not None and message["method"] == "runActionState":
            running.trace_id.set_result(params["state"]["traceId"])
        elif running is not None and message["method"] == "streamChunk":
            running.chunk(params["chunk"])
        elif message.get("id") in self._pending:
            self._pending.pop(message["id"]).set_result(message)
        else:
            self.stray.append(message)

    async def drop(self) -> None:
        assert self._socket is not None
        self.connected.clear()
        await self._socket.close()

    async def send(self, method: str, params: Any, identifier: str | None = None) -> None:
        message = {"jsonrpc": "2.0", "method": method, "params": params}
        assert self._socket is not None
        await self._socket.send(json.dumps(message | ({} if identifier is None else {"id": identifier})))

    async def ask(self, method: str, params: Any = None) -> dict[str, Any]:
        """Returns the whole answer."""
        identifier = str(next(self._numbers))
        self._pending[identifier] = asyncio.get_running_loop().create_future()
        await self.send(method, params, identifier)
        return await asyncio.wait_for(self._pending[identifier], 10)

    async def _result(self, method: str, params: Any = None) -> Any:
        answer = await self.ask(method, params)
        if "error" in answer:
            raise Refused(None, answer["error"]["data"])
        return answer["result"]

    async def actions(self) -> dict[str, Any]:
        return (await self._result("listActions"))["actions"]

    async def values(self, kind: str) -> dict[str, Any]:
        return (await self._result("listValues", {"type": kind}))["values"]

    async def cancel(self, trace_id: Any) -> Any:
        return await self._result("cancelAction", {"traceId": trace_id})

    async def offer(self, url: str) -> None:
        await self.send("configure", {"telemetryServerUrl": url})
        await self.actions()  # notifications are not answered: what follows one is

    def run(self, key: Any, value: Any = None, *, stream: bool = False, **params: Any) -> Running:
        identifier = str(next(self._numbers))
        running = self._runs[identifier] = Running()
        self._pending[identifier] = asyncio.get_running_loop().create_future()
        body = {"key": key, "input": value, "stream": stream, "streamInput": False, **params}
        running.task = asyncio.create_task(self._follow(running, identifier, body))
        running.task.add_done_callback(running.end)
        return running

    async def _follow(self, running: Running, identifier: str, body: dict[str, Any]) -> None:
        await self.send("runAction", body, identifier)
        running.sent.set()
        answer = await self._pending[identifier]
        error = answer.get("error")
        if error is not None and not running.trace_id.done():
            running.trace_id.cancel()
            running.final.set_exception(Refused(None, error["data"]))
        else:
            running.final.set_result({"error": error["data"]} if error else answer["result"])

    async def send_input(self, running: Running, chunk: Any) -> None:
        await running.sent.wait()
        await self.send("sendInputStreamChunk", {"requestId": self._id_of(running), "chunk": chunk})

    async def end_input(self, running: Running) -> None:
        await self.send("endInputStream", {"requestId": self._id_of(running)})

    def _id_of(self, running: Running) -> str:
        return next(identifier for identifier, one in self._runs.items() if one is running)


Tools = HttpTools | SocketTools


@contextlib.asynccontextmanager
async def tools_for(protocol: str, registry: Registry, on_telemetry_server: Any = None) -> AsyncIterator[Tools]:
    """Yields a tool that looks at the app of a registry, by protocol `http` or `socket`."""
    reflection = Reflection(registry, on_telemetry_server)
    if protocol == "http":
        server = ReflectionServer(reflection)
        server.runtime_id = RUNTIME
        async with await serve_http(server.guard) as served:
            tools = HttpTools(served.url)
            async with tools.client:
                yield tools
        return
    socket_tools = SocketTools()
    async with socket_tools.listening() as url:
        client = ReflectionClient(url, reflection, {"id": RUNTIME, "pid": 1})
        task = asyncio.create_task(client.run())
        try:
            await asyncio.wait_for(socket_tools.connected.wait(), 10)
            yield socket_tools
        finally:
            task.cancel()
            await asyncio.wait([task])
