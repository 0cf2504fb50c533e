from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from genkit_rag._core.errors import GenkitError
from genkit_rag._server.guard import Guard, GuardPolicy, new_token
from genkit_rag._server.serving import serve, serve_in_thread
from tests.fakes.serving import closed_port

pytest.importorskip("uvicorn")
websockets = pytest.importorskip("websockets.asyncio.client")
pytestmark = pytest.mark.network


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            await send({"type": "websocket.send", "text": "hi"})
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/stream":
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        await asyncio.sleep(60)
    loop = id(asyncio.get_running_loop())
    await send({"type": "http.response.body", "body": f"{loop} {len(body)}".encode()})


@asynccontextmanager
async def lag(name: str) -> AsyncIterator[None]:
    """Prints the longest time that the event loop was away."""
    longest, running = 0.0, True

    async def tick() -> None:
        nonlocal longest
        while running:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - before - 0.001)

    task = asyncio.create_task(tick())
    try:
        yield
    finally:
        running = False
        await task
        print(f"\n{name}: loop lag at most {longest * 1e3:.1f} ms")


async def raw(port: int, *pieces: bytes, pause: float = 0.0) -> bytes:
    """Returns everything that the server answers to these bytes, until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = bytearray()

    async def collect() -> None:
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(65_536):
                answer.extend(chunk)

    collector = asyncio.create_task(collect())
    with contextlib.suppress(ConnectionError):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)
    await asyncio.wait_for(collector, 20)
    writer.close()
    return bytes(answer)


def head(port: int, *lines: str, start: str = "POST /x HTTP/1.1", host: str | None = None) -> bytes:
    named = f"Host: {host or f'127.0.0.1:{port}'}"
    return "\r\n".join([start, named, "Content-Type: application/json", *lines, "", ""]).encode()


async def test_it_runs_in_the_callers_loop_on_a_free_port() -> None:
    async with await serve(Guard(app)) as served:
        assert served.url == f"http://127.0.0.1:{served.port}"
        async with httpx.AsyncClient() as client:
            reply = await client.post(served.url, json={})
        assert reply.text == f"{id(asyncio.get_running_loop())} 2"
        assert "server" not in reply.headers
    with pytest.raises(OSError, match=r"."):
        await asyncio.open_connection("127.0.0.1", served.port)
    await served.close()


def test_it_runs_in_a_thread_where_there_is_no_loop() -> None:
    before = threading.active_count()
    with serve_in_thread(Guard(app)) as served:
        assert httpx.get(served.url).status_code == 200
    served.close()
    assert threading.active_count() == before


async def test_the_sign_in_url_opens_the_page_in_a_browser() -> None:
    async with await serve(Guard(app, GuardPolicy(token=new_token()))) as served, httpx.AsyncClient() as client:
        assert (await client.get(served.url)).status_code == 401
        assert (await client.get(served.sign_in_url(), follow_redirects=True)).status_code == 200
        assert (await client.get(served.url)).status_code == 200


async def test_a_port_in_use_is_an_error_that_says_so() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(GenkitError, match="cannot be used"):
            await serve(Guard(app), port=taken.getsockname()[1])


@pytest.mark.parametrize(
    ("host", "remote", "token"),
    [("0.0.0.0", False, new_token()), ("0.0.0.0", True, None), ("::", False, None)],
    ids=["token only", "remote only", "neither"],
)
async def test_beyond_the_loopback_it_needs_a_word_and_a_token(host: str, remote: bool, token: str | None) -> None:
    with pytest.raises(GenkitError, match="beyond the loopback"):
        await serve(Guard(app, GuardPolicy(token=token)), host, remote=remote)


async def test_the_users_loggers_of_uvicorn_hear_nothing_and_stay_as_they_are(caplog: pytest.LogCaptureFixture) -> None:
    def state() -> list[Any]:
        names = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")
        loggers = [logging.getLogger(name) for name in names]
        return [(one.level, one.propagate, list(one.handlers), list(one.filters)) for one in loggers]

    kept = logging.NullHandler()
    access = logging.getLogger("uvicorn.access")
    access.addHandler(kept)
    before = state()
    try:
        with caplog.at_level(0):
            served = await serve(Guard(app))
            async with httpx.AsyncClient() as client:
                assert (await client.get(served.url)).status_code == 200
                async with client.stream("GET", f"{served.url}/stream"):
                    await raw(served.port, b"nonsense\r\n\r\n")
                    async with websockets.connect(f"ws://127.0.0.1:{served.port}/ws") as ws:
                        await ws.send("x")
                        await served.close()
        assert state() == before
        heard = [one for one in caplog.records if one.name.startswith("uvicorn")]
        # The one line that cannot be taken away: websockets tells it while uvicorn makes the connection's object.
        assert [one for one in heard if (one.module, one.levelno) != ("protocol", logging.DEBUG)] == []
        assert len(heard) <= 1
    finally:
        access.removeHandler(kept)


async def test_only_guarded_apps_and_addresses_are_served() -> None:
    with pytest.raises(GenkitError, match="Guard"):
        await serve(app)  # type: ignore[arg-type]
    with pytest.raises(GenkitError, match="IP address"):
        await serve(Guard(app), "example.com")


async def test_an_app_that_does_not_start_ends_nothing_but_itself() -> None:
    async def fails(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no"})

    with pytest.raises(GenkitError, match="did not start"):
        await serve(Guard(fails))
    with pytest.raises(GenkitError, match="did not start"):
        await asyncio.to_thread(serve_in_thread, Guard(fails))


async def test_closing_never_waits_for_streams_and_sockets() -> None:
    served = await serve(Guard(app))
    async with httpx.AsyncClient() as client, client.stream("GET", f"{served.url}/stream") as stream:
        lines = stream.aiter_lines()
        assert await anext(lines) == "data: 1"
        async with websockets.connect(f"ws://127.0.0.1:{served.port}/ws") as ws:
            await ws.send("x")
            assert await ws.recv() == "hi"
            await asyncio.wait_for(served.close(), 5)
            with pytest.raises(Exception, match=r"1001|1012|1006|close frame"):
                await ws.recv()
        assert [line async for line in lines if line] == []


def test_the_end_of_its_loop_leaves_no_client_hanging() -> None:
    ports: list[int] = []
    begun, over = threading.Event(), threading.Event()

    async def live() -> None:
        served = await serve(Guard(app))
        ports.append(served.port)
        begun.set()
        await asyncio.to_thread(over.wait, 5)

    def run() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(live())

    thread = threading.Thread(target=run)
    thread.start()
    assert begun.wait(5)
    with socket.create_connection(("127.0.0.1", ports[0]), 5) as client:
        client.sendall(head(ports[0], "Content-Length: 2") + b"{}")
        assert client.recv(65_536)  # it is kept, and nothing of it runs
        over.set()
        thread.join(10)
        with contextlib.suppress(ConnectionResetError):
            while client.recv(65_536):
                pass


async def test_a_hostile_websocket_handshake_is_refused() -> None:
    async with await serve(Guard(app)) as served:
        for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            with pytest.raises(Exception, match="403"):
                await websockets.connect(f"ws://127.0.0.1:{served.port}/", additional_headers=headers)


async def test_raw_requests_of_every_hostile_form_are_refused() -> None:
    async with await serve(Guard(app)) as served:
        port = served.port
        for request in (
            head(port, host="evil.example"),
            head(port, "Host: evil.example"),
            head(port, start=f"POST http://127.0.0.1:{port}/x HTTP/1.1"),
            head(port, start="POST //evil.example/x HTTP/1.1"),
            head(port, "Content-Length: -5"),
            head(port, "Content-Length: 1", "Content-Length: 2"),
            head(port, "Origin: null", "Content-Length: 1000000"),
            head(port, *(f"X-{n}: 1" for n in range(200))),
            head(port, "X-Long: " + "a" * 100_000),
            b"POST /x HTTP/1.0\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        ):
            answer = await raw(port, request)
            assert answer[:13] in (b"HTTP/1.1 400 ", b"HTTP/1.1 421 ", b"HTTP/1.1 403 ", b"HTTP/1.1 431 "), (
                request,
                answer,
            )


async def test_a_body_of_sixty_megabytes_is_refused_whether_declared_or_not() -> None:
    async with await serve(Guard(app)) as served, lag("60 MB"):
        declared = await raw(served.port, head(served.port, f"Content-Length: {60_000_000}"))
        assert declared.startswith(b"HTTP/1.1 413 ")
        piece = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
        chunked = await raw(served.port, head(served.port, "Transfer-Encoding: chunked"), *[piece] * 60)
        # The server stops reading: the client sees the answer, or a reset while it still sends.
        assert chunked == b"" or chunked.startswith(b"HTTP/1.1 413 ")
        after = await raw(served.port, head(served.port, "Content-Length: 2", "Connection: close"), b"{}")
        assert after.startswith(b"HTTP/1.1 200 ")


async def test_json_a_hundred_thousand_deep_is_refused() -> None:
    async with await serve(Guard(app)) as served, lag("deep JSON"), httpx.AsyncClient() as client:
        for body in (b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 800_000, b"[" + b"[]," * 1_000_000 + b"[" * 70):
            reply = await client.post(served.url, content=body, headers={"Content-Type": "application/json"})
            assert reply.status_code == 400
            assert "deeper" in reply.json()["message"]


async def test_a_slow_loris_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    from genkit_rag._server import _h11

    monkeypatch.setattr(_h11, "HEAD_SECONDS", 0.2)
    async with await serve(Guard(app, GuardPolicy(body_seconds=0.2))) as served, lag("slow loris"):
        slow_body = raw(served.port, head(served.port, "Content-Length: 100"), *[b"x"] * 6, pause=0.1)
        slow_head = raw(served.port, b"GET / HTTP/1.1\r\n", *[b"X-A: 1\r\n"] * 6, pause=0.1)
        silent = raw(served.port, b"")
        second = raw(served.port, head(served.port, "Content-Length: 2"), b"{}", b"GET", pause=0.05)
        answers = await asyncio.gather(slow_body, slow_head, silent, second)
        assert answers[0] == b"" or answers[0].startswith(b"HTTP/1.1 408 ")
        assert answers[1:3] == [b"", b""]
        assert answers[3].startswith(b"HTTP/1.1 200 ")
        async with httpx.AsyncClient() as client:
            assert (await client.get(served.url)).status_code == 200


async def test_requests_one_after_the_other_share_a_connection() -> None:
    async with await serve(Guard(app)) as served:
        requests = [head(served.port, "Content-Length: 2") + b"{}"] * 2
        last = head(served.port, "Content-Length: 2", "Connection: close") + json.dumps([]).encode()
        assert (await raw(served.port, *requests, last)).count(b"HTTP/1.1 200 ") == 3


async def test_nobody_listens_on_a_closed_port() -> None:
    async with await serve(Guard(app), port=(port := closed_port())) as served:
        assert served.port == port


async def test_answers_are_not_held_back_for_acknowledgements() -> None:
    async with await serve(Guard(app)) as served:
        listening = served._server.servers[0].sockets[0]
        assert listening.proto == socket.IPPROTO_TCP, "asyncio sets TCP_NODELAY on such sockets only"
