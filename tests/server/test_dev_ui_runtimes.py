"""How the developer UI finds an app and speaks to it."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genkit_rag import Genkit, GenkitError
from genkit_rag._server.runtimes import Runtimes, read_runtimes
from tests.server.dev_ui import demo, reflected, write_runtime

pytestmark = pytest.mark.network


async def events_of(runtimes: Runtimes, key: str, value: Any) -> list[dict[str, Any]]:
    return [event async for event in runtimes.run(key, value)]


async def test_of_several_apps_the_newest_that_answers_is_spoken_to(ai: Genkit, tmp_path: Path) -> None:
    runtimes = Runtimes(tmp_path, patience=0)
    assert await runtimes.current() is None
    async with reflected(ai.registry, tmp_path, "old", timestamp="2026-11-21T09:00:00Z"):
        async with reflected(ai.registry, tmp_path, "new", timestamp="2026-11-21T11_00_00Z"):
            write_runtime(tmp_path, "dead", "http://127.0.0.1:9", timestamp="2026-11-21T12:00:00Z")
            assert [one.id for one in await runtimes.alive()] == ["new", "old"]
            current = await runtimes.current()
            assert current is not None
            assert current.id == "new"
        current = await runtimes.current()
        assert current is not None
        assert current.id == "old"
    await runtimes.close()


async def test_a_chosen_app_is_spoken_to_while_it_lives_and_then_the_newest_of_its_name(
    ai: Genkit, tmp_path: Path
) -> None:
    runtimes = Runtimes(tmp_path, patience=0)

    async def current() -> str | None:
        found = await runtimes.current()
        return None if found is None else found.id

    async with reflected(ai.registry, tmp_path, "shop-2", name="shop", timestamp="2026-11-21T10:00:00Z"):
        async with reflected(ai.registry, tmp_path, "bank", timestamp="2026-11-21T11:00:00Z"):
            async with reflected(ai.registry, tmp_path, "shop-1", name="shop", timestamp="2026-11-21T09:00:00Z"):
                assert await current() == "bank"
                assert (await runtimes.choose("shop-1")).id == "shop-1"
                assert await current() == "shop-1"
                assert [one.id for one in await runtimes.alive()] == ["shop-1", "shop-2", "bank"]
                with pytest.raises(GenkitError, match="'gone' answers") as caught:
                    await runtimes.choose("gone")
                assert caught.value.status == "NOT_FOUND"
                assert await current() == "shop-1"
            assert await current() == "shop-2"
            await runtimes.choose("bank")
        assert await current() == "shop-2"
    await runtimes.close()


async def test_a_server_that_is_another_runtime_now_does_not_count(ai: Genkit, tmp_path: Path) -> None:
    async with reflected(ai.registry, tmp_path, "first") as url:
        (tmp_path / ".genkit" / "runtimes" / "first.json").unlink()
        write_runtime(tmp_path, "ghost", url)
        runtimes = Runtimes(tmp_path)
        assert await runtimes.current() is None
        await runtimes.close()


@pytest.mark.parametrize(
    "url",
    [
        "http://evil.example:80",
        "http://169.254.169.254:80",
        "https://127.0.0.1:1",
        "file:///etc/passwd",
        "http://127.0.0.1",
        "http://user@127.0.0.1:1",
        "http://127.0.0.1.evil.example:1",
        "http://0x7f.1:1",
        "",
        "http://[::1",
        "http://127.0.0.1:99999",
    ],
)
def test_a_runtime_file_cannot_send_the_ui_elsewhere(tmp_path: Path, url: str) -> None:
    write_runtime(tmp_path, "planted", url)
    assert read_runtimes(tmp_path / ".genkit" / "runtimes") == []


@given(
    st.one_of(
        st.binary(max_size=200),
        st.recursive(st.none() | st.text() | st.integers(), st.lists).map(lambda v: json.dumps(v).encode()),
        st.fixed_dictionaries(
            {
                "id": st.text(),
                "pid": st.integers() | st.text(),
                "timestamp": st.text(),
                "reflectionServerUrl": st.text(),
            }
        ).map(lambda v: json.dumps(v).encode()),
    )
)
def test_any_file_is_a_runtime_or_is_left_out(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("runtimes")
    (folder / "x.json").write_bytes(content)
    assert isinstance(read_runtimes(folder), list)


async def test_a_run_says_its_trace_then_its_chunks_then_its_result(ai: Genkit, tmp_path: Path) -> None:
    runtimes = Runtimes(tmp_path)
    async with reflected(demo(ai).registry, tmp_path):
        events = await events_of(runtimes, "/flow/counts", 2)
    assert list(events[0]) == ["traceId"]
    assert [event["chunk"]["n"] for event in events[1:-1]] == [0, 1]
    assert events[1]["chunk"]["odd"] == "\u2028line\u2029"
    assert events[-1] == {"result": 2, "traceId": events[0]["traceId"]}
    await runtimes.close()


async def test_what_is_wrong_before_the_start_is_raised_and_after_it_is_an_event(ai: Genkit, tmp_path: Path) -> None:
    runtimes = Runtimes(tmp_path)
    with pytest.raises(GenkitError, match="No app is connected") as none:
        await events_of(runtimes, "/flow/counts", 1)
    assert none.value.status == "UNAVAILABLE"
    async with reflected(demo(ai).registry, tmp_path):
        with pytest.raises(GenkitError) as wrong:
            await events_of(runtimes, "/flow/counts", "x")
        assert wrong.value.status == "INVALID_ARGUMENT"
        with pytest.raises(GenkitError) as missing:
            await events_of(runtimes, "/flow/gone", 1)
        assert missing.value.status == "NOT_FOUND"
        events = await events_of(runtimes, "/flow/fails", "because")
        assert events[-1]["error"]["message"] == "because"
        with pytest.raises(GenkitError, match="because"):
            await runtimes.call("/flow/fails", "because")
        assert (await runtimes.call("/flow/counts", 3)).result == 3
    await runtimes.close()


async def test_closing_a_run_cancels_the_action(ai: Genkit, tmp_path: Path) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    @ai.flow
    async def endless(_: int) -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    runtimes = Runtimes(tmp_path)
    async with reflected(ai.registry, tmp_path):
        async with aclosing(runtimes.run("/flow/endless", 1)) as events:
            await anext(events)
            await begun.wait()
        await asyncio.wait_for(cancelled.wait(), 5)
        begun.clear()
        run = runtimes.run("/flow/endless", 1)
        trace_id = (await anext(run))["traceId"]
        await begun.wait()
        assert await runtimes.cancel(trace_id)
        assert [event async for event in run][-1]["error"]["code"] == 1
        assert not await runtimes.cancel("0" * 32)
    await runtimes.close()


async def test_actions_and_values_are_listed(ai: Genkit, tmp_path: Path) -> None:
    runtimes = Runtimes(tmp_path)
    async with reflected(demo(ai).registry, tmp_path):
        actions = await runtimes.list_actions()
        assert actions["/retriever/memory/docs"]["inputSchema"]["type"] == "object"
        assert actions["/flow/counts"]["description"] == "Counts."
        assert await runtimes.values("defaultModel") == {}
        assert await runtimes.values("no such type") == {}
    await runtimes.close()


@pytest.mark.parametrize(
    ("body", "seen"),
    [
        (b'{"a":1}\n{"result":2,"telemetry":{"traceId":"t"}}', [{"chunk": {"a": 1}}, {"result": 2, "traceId": "x"}]),
        (
            b'"\xe2\x80\xa8"\n{"error":{"code":13,"message":"m"}}',
            [{"chunk": "\u2028"}, {"error": {"code": 13, "message": "m"}, "traceId": "x"}],
        ),
        (b"not json\n", "DATA_LOSS"),
        (
            b'{"result": "a chunk of that name"}\n{"result":1,"telemetry":{}}\n',
            [{"chunk": {"result": "a chunk of that name"}}, {"result": 1, "traceId": "x"}],
        ),
    ],
)
async def test_any_runtime_of_the_protocol_is_read(tmp_path: Path, body: bytes, seen: Any) -> None:
    from starlette.applications import Starlette
    from starlette.responses import Response
    from starlette.routing import Route

    from genkit_rag._server.guard import Guard, GuardPolicy
    from genkit_rag._server.serving import serve

    async def run(request: Any) -> Response:
        return Response(body, headers={"x-genkit-trace-id": "x"}, media_type="text/plain")

    async def health(request: Any) -> Response:
        return Response("OK")

    routes = [Route("/api/__health", health), Route("/api/runAction", run, methods=["POST"])]
    runtimes = Runtimes(tmp_path)
    async with await serve(Guard(Starlette(routes=routes), GuardPolicy())) as served:
        write_runtime(tmp_path, "js", served.url)
        if isinstance(seen, str):
            with pytest.raises(GenkitError) as lost:
                await events_of(runtimes, "/flow/x", None)
            assert lost.value.status == seen
        else:
            assert (await events_of(runtimes, "/flow/x", None))[1:] == seen
    await runtimes.close()


async def test_an_app_that_dies_in_a_run_is_told(tmp_path: Path) -> None:
    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"__health" in head:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nOK")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nx-genkit-trace-id: t\r\ntransfer-encoding: chunked\r\n\r\n2\r\n1\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(die, "127.0.0.1", 0)
    write_runtime(tmp_path, "dying", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    runtimes = Runtimes(tmp_path)
    async with server:
        events = await events_of(runtimes, "/flow/x", None)
    assert events[:2] == [{"traceId": "t"}, {"chunk": 1}]
    assert "went away" in events[-1]["error"]["message"]
    await runtimes.close()
