"""Steps, nested flows, and the context that reaches all of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from typing import Any, assert_type

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from genkit_rag import ActionContext, Document, Genkit, GenkitError, ToolRequest
from genkit_rag.plugin_api import current_context
from genkit_rag.testing import ScriptedModel


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    monkeypatch.setattr(trace, "get_tracer", lambda *args, **more: provider.get_tracer("test"))
    yield exporter
    provider.shutdown()


def by_name(exporter: InMemorySpanExporter) -> dict[str, dict[str, Any]]:
    return {span.name: dict(span.attributes or {}) for span in exporter.get_finished_spans()}


async def load(number: int, *, times: int = 1) -> str:
    await asyncio.sleep(0)
    return str(number) * times


def count(text: str) -> int:
    return len(text)


async def test_a_step_returns_what_its_function_returns() -> None:
    ai = Genkit()
    text = await ai.run("load", load, 7, times=3)
    assert_type(text, str)
    length = await ai.run("count", count, text)
    assert_type(length, int)
    assert (text, length) == ("777", 3)
    assert await ai.run("nothing", dict[str, int]().get, "a") is None
    assert await ai.run("later", lambda: load(4)) == "4"


async def test_a_function_that_is_not_async_runs_in_a_worker_thread() -> None:
    assert await Genkit().run("where", threading.current_thread) is not threading.current_thread()


async def test_what_a_step_raises_is_raised_as_it_is() -> None:
    error = KeyError("a")

    def fail() -> None:
        raise error

    with pytest.raises(KeyError) as caught:
        await Genkit().run("fail", fail)
    assert caught.value is error


async def test_a_step_needs_a_name_and_a_function() -> None:
    wrong: Any = Genkit()
    with pytest.raises(GenkitError, match=r"INVALID_ARGUMENT.*`name`"):
        await wrong.run("", load, 1)
    with pytest.raises(GenkitError, match=r"INVALID_ARGUMENT.*`name`"):
        await wrong.run(load, 1)
    with pytest.raises(GenkitError, match=r"INVALID_ARGUMENT.*`fn`.*then its arguments"):
        await wrong.run("load", "7")


async def test_a_step_is_a_span_of_its_flow(spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
    ai = Genkit()

    @ai.flow
    async def inner(n: int) -> int:
        return await ai.run("double", lambda m: 2 * m, n)

    @ai.flow
    async def outer(n: int) -> int:
        return await ai.run("around", inner, n)

    assert await outer(3) == 6
    found = by_name(spans)
    assert {key: found["double"][key] for key in found["double"] if key.startswith("genkit:")} == {
        "genkit:name": "double",
        "genkit:type": "flowStep",
        "genkit:path": "/{outer,t:flow}/{around,t:flowStep}/{inner,t:flow}/{double,t:flowStep}",
        "genkit:qualifiedPath": (
            "/{outer,t:flow,s:flow}/{around,t:flowStep}/{inner,t:flow,s:flow}/{double,t:flowStep}"
        ),
        "genkit:isRoot": False,
        "genkit:input": "3",
        "genkit:output": "6",
        "genkit:state": "success",
    }
    assert found["inner"]["genkit:type"] == "action"
    assert found["inner"]["genkit:key"] == "/flow/inner"
    names = {span.context.span_id: span.name for span in spans.get_finished_spans() if span.context}
    parents = {
        span.name: names.get(span.parent.span_id) if span.parent else None for span in spans.get_finished_spans()
    }
    assert parents == {"outer": None, "around": "outer", "inner": "around", "double": "inner"}


@pytest.mark.parametrize(
    ("args", "kwargs", "shown"),
    [((), {}, "null"), ((1,), {}, "1"), ((1, 2), {}, "[1,2]"), ((1,), {"a": 2}, '{"0":1,"a":2}')],
)
async def test_the_arguments_are_the_input_of_the_span(
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    shown: str,
    spans: InMemorySpanExporter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")

    def take(*_args: Any, **_kwargs: Any) -> str:
        return "taken"

    await Genkit().run("take", take, *args, **kwargs)
    assert by_name(spans)["take"]["genkit:input"] == shown
    assert by_name(spans)["take"]["genkit:isRoot"] is True


async def test_the_step_that_failed_is_the_source_of_the_failure(spans: InMemorySpanExporter) -> None:
    ai = Genkit()

    def fail() -> None:
        raise GenkitError("UNAVAILABLE", "down")

    @ai.flow
    async def outer() -> None:
        await ai.run("fail", fail)

    with pytest.raises(GenkitError, match="down"):
        await outer()
    found = by_name(spans)
    assert (found["fail"]["genkit:isFailureSource"], found["outer"]["genkit:isFailureSource"]) == (True, False)
    assert found["fail"]["error.type"] == "UNAVAILABLE"


class Places:
    """An app that writes down which user is seen where."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Any]] = []
        self.model = ScriptedModel("test/model", [])
        self.ai = ai = Genkit()
        note = self.note

        @ai.tool
        def tool(ctx: ActionContext) -> str:
            note("tool argument", ctx.context)
            note("tool thread", current_context())
            return "ok"

        @ai.retriever("places")
        async def places(query: Document, options: Any, ctx: ActionContext) -> list[Document]:
            note("retriever argument", ctx.context)
            note("retriever", current_context())
            return []

        @ai.flow
        async def nested(_input: None, ctx: ActionContext) -> None:
            note("nested argument", ctx.context)
            await asyncio.sleep(0)
            note("nested", current_context())
            await ai.run("nested step", lambda: note("nested step", current_context()))

        @ai.flow
        def blocking(_input: None, ctx: ActionContext) -> None:
            note("thread argument", ctx.context)
            note("thread", current_context())

        @ai.flow
        async def outer(_input: None, ctx: ActionContext) -> Mapping[str, Any]:
            await ai.run("step", self.step)
            await asyncio.gather(nested(None), blocking(None), ai.retrieve("places", "where?"))
            self.model = ScriptedModel("test/model", [ToolRequest(name="tool", input={}), "done"])
            await ai.generate("hi", model=self.model.action, tools=[tool])
            return ctx.context

        self.outer = outer

    def note(self, place: str, context: Mapping[str, Any]) -> None:
        self.seen.append((place, context.get("user")))

    async def step(self) -> None:
        self.note("step", current_context())


