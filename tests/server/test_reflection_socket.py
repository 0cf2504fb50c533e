"""Version 2 of the reflection API: JSON-RPC details, input streams, and connections that end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from genkit_rag._server.reflection import websocket
from genkit_rag._server.reflection.core import Reflection
from genkit_rag._server.reflection.websocket import ReflectionClient
from tests.fakes.serving import closed_port
from tests.fakes.tools_server import RUNTIME, SocketTools, tools_for
from tests.server.test_reflection_contract import App

pytestmark = pytest.mark.network


@pytest.fixture
async def app() -> App:
    return App()


@pytest.fixture
async def tools(app: App) -> AsyncIterator[SocketTools]:
    async with tools_for("socket", app.ai.registry) as made:
        assert isinstance(made, SocketTools)
        yield made


async def test_the_app_registers_with_what_it_is(tools: SocketTools) -> None:
    assert tools.identity == {"id": RUNTIME, "pid": 1}


async def test_an_unknown_method_and_wrong_params_have_their_codes(tools: SocketTools) -> None:
    assert (await tools.ask("dance"))["error"]["code"] == -32601
    assert (await tools.ask("runAction", [1]))["error"]["code"] == -32602
    assert (await tools.ask("runAction", {"key": 5}))["error"]["code"] == -32602
    assert (await tools.ask("listValues", {"type": "x"}))["error"]["code"] == -32602
    unknown = (await tools.ask("runAction", {"key": "/flow/none"}))["error"]
    assert (unknown["code"], unknown["data"]["code"], unknown["data"]["message"]) == (-32000, 5, unknown["message"])


async def test_a_failure_has_the_status_as_its_data(tools: SocketTools) -> None:
    error = (await tools.ask("runAction", {"key": "/flow/fail", "input": "genkit"}))["error"]
    assert (error["code"], error["data"]["code"], error["message"]) == (-32000, 8, "Too much. Wait.")
    assert set(error["data"]["details"]) == {"stack", "traceId"}


async def test_what_is_sent_while_an_action_runs_reaches_it(tools: SocketTools) -> None:
    run = tools.run("/flow/converse", stream=True, streamInput=True)
    for chunk in (1, {"two": None}, "three"):
        await tools.send_input(run, chunk)
    await asyncio.wait_for(run.first_chunk.wait(), 10)
    await tools.end_input(run)
    await tools.send_input(run, "too late")
    assert (await run.outcome())["result"] == [1, {"two": None}, "three"]
    assert run.chunks == [{"heard": 1}, {"heard": {"two": None}}, {"heard": "three"}]


async def test_frames_that_are_no_requests_do_no_harm(tools: SocketTools) -> None:
    assert tools._socket is not None
    for frame in (
        "",
        "{",
        "[]",
        "1",
        "null",
        '{"id":"1"}',
        '{"jsonrpc":"2.0","result":5,"id":"1"}',
        "[" * 50_000,
        '{"jsonrpc":"2.0","method":"endInputStream"}',
        '{"jsonrpc":"2.0","method":"configure","params":3}',
    ):
        await tools._socket.send(frame)
    assert "/flow/echo" in await tools.actions()
    assert tools.connections == 1


async def test_a_lost_connection_is_made_again(tools: SocketTools, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "FIRST_PAUSE", 0.01)
    await tools.drop()
    await asyncio.wait_for(tools.connected.wait(), 10)
    assert tools.connections == 2
    assert "/flow/echo" in await tools.actions()


async def test_the_pause_between_attempts_doubles_up_to_five_seconds(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 6:
            raise asyncio.CancelledError
        await sleep(0)

    monkeypatch.setattr(websocket.asyncio, "sleep", noted)
    client = ReflectionClient(f"ws://127.0.0.1:{closed_port()}", Reflection(app.ai.registry), {"id": "x"})
    with pytest.raises(asyncio.CancelledError):
        await client.run()
    assert pauses == [0.5, 1, 2, 4, 5, 5]


async def test_the_telemetry_server_of_the_answer_to_register_is_taken(app: App) -> None:
    offered: list[Any] = []
    tools = SocketTools()
    tools.telemetry_server = "http://localhost:4033"
    async with tools.listening() as url:
        client = ReflectionClient(url, Reflection(app.ai.registry, offered.append), {"id": "x"})
        task = asyncio.create_task(client.run())
        await asyncio.wait_for(client.registered.wait(), 10)
        task.cancel()
        await asyncio.wait([task])
    assert offered == ["http://localhost:4033"]
