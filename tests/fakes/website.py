"""A web site that a test writes, and a network in which its names and addresses are the test's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpcore


@dataclass(slots=True)
class Answer:
    """What the site says. `parts` are sent one by one, after each other; `wait` is slept before the first byte."""

    body: str | bytes = ""
    content_type: str | None = "text/html; charset=utf-8"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    parts: Callable[[], AsyncIterator[bytes]] | None = None
    wait: float = 0.0
    gate: asyncio.Event | None = None


@dataclass(slots=True)
class Request:
    path: str
    headers: dict[str, str]

    @property
    def host(self) -> str:
        return self.headers["host"]


class Website:
    """Pages by path (with the query), `host/path` for one host only; a list of answers is given one after another.

    An answer with an `etag` or `last-modified` header becomes 304 for a request that has seen it.
    """

    def __init__(self, pages: Mapping[str, str | Answer | list[Answer]] | None = None) -> None:
        self.pages: dict[str, Any] = dict(pages or {})
        self.requests: list[Request] = []
        self.busy = self.most_busy = 0

    @property
    def paths(self) -> list[str]:
        """What was asked for, without robots.txt."""
        return [request.path for request in self.requests if request.path != "/robots.txt"]

    def link(self, *paths: str, text: str = "") -> str:
        """Returns a page with links."""
        return f"<html><body><p>{text}</p>{''.join(f'<a href={path!r}>{path}</a> ' for path in paths)}</body></html>"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = {name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]}
        query = scope["query_string"].decode()
        path = scope["raw_path"].decode().partition("?")[0] + (f"?{query}" if query else "")
        self.requests.append(Request(path, headers))
        answer = self._answer(headers.get("host", ""), path)
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        try:
            await self._send(answer, headers, receive, send)
        finally:
            self.busy -= 1

    def _answer(self, host: str, path: str) -> Answer:
        found = self.pages.get(f"{host}{path}", self.pages.get(path))
        if isinstance(found, list):
            found = found.pop(0) if len(found) > 1 else found[0]
        if found is None:
            return Answer("There is no such page.", status=404)
        return Answer(found) if isinstance(found, str) else found

    async def _send(self, answer: Answer, asked: Mapping[str, str], receive: Any, send: Any) -> None:
        if answer.gate is not None:
            await answer.gate.wait()
        await asyncio.sleep(answer.wait)
        given = {name.lower(): value for name, value in answer.headers.items()}
        seen = ("etag" in given and asked.get("if-none-match") == given["etag"]) or (
            "last-modified" in given and asked.get("if-modified-since") == given["last-modified"]
        )
        if answer.content_type is not None:
            given.setdefault("content-type", answer.content_type)
        raw = [(name.encode(), value.encode("latin-1")) for name, value in given.items()]
        status = 304 if seen and answer.status == 200 else answer.status
        await send({"type": "http.response.start", "status": status, "headers": raw})
        if answer.parts is not None:
            left = asyncio.create_task(_left(receive))
            async for part in answer.parts():
                await send({"type": "http.response.body", "body": part, "more_body": True})
                await asyncio.sleep(0)
                if left.done():
                    return
            left.cancel()
        body = answer.body.encode() if isinstance(answer.body, str) else answer.body
        await send({"type": "http.response.body", "body": b"" if status == 304 else body})


async def _left(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class Internet(httpcore.AsyncNetworkBackend):
    """Sends what goes to any address to one local server, and remembers the addresses.

    Args:
        server: The server's base URL.
        names: The addresses of names: a list, or several lists that are given one after another.
    """

    def __init__(self, server: str, names: Mapping[str, list[str] | list[list[str]]] | None = None) -> None:
        self.port = int(urlsplit(server).port or 80)
        self.names: dict[str, Any] = dict(names or {})
        self.looked_up: list[str] = []
        self.connected: list[tuple[str, int]] = []
        self._sockets: Any = httpcore.AnyIOBackend()

    async def resolve(self, host: str, port: int) -> list[str]:
        self.looked_up.append(host)
        found = self.names.get(host)
        if found is None:
            raise OSError(f"no such name: {host}")
        if found and isinstance(found[0], list):
            return list(found.pop(0) if len(found) > 1 else found[0])
        return list(found)

    async def connect_tcp(self, host: str, port: int, *args: Any, **kwargs: Any) -> httpcore.AsyncNetworkStream:
        self.connected.append((host, port))
        stream: httpcore.AsyncNetworkStream = await self._sockets.connect_tcp("127.0.0.1", self.port, *args, **kwargs)
        return stream

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
