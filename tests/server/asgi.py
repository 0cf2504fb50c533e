"""Calls an ASGI app directly, with headers that no client library would send."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

PORT = 4100
HOST = f"127.0.0.1:{PORT}"
Headers = list[tuple[str, str]]


@dataclass
class Reply:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def scope_of(method: str, path: str, headers: Iterable[tuple[str, str]], *, kind: str = "http") -> dict[str, Any]:
    route, _, query = path.partition("?")
    return {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http" if kind == "http" else "ws",
        "path": route,
        "raw_path": route.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "client": ("127.0.0.1", 5),
        "server": ("127.0.0.1", PORT),
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        "state": {},
    }


async def never() -> Any:
    raise AssertionError("the body was read")


def body_of(*chunks: bytes) -> Callable[[], Awaitable[Any]]:
    left = list(chunks) or [b""]

    async def receive() -> Any:
        if not left:
            return {"type": "http.disconnect"}
        chunk = left.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(left)}

    return receive


async def call(app: Any, scope: dict[str, Any], receive: Any = None) -> Reply:
    reply = Reply()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            reply.status = message["status"]
            reply.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        elif message["type"] == "http.response.body":
            reply.body += message.get("body", b"")
        elif message["type"] == "websocket.close":
            reply.status = -message.get("code", 1000)

    await app(scope, receive or body_of(), send)
    return reply


async def request(app: Any, method: str, path: str, headers: Headers | None = None, *chunks: bytes) -> Reply:
    given = headers or []
    if not any(name.lower() == "host" for name, _ in given):
        given = [("Host", HOST), *given]
    return await call(app, scope_of(method, path, given), body_of(*chunks))
