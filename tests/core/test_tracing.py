"""One span for each action, and never an error of tracing for a caller."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from genkit_rag._core.tracing import MAX_CONTENT_CHARS
from genkit_rag.plugin_api import (
    Action,
    ActionContext,
    GenerationConfig,
    GenkitError,
    Message,
    ModelRequest,
    ModelResponse,
    Part,
    adapt,
    model_action,
    run_in_thread,
)

CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


@pytest.fixture(autouse=True)
def _outside_dev(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GENKIT_ENV", raising=False)
    monkeypatch.delenv(CAPTURE, raising=False)


def action(fn: Any, name: str = "step", kind: str = "util", **options: Any) -> Action[Any, Any, Any]:
    return Action(kind, name, adapt(fn), **options)


def by_name(spans: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in spans.get_finished_spans()}


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


async def _inner(value: Any, ctx: ActionContext) -> Any:
    return value


async def test_every_run_is_one_span_with_what_the_tools_read(spans: InMemorySpanExporter) -> None:
    inner = action(_inner, "memory/docs", "retriever")

    async def outer(value: Any, ctx: ActionContext) -> Any:
        return await inner(value)

    await action(outer, "answer", "flow")("secret question")
    assert len(spans.get_finished_spans()) == 2
    found = by_name(spans)
    assert attributes(found["answer"]) == {
        "genkit:name": "answer",
        "genkit:key": "/flow/answer",
        "genkit:type": "action",
        "genkit:metadata:subtype": "flow",
        "genkit:path": "/{answer,t:flow}",
        "genkit:qualifiedPath": "/{answer,t:flow,s:flow}",
        "genkit:isRoot": True,
        "genkit:state": "success",
    }
    below = attributes(found["memory/docs"])
    assert below["genkit:path"] == "/{answer,t:flow}/{memory/docs,t:action}"
    assert below["genkit:qualifiedPath"] == "/{answer,t:flow,s:flow}/{memory/docs,t:action,s:retriever}"
    assert below["genkit:isRoot"] is False
    _assert_child(found["memory/docs"], found["answer"])


def _assert_child(child: ReadableSpan, parent: ReadableSpan) -> None:
    assert child.parent is not None
    assert parent.context is not None
    assert child.parent.span_id == parent.context.span_id
    assert child.parent.trace_id == parent.context.trace_id


async def test_parents_hold_across_tasks_and_threads(spans: InMemorySpanExporter) -> None:
    async def outer(value: Any, ctx: ActionContext) -> None:
        await asyncio.gather(*(action(_inner, f"task-{n}")(n) for n in range(3)))
        await run_in_thread(lambda: asyncio.run(_call(action(_inner, "thread"))))

    await action(outer, "outer")(None)
    found = by_name(spans)
    for name in ("task-0", "task-1", "task-2", "thread"):
        _assert_child(found[name], found["outer"])


async def _call(found: Action[Any, Any, Any]) -> Any:
    return await found(None)


async def test_after_a_run_the_callers_span_is_the_current_one_again(spans: InMemorySpanExporter) -> None:
    async def outer(value: Any, ctx: ActionContext) -> None:
        await action(_inner, "first")(None)
        await action(_inner, "second")(None)

    await action(outer, "outer")(None)
    found = by_name(spans)
    _assert_child(found["second"], found["outer"])
    await action(_inner, "alone")(None)
    assert by_name(spans)["alone"].parent is None


async def test_an_error_is_recorded_where_it_arose_and_reaches_the_caller_unchanged(
    spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENKIT_ENV", "dev")
    error = GenkitError("UNAVAILABLE", "The engine is off.")

    async def fail(value: Any, ctx: ActionContext) -> None:
        raise error

    async def outer(value: Any, ctx: ActionContext) -> None:
        await action(fail, "inner")(None)

    with pytest.raises(GenkitError) as caught:
        await action(outer, "outer")(None)
    assert caught.value is error
    found = by_name(spans)
    for name, source in (("inner", True), ("outer", False)):
        assert found[name].status.status_code is StatusCode.ERROR
        facts = attributes(found[name])
        assert facts["genkit:state"] == "error"
        assert facts["genkit:error"] == "UNAVAILABLE: The engine is off."
        assert facts["genkit:isFailureSource"] is source
        assert facts["error.type"] == "UNAVAILABLE"


async def test_a_cancelled_run_ends_its_span_as_an_error(spans: InMemorySpanExporter) -> None:
    async def wait(value: Any, ctx: ActionContext) -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(_call(action(wait)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert attributes(by_name(spans)["step"])["error.type"] == "CancelledError"


# -- content


async def test_outside_dev_no_content_stands_in_a_span(spans: InMemorySpanExporter) -> None:
    async def fail(value: Any, ctx: ActionContext) -> None:
        raise ValueError(f"cannot read {value}")

    await action(_inner, "fine")("hush")
    with pytest.raises(ValueError, match="hush"):
        await action(fail, "failed")("hush")
    written = "".join(span.to_json() for span in spans.get_finished_spans())
    assert "hush" not in written
    assert attributes(by_name(spans)["failed"])["genkit:error"] == "ValueError"


@pytest.mark.parametrize(
    ("variable", "value", "captured"),
    [
        ("GENKIT_ENV", "dev", True),
        ("GENKIT_ENV", "prod", False),
        (CAPTURE, "SPAN_ONLY", True),
        (CAPTURE, "true", True),
        (CAPTURE, "SPAN_AND_EVENT", True),
        (CAPTURE, "EVENT_ONLY", False),
        (CAPTURE, "", False),
    ],
)
async def test_content_is_captured_in_dev_or_when_asked_for(
    spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, captured: bool
) -> None:
    monkeypatch.setenv(variable, value)
    await action(lambda v: {"answer": v["n"]})({"n": 1})
    facts = attributes(by_name(spans)["step"])
    assert facts.get("genkit:input") == ('{"n":1}' if captured else None)
    assert facts.get("genkit:output") == ('{"answer":1}' if captured else None)


async def test_long_content_is_cut(spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENKIT_ENV", "dev")
    await action(_inner)("x" * (2 * MAX_CONTENT_CHARS))
    facts = attributes(by_name(spans)["step"])
    assert len(facts["genkit:input"]) == len(facts["genkit:output"]) == MAX_CONTENT_CHARS + 1


@pytest.mark.parametrize("config", [GenerationConfig(api_key="sk-very-secret"), {"apiKey": 'sk-very-secret"\\'}])
async def test_a_key_never_reaches_a_span(
    spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch, config: Any
) -> None:
    monkeypatch.setenv("GENKIT_ENV", "dev")

    async def answer(request: ModelRequest, ctx: ActionContext) -> ModelResponse:
        return ModelResponse(message=Message.model("fine"), finish_reason="stop", request=request)

    await model_action("fake/echo", answer)(ModelRequest(messages=[Message.user("hello")], config=config))
    (span,) = spans.get_finished_spans()
    assert "hello" in attributes(span)["genkit:input"]
    assert "sk-very" not in span.to_json()


async def test_what_cannot_be_written_as_json_leaves_the_span_whole(
    spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENKIT_ENV", "dev")

    class Odd:
        pass

    def broken(given: Any, output: Any) -> dict[str, Any]:
        raise RuntimeError("telemetry")

    await action(_inner, telemetry=broken)(Odd())
    facts = attributes(by_name(spans)["step"])
    assert facts["genkit:state"] == "success"
    assert "Odd" in facts["genkit:input"]


async def test_the_facts_of_an_action_stand_in_its_span(spans: InMemorySpanExporter) -> None:
    async def answer(request: ModelRequest, ctx: ActionContext) -> ModelResponse:
        return ModelResponse(message=Message(role="model", content=[Part(text="fine")]), finish_reason="stop")

    request = ModelRequest(messages=[Message.user("hello")], config={"temperature": 0.5, "maxOutputTokens": 7})
    await model_action("fake/echo", answer)(request)
    facts = attributes(by_name(spans)["fake/echo"])
    assert facts["gen_ai.operation.name"] == "chat"
    assert (facts["gen_ai.provider.name"], facts["gen_ai.request.model"]) == ("fake", "echo")
    assert (facts["gen_ai.request.temperature"], facts["gen_ai.request.max_tokens"]) == (0.5, 7)
    assert facts["gen_ai.response.finish_reasons"] == ("stop",)


# -- what tracing must never do


class _Failing(SpanProcessor, SpanExporter):
    broken = False

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        if self.broken:
            raise RuntimeError("the processor is broken")

    def on_end(self, span: Any) -> None:
        if self.broken:
            raise RuntimeError("the processor is broken")

    def export(self, spans: Any) -> SpanExportResult:
        if self.broken:
            raise RuntimeError("the exporter is broken")
        return SpanExportResult.SUCCESS


@pytest.fixture(scope="module")
def _failing(_span_exporter: InMemorySpanExporter) -> tuple[_Failing, _Failing]:
    provider: Any = trace.get_tracer_provider()
    processor, exporter = _Failing(), _Failing()
    provider.add_span_processor(processor)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return processor, exporter


@pytest.fixture(params=[0, 1], ids=["processor", "exporter"])
def broken(request: pytest.FixtureRequest, _failing: tuple[_Failing, _Failing]) -> Iterator[None]:
    logging.disable()
    _failing[request.param].broken = True
    yield
    _failing[request.param].broken = False
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("broken")
async def test_a_broken_processor_or_exporter_never_reaches_the_caller() -> None:
    async def outer(value: Any, ctx: ActionContext) -> Any:
        return await action(_inner)(value)

    assert await action(outer)(7) == 7
    with pytest.raises(ZeroDivisionError):
        await action(lambda value: 1 / 0)(7)
    assert not trace.get_current_span().get_span_context().is_valid


_WITHOUT = """
import asyncio, sys
from genkit_rag.plugin_api import Action, adapt
assert "opentelemetry.trace" not in sys.modules
action = Action("flow", "double", adapt(lambda value: value * 2))
print(asyncio.run(action(21)))
assert "opentelemetry.trace" not in sys.modules, "a call imported OpenTelemetry"
import opentelemetry.trace
print(asyncio.run(action(21)))
assert "opentelemetry.sdk" not in sys.modules
"""


def test_without_opentelemetry_or_without_a_provider_actions_run_untraced() -> None:
    done = subprocess.run([sys.executable, "-c", _WITHOUT], capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.stderr) == (["42", "42"], "")
