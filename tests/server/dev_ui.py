"""A developer UI without a browser: the app under observation is real, in this process, and reached over HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from pydantic import BaseModel, Field

from genkit_rag import ActionContext, Genkit
from genkit_rag._core.registry import Registry
from genkit_rag._server.dev_ui import dev_app
from genkit_rag._server.guard import Guard, new_token
from genkit_rag._server.reflection.core import Reflection
from genkit_rag._server.reflection.http import ReflectionServer
from genkit_rag._server.serving import serve
from genkit_rag._server.telemetry import TraceStore
from genkit_rag._server.telemetry.wire import SpanData

TRACE = "0af7651916cd43dd8448eb211c80319c"
BASE = float(int(time.time())) * 1000 - 3_600_000
"""When the spans of tests begin: an hour ago, since old traces are not kept."""


class Inner(BaseModel):
    k: int = Field(3, ge=1)


class Asked(BaseModel):
    question: str
    inner: Inner | None = None


@dataclass
class Pages:
    """The pages, through the guard; `http` shows the token."""

    http: httpx.AsyncClient
    guard: Guard
    store: TraceStore
    root: Path

    async def page(self, path: str, status: int = 200) -> str:
        """Returns the HTML of a page."""
        answer = await self.http.get(path, headers={"Accept": "text/html"})
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"].startswith("text/html")
        return answer.text


@asynccontextmanager
async def open_pages(root: Path) -> AsyncIterator[Pages]:
    """Gives the pages of a project, with or without an app."""
    store, token = TraceStore(root / "traces.db"), new_token()
    guard = dev_app(root, store, token)
    transport = httpx.ASGITransport(guard, raise_app_exceptions=False)
    http = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers={"X-Genkit-Token": token})
    async with http, guard.app.router.lifespan_context(guard.app):  # type: ignore[attr-defined]
        yield Pages(http, guard, store, root)
    store.close()


@asynccontextmanager
async def reflected(registry: Registry, root: Path, name: str = "app", /, **facts: Any) -> AsyncIterator[str]:
    """Gives the URL of an app's reflection API while its runtime file is in the project."""
    server = ReflectionServer(Reflection(registry))
    async with await serve(server.guard) as served:
        server.runtime_id = name
        write_runtime(root, name, served.url, **facts)
        yield served.url
    (root / ".genkit" / "runtimes" / f"{name}.json").unlink(missing_ok=True)


def write_runtime(root: Path, name: str, url: str, /, **facts: Any) -> None:
    folder = root / ".genkit" / "runtimes"
    folder.mkdir(parents=True, exist_ok=True)
    wire = {
        "id": name,
        "pid": 1,
        "name": name,
        "timestamp": "2026-11-21T10:00:00.000+00:00",
        "reflectionServerUrl": url,
    }
    (folder / f"{name}.json").write_text(json.dumps(wire | facts))


def span(number: int, parent: int | None = None, **more: Any) -> SpanData:
    """Returns a span; `attributes`, and `start` and `end` in milliseconds from `BASE`, in `more` are its own."""
    start, end = more.pop("start", float(number)), more.pop("end", number + 5.0)
    wire = {
        "spanId": f"{number:016x}",
        "traceId": more.pop("trace", TRACE),
        "displayName": more.pop("name", f"span {number}"),
        "startTime": BASE + start,
        "endTime": BASE + end if end else 0,
        **({"parentSpanId": f"{parent:016x}"} if parent is not None else {}),
        **more,
    }
    return SpanData.model_validate(wire)


def action(kind: str, name: str, **attributes: Any) -> dict[str, Any]:
    """Returns the attributes of an action's span; `input` and `output` are values."""
    content = {f"genkit:{key}": json.dumps(attributes.pop(key)) for key in ("input", "output") if key in attributes}
    facts = {"genkit:name": name, "genkit:key": f"/{kind}/{name}", "genkit:metadata:subtype": kind}
    return {**facts, **content, **attributes}


def document(id: str, text: str, **metadata: Any) -> dict[str, Any]:
    return {"content": [{"text": text}], "metadata": {"id": id, **metadata}}


def demo(ai: Genkit) -> Genkit:
    """Registers flows on a Genkit: one that streams, one that fails, one with a nested input."""

    @ai.flow
    async def counts(upto: int, ctx: ActionContext) -> int:
        """Counts."""
        for number in range(upto):
            ctx.send_chunk({"n": number, "odd": "\u2028line\u2029"})
        return upto

    @ai.flow
    async def fails(reason: str) -> str:
        raise ValueError(reason)

    @ai.flow
    async def asks(asked: Asked) -> str:
        return asked.question

    return ai
