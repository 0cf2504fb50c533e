"""The hostile page: every route of a server, by every method, with everything that a foreign page or program may send.

`assert_hostile_requests_are_refused(guard)` is the test of a server; a new route is covered by being in its table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from genkit_rag._server.guard import Guard, GuardPolicy
from tests.server.asgi import HOST, PORT, Headers, Reply, call, never, scope_of

WRITES = ("POST", "PUT", "PATCH", "DELETE")
REFUSED = {400, 401, 403, 405, 413, 415, 421, 431}

HOSTS: list[Headers] = [
    [],
    [("Host", HOST), ("Host", "evil.example")],
    [("Host", HOST), ("Host", HOST)],
    *(
        [("Host", host)]
        for host in (
            "",
            "evil.example",
            f"evil.example:{PORT}",
            f"127.0.0.1.nip.io:{PORT}",
            f"localhost.:{PORT}",
            f"LOCALHOST:{PORT}",
            f"127.0.0.1.:{PORT}",
            f"127.0.0.1:{PORT + 1}",
            "127.0.0.1",
            "localhost",
            f"2130706433:{PORT}",
            f"0x7f.1:{PORT}",
            f"0.0.0.0:{PORT}",
            f"[::ffff:127.0.0.1]:{PORT}",
            f"::1:{PORT}",
            f"{HOST}@evil.example",
            f"evil.example#{HOST}",
            f"{HOST}.evil.example",
            f" {HOST}x",
            f"{HOST},evil.example",
        )
    ),
]
ORIGINS: list[Headers] = [
    [("Origin", f"http://{HOST}"), ("Origin", "http://evil.example")],
    *(
        [("Origin", origin)]
        for origin in (
            "",
            "null",
            "http://evil.example",
            "http://localhost.evil.com",
            "http://localhost:1",
            f"http://localhost:{PORT}",
            f"https://{HOST}",
            f"HTTP://{HOST}",
            f"http://{HOST}/",
            f"http://{HOST}.evil.com",
            f"http://evil.com/{HOST}",
            f"http://{HOST}, http://evil.example",
            "*",
            "file://",
        )
    ),
]
SITES: list[Headers] = [
    [("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Site", "cross-site")],
    *([("Sec-Fetch-Site", site)] for site in ("cross-site", "same-site", "SAME-ORIGIN", "same-origin, cross-site", "")),
]
MEDIA: list[Headers] = [
    [],
    [("Content-Type", "application/json"), ("Content-Type", "text/plain")],
    *(
        [("Content-Type", media)]
        for media in (
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "",
            "application/jsonp",
            "text/plain; application/json",
            "application/json, text/plain",
            "application/json+x",
            "text/json",
            "*/*",
        )
    ),
]


def filled(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "0" * 32, path)


def routes_of(app: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yields `(kind, path)` of every route of a Starlette app, mounted ones too; kind is http or websocket."""
    for route in app.routes:
        path = prefix + getattr(route, "path", "")
        if getattr(route, "routes", None):
            yield from routes_of(route, path)
        elif type(route).__name__ == "Mount":  # static files and the like
            yield "http", filled(path) + "/x"
        else:
            kind = "websocket" if "WebSocket" in type(route).__name__ else "http"
            yield kind, filled(path)


def good_headers(policy: GuardPolicy) -> Headers:
    token = [("X-Genkit-Token", policy.token)] if policy.token is not None else []
    return [("Host", HOST), *token]


def without(headers: Headers, name: str) -> Headers:
    return [pair for pair in headers if pair[0].lower() != name]


def for_all_methods(policy: GuardPolicy) -> Iterator[tuple[str, Headers]]:
    good = good_headers(policy)
    for headers in HOSTS:
        yield "host", without(good, "host") + headers
    for headers in (*ORIGINS, *SITES):
        yield "origin", good + headers
    if not policy.browser:
        yield "origin", [*good, ("Origin", f"http://{HOST}")]
    yield "headers", good + [(f"x-{n}", "1") for n in range(policy.max_headers)]
    yield "headers", [*good, ("x-long", "a" * policy.max_header_bytes)]


def without_token(policy: GuardPolicy) -> Iterator[tuple[str, Headers]]:
    assert policy.token is not None
    for headers in (
        [],
        [("Authorization", "Bearer ")],
        [("Authorization", f"Basic {policy.token}")],
        [("X-Genkit-Token", "")],
        [("Authorization", f"Bearer {policy.token[:-1]}")],
        [("X-Genkit-Token", policy.token + "x")],
        [("Cookie", f"genkit_rag_{PORT}={policy.token}")],
        [("Cookie", f"genkit_rag_{PORT}=")],
        [("X-Genkit-Token", policy.token.swapcase())],
        [("X-Genkit-Token", "\xff\xfe")],
    ):
        yield "token", [("Host", HOST), *headers]