PLACES = {
    "step",
    "nested argument",
    "nested",
    "nested step",
    "thread argument",
    "thread",
    "retriever argument",
    "retriever",
    "tool argument",
    "tool thread",
}


async def test_the_context_reaches_steps_flows_retrievers_tools_and_threads_and_never_a_model() -> None:
    app = Places()
    assert await app.outer(None, context={"user": "anna", "key": "s3cret"}) == {"user": "anna", "key": "s3cret"}
    assert {place for place, _ in app.seen} == PLACES
    assert {user for _, user in app.seen} == {"anna"}
    assert "s3cret" not in str([request.to_wire() for request in app.model.requests])
    assert dict(current_context()) == {}


async def test_an_inner_call_may_have_a_context_of_its_own_and_the_outer_one_comes_back() -> None:
    ai = Genkit()
    seen: list[Any] = []

    @ai.flow
    async def inner() -> None:
        seen.append(current_context().get("user"))

    @ai.flow
    async def outer() -> None:
        await inner()
        await inner(context={"user": "berta"})
        await inner(context={})
        await inner()

    await outer(context={"user": "anna"})
    assert seen == ["anna", "berta", None, "anna"]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=6))
def test_flows_that_run_at_the_same_time_see_their_own_context_only(users: list[int]) -> None:
    async def main() -> None:
        apps = [Places() for _ in users]
        await asyncio.gather(*(app.outer(None, context={"user": user}) for app, user in zip(apps, users, strict=True)))
        for app, user in zip(apps, users, strict=True):
            assert set(app.seen) == {(place, user) for place in PLACES}

    asyncio.run(main())


async def test_one_app_serves_many_callers_at_the_same_time() -> None:
    ai = Genkit()

    @ai.flow
    async def whoami(_input: None, ctx: ActionContext) -> list[Any]:
        async def look() -> Any:
            await asyncio.sleep(0)
            return current_context()["user"]

        return [
            await ai.run("look", look),
            await ai.run("thread", lambda: current_context()["user"]),
            ctx.context["user"],
        ]

    users = range(50)
    found = await asyncio.gather(*(whoami(None, context={"user": user}) for user in users))
    assert found == [[user] * 3 for user in users]
