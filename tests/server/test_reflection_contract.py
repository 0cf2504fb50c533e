"""The reflection API as a tool sees it: the same cases over HTTP (version 1) and WebSocket (version 2)."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from websockets.asyncio.server import serve

from genkit_rag import Genkit, GenkitError
from genkit_rag._server.reflection import runs
from genkit_rag._server.reflection.core import Reflection
from genkit_rag._server.reflection.websocket import ReflectionClient
from genkit_rag.plugin_api import Action, ActionContext, ActionKind, ActionMetadata, Plugin
from tests.fakes.tools_server import HttpTools, Refused, SocketTools, Tools, tools_for

pytestmark = pytest.mark.network


class Order(BaseModel):
    item: str
    count: int = 1


class Broken(Plugin):
    name = "broken"

    async def init(self) -> Sequence[Action[Any, Any, Any]]:
        raise RuntimeError("no key")


class Lazy(Plugin):
    name = "lazy"

    async def resolve(self, kind: str, name: str) -> Action[Any, Any, Any] | None:
        return Action("custom", name, echo) if (kind, name) == ("custom", "lazy/one") else None

    async def list_actions(self) -> Sequence[ActionMetadata]:
        return [ActionMetadata("custom", "lazy/one", None, {"label": None, "deep": {"kept": None}})]


async def echo(value: Any, _ctx: ActionContext) -> Any:
    return value


class App:
    """An app with an action for each thing that may happen."""

    def __init__(self) -> None:
        self.ai = Genkit([Broken(), Lazy()], model="some/model")
        self.begun, self.ended = asyncio.Event(), asyncio.Event()
        self.release = asyncio.Event()
        self.seen: list[Any] = []
        for name in ("echo", "chunks", "wait", "order", "fail", "die", "context", "converse", "last_words", "late"):
            self.ai.define_flow(getattr(self, name))
        self.ai.registry.register(Action(ActionKind.EVALUATOR, "judge", echo, description="Judges."))
        self.ai.registry.register(
            Action(ActionKind.EVALUATOR, "named", echo, metadata={"evaluator": {"evaluatorDisplayName": "Named"}})
        )
        self.ai.registry.register(Action("custom", "odd", echo, input_type=asyncio.Event, metadata={"bad": object()}))

    async def echo(self, value: Any) -> Any:
        """Echoes."""
        return value

    async def chunks(self, values: list[Any], ctx: ActionContext) -> int:
        for value in values:
            ctx.send_chunk(value)
            await asyncio.sleep(0)
        return len(values)

    async def wait(self, value: Any, ctx: ActionContext) -> str:
        self.begun.set()
        try:
            ctx.send_chunk("begun")
            await self.release.wait()
        finally:
            self.ended.set()
        return "released"

    async def late(self, _value: Any, ctx: ActionContext) -> str:
        await self.release.wait()
        return "late"

    async def last_words(self, _value: Any, ctx: ActionContext) -> str:
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)
            ctx.send_chunk("goodbye")
        return "said"

    async def order(self, value: Order) -> str:
        return f"{value.count} {value.item}"

    async def fail(self, what: str) -> str:
        raise {
            "value": ValueError("a wrong value, password=canary-55555555"),
            "genkit": GenkitError("RESOURCE_EXHAUSTED", "Too much.", hint="Wait."),
            "result": KeyError("x"),
        }[what]

    async def die(self, what: str, ctx: ActionContext) -> str:
        ctx.send_chunk("alive")
        raise {"exit": SystemExit(3), "interrupt": KeyboardInterrupt(), "group": BaseExceptionGroup("g", [KeyError()])}[
            what
        ]

    async def context(self, _value: Any, ctx: ActionContext) -> Any:
        return {"context": dict(ctx.context), "init": ctx.metadata.get("init")}

    async def converse(self, _value: Any, ctx: ActionContext) -> list[Any]:
        heard = []
        async for chunk in ctx.metadata["inputStream"]:
            heard.append(chunk)
            ctx.send_chunk({"heard": chunk})
        return heard


@pytest.fixture
async def app() -> App:
    return App()


@pytest.fixture(params=["http", "socket"])
async def tools(request: pytest.FixtureRequest, app: App) -> AsyncIterator[Tools]:
    async with tools_for(request.param, app.ai.registry) as made:
        yield made


# -- the list


async def test_the_list_has_no_nulls_where_tools_refuse_them_and_survives_a_broken_plugin(tools: Tools) -> None:
    actions = await tools.actions()
    assert {"/flow/echo", "/evaluator/judge", "/custom/lazy/one", "/util/generate"} <= set(actions)
    for key, facts in actions.items():
        assert facts["key"] == key == f"/{facts['actionType']}/{facts['name']}"
        assert None not in facts.values()
        assert None not in facts.get("metadata", {}).values()
    assert actions["/custom/lazy/one"]["metadata"] == {"deep": {"kept": None}}


async def test_the_list_tells_the_schemas_and_leaves_out_those_that_cannot_be_made(tools: Tools) -> None:
    actions = await tools.actions()
    assert actions["/flow/order"]["inputSchema"]["properties"]["item"] == {"title": "Item", "type": "string"}
    assert actions["/flow/order"]["outputSchema"] == {"type": "string"}
    assert actions["/flow/echo"]["description"] == "Echoes."
    assert "inputSchema" not in actions["/custom/odd"]
    assert actions["/custom/odd"]["metadata"] == {}


async def test_an_evaluator_has_what_an_evaluation_needs(tools: Tools) -> None:
    actions = await tools.actions()
    assert actions["/evaluator/judge"]["metadata"]["evaluator"] == {
        "evaluatorDisplayName": "judge",
        "evaluatorDefinition": "Judges.",
        "evaluatorIsBilled": False,
    }
    assert actions["/evaluator/named"]["metadata"]["evaluator"]["evaluatorDisplayName"] == "Named"


async def test_values_are_the_default_model_and_the_middleware(tools: Tools) -> None:
    assert await tools.values("defaultModel") == {"defaultModel": "some/model"}
    assert (await tools.values("middleware"))["retry"]["name"] == "retry"
    with pytest.raises(Refused) as refused:
        await tools.values("passwords")
    assert refused.value.status["code"] == 3


# -- a run


@pytest.mark.parametrize("stream", [False, True])
async def test_a_run_gives_the_result_and_its_trace(tools: Tools, stream: bool) -> None:
    run = tools.run("/flow/order", {"item": "tea", "count": 2}, stream=stream)
    trace = await run.trace_id
    assert len(trace) == 32
    assert int(trace, 16)
    assert await run.outcome() == {"result": "2 tea", "telemetry": {"traceId": trace}}


async def test_chunks_arrive_in_order_before_the_result(tools: Tools) -> None:
    values = [1, "two", {"three": [3, None]}, None, "line\nbreak", "\u2028", ""]
    run = tools.run("/flow/chunks", values, stream=True)
    assert (await run.outcome())["result"] == len(values)
    assert run.chunks == values


async def test_without_stream_there_are_no_chunks(tools: Tools) -> None:
    run = tools.run("/flow/chunks", [1, 2])
    assert (await run.outcome())["result"] == 2
    assert run.chunks == []


async def test_a_chunk_arrives_while_the_action_still_runs(tools: Tools, app: App) -> None:
    run = tools.run("/flow/wait", stream=True)
    await asyncio.wait_for(run.first_chunk.wait(), 10)
    assert not app.ended.is_set()
    app.release.set()
    assert (await run.outcome())["result"] == "released"


async def test_the_trace_is_known_before_the_first_output(tools: Tools, app: App) -> None:
    run = tools.run("/flow/late")
    assert await asyncio.wait_for(run.trace_id, 10)
    assert not run.final.done()
    app.release.set()
    assert (await run.outcome())["result"] == "late"


async def test_context_and_init_reach_the_action(tools: Tools) -> None:
    run = tools.run("/flow/context", context={"auth": {"uid": 7}}, init={"snapshot": "s"})
    assert (await run.outcome())["result"] == {"context": {"auth": {"uid": 7}}, "init": {"snapshot": "s"}}


async def test_the_span_is_a_root_and_carries_the_labels_verbatim(
    tools: Tools, spans: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENKIT_ENV", "dev")
    run = tools.run("/flow/echo", 1, telemetryLabels={"batchRun": "17", "genkitx:ignore-trace": "true"}, init={"a": 1})
    outcome = await run.outcome()
    (span,) = [found for found in spans.get_finished_spans() if found.name == "echo"]
    assert format(span.context.trace_id, "032x") == outcome["telemetry"]["traceId"] == await run.trace_id
    assert span.parent is None
    assert span.attributes["batchRun"] == "17"
    assert span.attributes["genkitx:ignore-trace"] == "true"
    assert span.attributes["genkit:init"] == '{"a":1}'
    assert span.attributes["genkit:isRoot"] is True


async def test_labels_keep_their_types_and_the_context_is_told_without_who_the_caller_is(
    tools: Tools, spans: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENKIT_ENV", "dev")
    labels = {"n": 7, "share": 0.5, "ok": True, "off": False, "text": "x", "none": None, "list": [1]}
    context = {"auth": {"uid": 7}, "secrets": "s", "locale": "en", "headers": {"api_key": "canary-1", "n": 1}}
    await tools.run("/flow/context", telemetryLabels=labels, context=context).outcome()
    (span,) = [found for found in spans.get_finished_spans() if found.name == "context"]
    kept = {name: value for name, value in span.attributes.items() if name in labels}
    assert [(value, type(value)) for value in kept.values()] == [
        (7, int),
        (0.5, float),
        (True, bool),
        (False, bool),
        ("x", str),
    ]
    assert json.loads(span.attributes["genkit:metadata:context"]) == {
        "auth": "<redacted>",
        "secrets": "<redacted>",
        "locale": "en",
        "headers": {"api_key": "[redacted]", "n": 1},
    }
    monkeypatch.setenv("GENKIT_ENV", "prod")
    spans.clear()
    await tools.run("/flow/context", context=context).outcome()
    (span,) = spans.get_finished_spans()
    assert "genkit:metadata:context" not in span.attributes, "it is content like any other"


async def test_runs_at_the_same_time_are_kept_apart(tools: Tools) -> None:
    runs = [tools.run("/flow/chunks", [n] * n, stream=True) for n in range(12)]
    assert [(await run.outcome())["result"] for run in runs] == list(range(12))
    assert [run.chunks for run in runs] == [[n] * n for n in range(12)]
    assert len({await run.trace_id for run in runs}) == 12


# -- what goes wrong


async def test_wrong_input_is_refused_before_anything_runs(tools: Tools) -> None:
    with pytest.raises(Refused) as refused:
        await tools.run("/flow/order", {"count": "many"}, stream=True).outcome()
    assert refused.value.http in (400, None)
    assert refused.value.status["code"] == 3
    assert "$.item" in refused.value.status["message"]


async def test_an_unknown_action_is_refused_and_says_what_there_is(tools: Tools) -> None:
    with pytest.raises(Refused) as refused:
        await tools.run("/flow/ekho").outcome()
    assert refused.value.http in (404, None)
    assert refused.value.status["code"] == 5
    assert "Did you mean `echo`?" in refused.value.status["message"]


async def test_an_action_of_a_broken_plugin_is_refused(tools: Tools) -> None:
    with pytest.raises(Refused) as refused:
        await tools.run("/model/broken/one").outcome()
    assert (refused.value.http in (500, None), refused.value.status["code"]) == (True, 13)


@pytest.mark.parametrize(
    ("key", "more"),
    [
        (None, {}),
        (5, {}),
        ("", {}),
        ("flow/echo", {}),
        ("/flow", {}),
        ("/flow/echo", {"context": [1]}),
        ("/flow/echo", {"telemetryLabels": "x"}),
    ],
)
async def test_a_request_of_the_wrong_form_is_refused(tools: Tools, key: Any, more: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refused:
        await tools.run(key, **more).outcome()
    assert refused.value.status["code"] == 3


@pytest.mark.parametrize("stream", [False, True])
async def test_a_failure_is_a_status_with_stack_and_trace_and_without_secrets(
    tools: Tools, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "wrong value")  # even an odd one: what the environment calls a key is one
    run = tools.run("/flow/fail", "value", stream=stream)
    error = (await run.outcome())["error"]
    assert error["code"] == 13
    assert error["details"]["traceId"] == await run.trace_id
    assert "ValueError" in error["details"]["stack"]
    assert "canary" not in json.dumps(error)
    assert "wrong value" not in json.dumps(error)
    assert error["message"].startswith("a [redacted], password=")


async def test_an_error_of_ours_keeps_its_code_and_says_what_to_do(tools: Tools) -> None:
    error = (await tools.run("/flow/fail", "genkit").outcome())["error"]
    assert (error["code"], error["message"]) == (8, "Too much. Wait.")


@pytest.mark.parametrize("how", ["exit", "interrupt", "group"])
@pytest.mark.parametrize("stream", [False, True])
async def test_an_action_that_ends_programs_ends_only_its_run(tools: Tools, how: str, stream: bool) -> None:
    run = tools.run("/flow/die", how, stream=stream)
    error = (await run.outcome())["error"]
    assert error["code"] == 13
    assert set(error["details"]) == {"stack", "traceId"}
    assert (await tools.run("/flow/echo", "still there").outcome())["result"] == "still there"


async def test_numbers_that_json_does_not_have_become_null(tools: Tools) -> None:
    app_value: list[Any] = []

    async def odd(_value: Any, ctx: ActionContext) -> Any:
        ctx.send_chunk({"x": math.nan})
        return [math.inf, {"y": (math.nan, 1.5)}]

    registry = Genkit().registry
    registry.register(Action("custom", "odd", odd))
    protocol = "http" if isinstance(tools, HttpTools) else "socket"
    async with tools_for(protocol, registry) as other:
        run = other.run("/custom/odd", stream=True)
        assert (await run.outcome())["result"] == [None, {"y": [None, 1.5]}]
        app_value += run.chunks
    assert app_value == [{"x": None}]


async def test_a_client_that_reads_too_slowly_loses_its_run_and_nobody_elses(
    tools: Tools, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "MAX_WAITING", 100_000)
    stopped = asyncio.Event()

    async def pour(_value: Any, ctx: ActionContext) -> None:
        try:
            while True:
                for _ in range(20):  # faster than anybody can read
                    ctx.send_chunk("x" * 10_000)
                await asyncio.sleep(0)
        finally:
            stopped.set()

    app.ai.define_flow(pour)
    error = (await tools.run("/flow/pour", stream=True).outcome())["error"]
    assert (error["code"], stopped.is_set()) == (8, True)
    assert "reads too slowly: over 100000 bytes" in error["message"]
    assert error["details"]["traceId"]
    assert (await tools.run("/flow/chunks", ["y" * 1000] * 20, stream=True).outcome())["result"] == 20


async def test_what_waits_for_a_tool_that_does_not_read_is_bounded(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "MAX_WAITING", 1_000_000)
    ended = asyncio.Event()
    sent = 0

    async def pour(_value: Any, ctx: ActionContext) -> None:
        nonlocal sent
        try:
            while True:
                ctx.send_chunk("x" * 10_000)
                sent += 10_000
                await asyncio.sleep(0.0002)
        finally:
            ended.set()

    app.ai.define_flow(pour)

    async def deaf(socket: Any) -> None:
        register = json.loads(await socket.recv())
        await socket.send(json.dumps({"jsonrpc": "2.0", "id": register["id"], "result": {}}))
        body = {"jsonrpc": "2.0", "id": "1", "method": "runAction", "params": {"key": "/flow/pour", "stream": True}}
        await socket.send(json.dumps(body))
        socket.transport.pause_reading()
        await ended.wait()
        socket.transport.abort()

    async with serve(deaf, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        task = asyncio.create_task(ReflectionClient(url, Reflection(app.ai.registry), {"id": "x"}).run())
        try:
            await asyncio.wait_for(ended.wait(), 20)
        finally:
            task.cancel()
            await asyncio.wait([task])
    assert sent < 20_000_000, "the limit, and what the sockets of two programs hold"


@pytest.mark.parametrize("bad", ["chunk", "result"])
async def test_what_is_no_json_is_an_error_of_the_run(tools: Tools, bad: str) -> None:
    async def unspeakable(_value: Any, ctx: ActionContext) -> Any:
        if bad == "chunk":
            ctx.send_chunk(object())
        return object()

    registry = Genkit().registry
    registry.register(Action("custom", "odd", unspeakable))
    protocol = "http" if isinstance(tools, HttpTools) else "socket"
    async with tools_for(protocol, registry) as other:
        error = (await other.run("/custom/odd", stream=True).outcome())["error"]
    assert error["code"] == 13
    assert error["details"]["traceId"]


# -- cancelling


@pytest.mark.parametrize("stream", [False, True])
async def test_a_cancelled_run_ends_with_a_whole_final_object(tools: Tools, app: App, stream: bool) -> None:
    run = tools.run("/flow/wait", stream=stream)
    trace = await asyncio.wait_for(run.trace_id, 10)
    assert (await tools.cancel(trace))["message"]
    error = (await run.outcome())["error"]
    assert error["code"] == 1
    assert error["details"]["traceId"] == trace
    assert app.ended.is_set()
    with pytest.raises(Refused) as refused:
        await tools.cancel(trace)
    assert refused.value.status["code"] == 5
    assert refused.value.http in (404, None)


async def test_an_action_may_still_say_something_when_it_is_cancelled(tools: Tools, app: App) -> None:
    run = tools.run("/flow/last_words", stream=True)
    await tools.cancel(await asyncio.wait_for(run.trace_id, 10))
    assert (await run.outcome())["result"] == "said"
    assert run.chunks == ["goodbye"]


@pytest.mark.parametrize("trace", [None, "", 5, ["x"]])
async def test_cancelling_needs_a_trace_id(tools: Tools, trace: Any) -> None:
    with pytest.raises(Refused) as refused:
        await tools.cancel(trace)
    assert (refused.value.status["code"], refused.value.http in (400, None)) == (3, True)


async def test_a_client_that_goes_away_cancels_its_run(tools: Tools, app: App) -> None:
    run = tools.run("/flow/wait", stream=True)
    await asyncio.wait_for(run.first_chunk.wait(), 10)
    assert run.task is not None
    if isinstance(tools, SocketTools):
        await tools.drop()
        run.task.cancel()
    else:
        run.task.cancel()
    await asyncio.wait_for(app.ended.wait(), 10)


# -- telemetry servers


@pytest.mark.parametrize("protocol", ["http", "socket"])
async def test_an_offered_telemetry_server_is_taken(protocol: str, app: App) -> None:
    offered: list[str] = []
    async with tools_for(protocol, app.ai.registry, offered.append) as made:
        await made.offer("http://localhost:4033")
    assert offered == ["http://localhost:4033"]


# -- any JSON survives

NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(blacklist_categories=()), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("protocol", ["http", "socket"])
def test_any_json_survives_as_input_chunk_and_result(protocol: str) -> None:
    with asyncio.Runner() as runner:
        tools = tools_for(protocol, runner.run(new_registry()))
        made = runner.run(tools.__aenter__())

        async def exchange(chunks: list[Any], value: Any) -> None:
            run = made.run("/flow/chunks", chunks, stream=True)
            assert (await run.outcome())["result"] == len(chunks)
            assert run.chunks == chunks
            assert (await made.run("/flow/echo", value).outcome())["result"] == value

        @settings(max_examples=100, deadline=None)
        @given(chunks=st.lists(JSON, max_size=4), value=JSON)
        def check(chunks: list[Any], value: Any) -> None:
            runner.run(exchange(chunks, value))

        check()
        runner.run(tools.__aexit__(None, None, None))


async def new_registry() -> Any:
    return App().ai.registry
