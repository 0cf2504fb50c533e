from __future__ import annotations

import asyncio
import gzip
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genkit_rag._core.errors import GenkitError
from genkit_rag._server.guard import Guard, GuardPolicy, new_token
from genkit_rag._server.limits import nests_deeper
from tests.server.asgi import HOST, PORT, Reply, body_of, call, never, request, scope_of
from tests.server.hostile import assert_hostile_requests_are_refused, assert_secure

starlette = pytest.importorskip("starlette.applications")

TOKEN = new_token()
JSON = [("Content-Type", "application/json")]


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message["more_body"]
    headers = [(b"access-control-allow-origin", b"*"), (b"x-frame-options", b"ALLOW"), (b"x-kept", b"1")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def post(guard: Guard, *chunks: bytes, headers: Any = (), path: str = "/x") -> Reply:
    return await request(guard, "POST", path, [*JSON, *headers], *chunks)


@pytest.mark.parametrize("policy", [GuardPolicy(token=TOKEN), GuardPolicy(), GuardPolicy(browser=False)], ids=str)
async def test_every_route_by_every_method_refuses_the_hostile_page(policy: GuardPolicy) -> None:
    from starlette.routing import Mount, Route, WebSocketRoute
    from starlette.staticfiles import StaticFiles

    def unreachable(*args: Any) -> Any:
        raise AssertionError("a hostile request came through")

    routes = [
        Route("/", unreachable),
        Route("/items/{item_id}", unreachable, methods=["POST", "DELETE"]),
        Mount("/static", StaticFiles(directory="tests")),
        Mount("/sub", routes=[Route("/inner", unreachable)]),
        WebSocketRoute("/socket", unreachable),
    ]
    assert await assert_hostile_requests_are_refused(Guard(starlette.Starlette(routes=routes), policy)) > 1000


async def test_an_unguarded_app_would_fail_the_hostile_table() -> None:
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    class Open(Guard):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await self.app(scope, receive, send)

    app = starlette.Starlette(routes=[Route("/", lambda request: PlainTextResponse("hi"))])
    with pytest.raises(AssertionError):
        await assert_hostile_requests_are_refused(Open(app))


@pytest.mark.parametrize("host", [HOST, f"localhost:{PORT}", f"[::1]:{PORT}", "ui.example", "ui.example:8443"])
async def test_the_own_addresses_and_configured_names_are_served(host: str) -> None:
    guard = Guard(echo, GuardPolicy(hosts=frozenset({"ui.example"})))
    reply = await request(guard, "GET", "/", [("Host", host), ("Origin", f"http://{host}")])
    assert reply.status == 200
    assert_secure(reply)
    assert (reply.headers["x-frame-options"], reply.headers["x-kept"]) == ("DENY", "1")
    assert reply.headers["cache-control"] == "no-store"


async def test_a_name_with_a_port_is_allowed_on_that_port_only() -> None:
    guard = Guard(echo, GuardPolicy(hosts=frozenset({"ui.example:8443"})))
    assert (await request(guard, "GET", "/", [("Host", "ui.example:8443")])).status == 200
    for host in ("ui.example", "ui.example:8444"):
        assert (await request(guard, "GET", "/", [("Host", host)])).status == 421


async def test_a_server_on_a_network_address_does_not_answer_to_localhost() -> None:
    scope = scope_of("GET", "/", [("Host", f"localhost:{PORT}")]) | {"server": ("192.168.1.5", PORT)}
    assert (await call(Guard(echo), scope)).status == 421
    scope["headers"] = [(b"host", f"192.168.1.5:{PORT}".encode())]
    assert (await call(Guard(echo), scope)).status == 200


@pytest.mark.parametrize("header", [("Authorization", f"Bearer {TOKEN}"), ("X-Genkit-Token", TOKEN)])
async def test_a_program_shows_its_token_in_a_header(header: tuple[str, str]) -> None:
    guard = Guard(echo, GuardPolicy(token=TOKEN))
    assert (await request(guard, "GET", "/", [header])).status == 200
    assert (await post(guard, b"{}", headers=[header])).body == b"{}"


async def test_a_one_time_url_signs_one_browser_in() -> None:
    guard = Guard(echo, GuardPolicy(token=TOKEN))
    path = guard.sign_in_path()
    assert TOKEN not in path
    reply = await request(guard, "GET", path)
    assert (reply.status, reply.headers["location"]) == (303, "/")
    cookie, *settings = reply.headers["set-cookie"].split("; ")
    assert settings == ["Path=/", "HttpOnly", "SameSite=Strict"]
    assert TOKEN not in cookie
    signed_in = [("Cookie", f"other=1; {cookie}")]
    assert (await request(guard, "GET", "/", signed_in)).status == 200
    assert (await post(guard, b"[]", headers=[*signed_in, ("Origin", f"http://{HOST}")])).status == 200
    assert (await request(guard, "GET", path)).status == 401, "the URL was used before"
    assert (await request(guard, "GET", path, signed_in)).status == 303, "a reload in the same browser"
    for wrong in ("/?token=", f"/?token={TOKEN}", "/?token=a&token=b"):
        assert (await request(guard, "GET", wrong)).status == 401


async def test_a_cookie_does_not_help_a_foreign_page() -> None:
    guard = Guard(echo, GuardPolicy(token=TOKEN))
    cookie = (await request(guard, "GET", guard.sign_in_path())).headers["set-cookie"].split(";")[0]
    scope = scope_of("POST", "/x", [("Host", HOST), *JSON, ("Cookie", cookie), ("Origin", "http://evil.example")])
    assert (await call(guard, scope, never)).status == 403


async def test_open_paths_need_no_token_but_the_right_host() -> None:
    guard = Guard(echo, GuardPolicy(token=TOKEN, open_paths=frozenset({"/health"})))
    assert (await request(guard, "GET", "/health")).status == 200
    assert (await request(guard, "GET", "/health", [("Host", "evil.example")])).status == 421
    assert (await request(guard, "GET", "/health/")).status == 401


async def test_a_refusal_is_small_json_with_a_way_out() -> None:
    reply = await request(Guard(echo), "GET", "/", [("Host", "evil.example")])
    said = json.loads(reply.body)
    assert said["code"] == 7
    assert set(said) == {"code", "message", "details", "hint"}
    assert "evil" not in reply.body.decode()


@pytest.mark.parametrize(
    "chunks", [(b"x" * 101,), (b"x" * 60, b"y" * 60), tuple([b"z"] * 101)], ids=["one", "two", "many"]
)
async def test_a_body_over_the_limit_is_refused_however_it_comes(chunks: tuple[bytes, ...]) -> None:
    guard = Guard(never, GuardPolicy(max_body=100))
    assert (await post(guard, *chunks)).status == 413


async def test_a_body_within_the_limit_comes_through_whole() -> None:
    body = json.dumps({"a": "x" * 50}).encode()
    assert (
        await post(Guard(echo, GuardPolicy(max_body=100)), *(body[i : i + 7] for i in range(0, 100, 7)))
    ).body == body


async def test_a_body_that_does_not_come_is_given_up() -> None:
    async def hangs() -> Any:
        await asyncio.sleep(60)

    scope = scope_of("POST", "/x", [("Host", HOST), *JSON])
    assert (await call(Guard(never, GuardPolicy(body_seconds=0.01)), scope, hangs)).status == 408


async def test_deep_json_is_refused_before_it_is_parsed() -> None:
    guard = Guard(echo)
    for deep in (b"[" * 100_000, b'{"a":' * 65 + b"1" + b"}" * 65, b'{"a":[' * 33):
        assert (await post(guard, deep)).status == 400
    for flat in (b"[" * 64 + b"]" * 64, json.dumps("[" * 10_000).encode(), b"[" + b"[]," * 5000 + b"1]"):
        assert (await post(guard, flat)).status == 200


async def test_gzip_is_taken_where_the_policy_says_so_and_never_over_the_limit() -> None:
    guard = Guard(echo, GuardPolicy(gzip_paths=frozenset({"/x"}), max_body=1000))
    packed = [("Content-Encoding", "gzip")]
    assert (await post(guard, gzip.compress(b'{"a":1}'), headers=packed)).body == b'{"a":1}'
    assert (await post(guard, gzip.compress(b"1") + gzip.compress(b"2"), headers=packed)).body == b"12"
    assert (await post(guard, gzip.compress(b" " * 500_000), headers=packed)).status == 413
    assert (await post(guard, gzip.compress(b"[" * 900), headers=packed)).status == 400
    assert (await post(guard, b"no gzip", headers=packed)).status == 400
    assert (await post(guard, gzip.compress(b"1")[:-4], headers=packed)).status == 400
    assert (await post(guard, gzip.compress(b"1"), headers=packed, path="/y")).status == 415


async def test_an_app_that_fails_is_not_hidden() -> None:
    async def fails(scope: Any, receive: Any, send: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await request(Guard(fails), "GET", "/")


async def test_somebody_elses_cancellation_passes_through() -> None:
    async def waits(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(60)

    task = asyncio.create_task(request(Guard(waits), "GET", "/"))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_closing_ends_what_is_open() -> None:
    started = asyncio.Event()

    async def waits(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/stream":
            await send({"type": "http.response.start", "status": 200, "headers": []})
        started.set()
        await asyncio.sleep(60)

    guard = Guard(waits)
    for path, status in (("/stream", 200), ("/run", 503)):
        started.clear()
        task = asyncio.create_task(request(guard, "GET", path))
        await started.wait()
        await guard.close(grace=0)
        assert (await task).status == status


@pytest.mark.parametrize("token", ["", "short", "ä" * 20])
def test_a_weak_token_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(GenkitError) as error:
        GuardPolicy(token=token)
    assert not token or token not in str(error.value)
    assert TOKEN not in repr(GuardPolicy(token=TOKEN))


@pytest.mark.parametrize("host", ["*", "*.example", "http://x", "", "Upper.example"])
def test_a_host_that_could_not_match_is_refused(host: str) -> None:
    with pytest.raises(GenkitError, match="hosts"):
        GuardPolicy(hosts=frozenset({host}))


def nested(text: str) -> int:
    """The depth of the brackets outside strings, the slow way."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*("|$|\\$)', "", text, flags=re.DOTALL)
    level = deepest = 0
    for char in bare:
        level += (char in "[{") - (char in "]}")
        deepest = max(deepest, level)
    return deepest


@given(st.text(alphabet='[]{}"\\a,:', max_size=60), st.integers(0, 5))
def test_depth_is_counted_outside_strings_only(text: str, depth: int) -> None:
    assert nests_deeper(text.encode(), depth) == (nested(text) > depth)


@given(st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_no_json_document_that_is_shallow_is_refused(value: Any) -> None:
    def depth(one: Any) -> int:
        inner = one.values() if isinstance(one, dict) else one if isinstance(one, list) else None
        return 0 if inner is None else 1 + max(map(depth, inner), default=0)

    body = json.dumps(value).encode()
    assert not nests_deeper(body, depth(value))
    assert depth(value) == 0 or nests_deeper(body, depth(value) - 1)


async def test_what_comes_after_the_body_is_the_clients_leaving() -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend([(await receive())["type"], (await receive())["type"]])

    await call(Guard(app), scope_of("POST", "/x", [("Host", HOST), *JSON]), body_of(b"1"))
    assert seen == ["http.request", "http.disconnect"]
