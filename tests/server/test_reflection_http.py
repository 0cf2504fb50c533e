"""Version 1 of the reflection API: framing, headers, routes and the guard in front of them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from genkit_rag._server.reflection.core import Reflection
from genkit_rag._server.reflection.http import ReflectionServer
from tests.fakes.tools_server import RUNTIME, HttpTools, tools_for
from tests.server.asgi import HOST, call, never, request, scope_of
from tests.server.hostile import assert_hostile_requests_are_refused
from tests.server.test_reflection_contract import App

JSON = [("Content-Type", "application/json")]


@pytest.fixture
async def app() -> App:
    return App()


@pytest.fixture
def server(app: App) -> ReflectionServer:
    made = ReflectionServer(Reflection(app.ai.registry))
    made.runtime_id = RUNTIME
    return made


async def post(server: ReflectionServer, path: str, body: Any) -> Any:
    bodies = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    async def receive() -> Any:  # the client stays
        return bodies.pop() if bodies else await asyncio.get_running_loop().create_future()

    return await call(server.guard, scope_of("POST", path, [("Host", HOST), *JSON]), receive)


async def test_every_route_refuses_the_hostile_page(server: ReflectionServer) -> None:
    assert await assert_hostile_requests_are_refused(server.guard) > 1000


async def test_a_token_is_asked_for_where_there_is_one(app: App) -> None:
    server = ReflectionServer(Reflection(app.ai.registry), token="a-token-of-some-length")
    assert (await request(server.guard, "GET", "/api/actions")).status == 401
    assert await assert_hostile_requests_are_refused(server.guard) > 1000


async def test_health_is_for_this_runtime_only(server: ReflectionServer) -> None:
    for path, status in (("", 200), (f"?id={RUNTIME}", 200), ("?id=other", 503), ("?id=", 503)):
        assert (await request(server.guard, "GET", f"/api/__health{path}")).status == status


async def test_envs_and_notify_answer(server: ReflectionServer) -> None:
    assert json.loads((await request(server.guard, "GET", "/api/envs")).body) == ["dev"]
    for body in ({}, {"telemetryServerUrl": 5}, {"telemetryServerUrl": "http://localhost:1"}):
        reply = await post(server, "/api/notify", body)
        assert (reply.status, json.loads(reply.body)) == (200, {})


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"null", b"\xff"])
@pytest.mark.parametrize("path", ["/api/runAction", "/api/cancelAction", "/api/notify"])
async def test_a_body_that_is_no_json_object_is_refused(server: ReflectionServer, path: str, body: bytes) -> None:
    reply = await request(server.guard, "POST", path, JSON, body)
    assert (reply.status, json.loads(reply.body)["code"]) == (400, 3)


async def test_only_a_post_stops_the_runtime(app: App) -> None:
    stopped = asyncio.Event()
    server = ReflectionServer(Reflection(app.ai.registry), on_quit=stopped.set)
    assert (await request(server.guard, "GET", "/api/__quitquitquit")).status == 405
    await asyncio.sleep(0.01)
    assert not stopped.is_set()
    assert (await post(server, "/api/__quitquitquit", {})).status == 200
    await asyncio.wait_for(stopped.wait(), 5)


async def test_a_stream_is_lines_and_a_final_object_without_a_newline(server: ReflectionServer) -> None:
    reply = await post(server, "/api/runAction?stream=true", {"key": "/flow/chunks", "input": [1, "a\nb"]})
    first, second, final = reply.body.split(b"\n")
    assert (json.loads(first), json.loads(second), json.loads(final)["result"]) == (1, "a\nb", 2)
    assert reply.headers["content-type"].startswith("text/plain")
    assert json.loads(final)["telemetry"]["traceId"] == reply.headers["x-genkit-trace-id"]
    assert len(reply.headers["x-genkit-span-id"]) == 16
    assert reply.headers["x-genkit-version"].startswith("genkit-rag/")


@pytest.mark.parametrize("key", ["/flow/wait", "/flow/last_words"])
async def test_a_closing_server_gives_streams_their_final_object(server: ReflectionServer, key: str) -> None:
    sent: list[dict[str, Any]] = []
    begun = asyncio.Event()

    async def send(message: Any) -> None:
        sent.append(message)
        begun.set()

    bodies = [{"type": "http.request", "body": json.dumps({"key": key}).encode(), "more_body": False}]

    async def receive() -> Any:
        return bodies.pop() if bodies else await asyncio.get_running_loop().create_future()

    scope = scope_of("POST", "/api/runAction?stream=true", [("Host", "127.0.0.1:4100"), *JSON])
    task = asyncio.create_task(server.guard(scope, receive, send))
    await asyncio.wait_for(begun.wait(), 5)
    await server.guard.close(grace=0)
    await asyncio.wait_for(task, 5)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    assert set(json.loads(body.rpartition(b"\n")[2])) & {"error", "result"}
    assert not sent[-1].get("more_body")


async def test_a_page_cannot_call_it_by_another_name(server: ReflectionServer) -> None:
    for host in ("evil.example", "127.0.0.1.nip.io:4100"):
        assert (await call(server.guard, scope_of("GET", "/api/actions", [("Host", host)]))).status == 421


@pytest.mark.network
async def test_a_run_that_is_not_streamed_ends_too_when_its_client_goes_away(app: App) -> None:
    async with tools_for("http", app.ai.registry) as tools:
        assert isinstance(tools, HttpTools)
        run = tools.run("/flow/wait")
        await asyncio.wait_for(app.begun.wait(), 10)
        assert run.task is not None
        run.task.cancel()
        await asyncio.wait_for(app.ended.wait(), 10)


@pytest.mark.network
async def test_two_apps_of_one_process_are_served_side_by_side() -> None:
    first, second = App(), App()
    second.ai.define_flow(first.echo, name="only_here")
    async with tools_for("http", first.ai.registry) as one, tools_for("http", second.ai.registry) as two:
        assert "/flow/only_here" not in await one.actions()
        assert "/flow/only_here" in await two.actions()


@pytest.mark.network
async def test_an_image_of_some_megabytes_is_taken(app: App) -> None:
    async with tools_for("http", app.ai.registry) as tools:
        big = "x" * 8_000_000
        assert (await tools.run("/flow/echo", big).outcome())["result"] == big


async def test_sixty_megabytes_are_refused_unread(server: ReflectionServer) -> None:
    headers = [("Host", HOST), *JSON, ("Content-Length", "60000000")]
    assert (await call(server.guard, scope_of("POST", "/api/runAction", headers), never)).status == 413
