from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from genkit_rag._core.errors import GenkitError
from genkit_rag._core.registry import Registry
from genkit_rag._documents.part import ToolRequest
from genkit_rag._generation.generate import GenerateOptions, generate
from genkit_rag.testing._scripted_model import ScriptedModel


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    monkeypatch.setattr(trace, "get_tracer", lambda *args, **more: provider.get_tracer("test"))
    yield exporter
    provider.shutdown()


def tree(exporter: InMemorySpanExporter) -> list[tuple[str, str | None]]:
    finished: list[ReadableSpan] = sorted(exporter.get_finished_spans(), key=lambda span: span.start_time or 0)
    names = {span.context.span_id: span.name for span in finished if span.context}
    return [(span.name, names[span.parent.span_id] if span.parent else None) for span in finished]


def look(n: int) -> int:
    return n


async def run(*answers: Any) -> None:
    model = ScriptedModel("test/scripted", answers)
    await generate(Registry(), GenerateOptions(model=model.action, prompt="hi", tools=[look]))


async def test_models_and_tools_are_spans_of_one_generation(spans: InMemorySpanExporter) -> None:
    await run([ToolRequest(name="look", input={"n": n}) for n in (1, 2)], "done")
    assert tree(spans) == [
        ("generate", None),
        ("test/scripted", "generate"),
        ("look", "generate"),
        ("look", "generate"),
        ("test/scripted", "generate"),
    ]
    tool = next(span for span in spans.get_finished_spans() if span.name == "look")
    assert tool.attributes is not None
    assert tool.attributes["gen_ai.operation.name"] == "execute_tool"


async def test_content_is_recorded_in_dev_only(spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
    await run([ToolRequest(name="look", input={"n": 7})], "done")
    by_name = {span.name: dict(span.attributes or {}) for span in spans.get_finished_spans()}
    assert by_name["look"]["genkit:input"] == '{"n":7}'
    assert '"messages"' in str(by_name["generate"]["genkit:input"])
    assert "done" in str(by_name["generate"]["genkit:output"])


async def test_a_failure_ends_its_span_with_the_status(spans: InMemorySpanExporter) -> None:
    with pytest.raises(GenkitError):
        await run(GenkitError("UNAVAILABLE", "Gone."))
    for span in spans.get_finished_spans():
        assert span.attributes is not None
        assert span.attributes["error.type"] == "UNAVAILABLE"
    assert len(spans.get_finished_spans()) == 2