def writes(policy: GuardPolicy, path: str) -> Iterator[tuple[str, Headers]]:
    good = [*good_headers(policy), ("Content-Type", "application/json")]
    for headers in MEDIA:
        yield "media", good_headers(policy) + headers
    if "application/x-protobuf" not in policy.media_types.get(path, ()):
        yield "media", [*good_headers(policy), ("Content-Type", "application/x-protobuf")]
    for length in ("-1", "1e3", "+5", "5, 5", "", " 7", str(policy.max_body + 1), "9" * 40, "0x10"):
        yield "length", [*good, ("Content-Length", length)]
    yield "length", [*good, ("Content-Length", "1"), ("Content-Length", "2")]
    yield "length", [*good, ("Content-Length", "1"), ("Transfer-Encoding", "chunked")]
    for encoding in ("br", "deflate", "gzip, gzip", "GZIP2"):
        yield "encoding", [*good, ("Content-Encoding", encoding)]


def hostile_requests(guard: Guard) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields what is wrong, and the scope, of every request that the server must refuse without reading a body."""
    policy = guard.policy
    for kind, path in sorted(set(routes_of(guard.app))):
        if kind == "websocket":
            wrong = [*for_all_methods(policy), *(without_token(policy) if policy.token else ())]
            yield from ((name, scope_of("GET", path, headers, kind=kind)) for name, headers in wrong)
            continue
        for method in ("GET", "HEAD", *WRITES):
            media = [("Content-Type", "application/json")] if method in WRITES else []
            for name, headers in for_all_methods(policy):
                yield name, scope_of(method, path, headers + media)
            if policy.token is not None and path not in policy.open_paths:
                for name, headers in without_token(policy):
                    yield name, scope_of(method, path, headers + media)
            for form in (f"http://{HOST}{path}", f"http://evil.example{path}", f"//evil.example{path}", "*", ""):
                yield "form", scope_of(method, path, good_headers(policy) + media) | {"raw_path": form.encode() or b"x"}
        for method in ("OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "LINK"):
            yield "method", scope_of(method, path, [*good_headers(policy), ("Content-Type", "application/json")])
        for method in WRITES:
            for name, headers in writes(policy, path):
                yield name, scope_of(method, path, headers)
        for headers in ([("Content-Length", "5")], [("Transfer-Encoding", "chunked")]):
            yield "body", scope_of("GET", path, good_headers(policy) + headers)


async def assert_hostile_requests_are_refused(guard: Guard) -> int:
    """Returns how many requests were sent: each was refused, unread, without an echo and without CORS."""
    count = 0
    for name, scope in hostile_requests(guard):
        reply = await call(guard, scope, never)
        what = (name, scope["type"], scope["method"], scope["path"], scope["headers"][:6], reply)
        if scope["type"] == "websocket":
            assert reply.status == -1008, what
        else:
            assert reply.status in REFUSED, what
            assert name != "host" or reply.status == 421, what
            assert_secure(reply)
            assert b"evil" not in reply.body, what
        count += 1
    await _assert_good_requests_pass(guard)
    return count


async def _assert_good_requests_pass(guard: Guard) -> None:
    """The same table without what is wrong reaches the app: the refusals above had a reason."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 4000})
            return
        await send({"type": "http.response.start", "status": 299, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    probe = Guard(app, guard.policy)
    for kind, path in sorted(set(routes_of(guard.app))):
        good = good_headers(guard.policy)
        if kind == "websocket":
            assert (await call(probe, scope_of("GET", path, good, kind=kind))).status == -4000
            continue
        for method in ("GET", "HEAD", *WRITES):
            media = [("Content-Type", "application/json")] if method in WRITES else []
            assert (await call(probe, scope_of(method, path, good + media))).status == 299, (method, path)


def assert_secure(reply: Reply) -> None:
    """Asserts the headers that every response has, and those that none has."""
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'self'" in reply.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]
    assert reply.headers["referrer-policy"] == "no-referrer"
    assert reply.headers["cross-origin-opener-policy"] == "same-origin"
    assert not [name for name in reply.headers if name.startswith("access-control-")]
