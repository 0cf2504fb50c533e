"""The process under observation: what it sends, and that it never notices the server."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genkit_rag._core.errors import GenkitError
from genkit_rag._core.redact import redact_text, redactor
from genkit_rag._server.guard import new_token
from genkit_rag._server.serving import serve, serve_in_thread
from genkit_rag._server.telemetry import StoreLimits, TraceStore, derive
from genkit_rag._server.telemetry.app import telemetry_app, telemetry_policy
from genkit_rag._server.telemetry.wire import IGNORE
from genkit_rag._server.telemetry.writers import HIDDEN, chosen_writers, openinference, written
from tests.fakes.serving import closed_port

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from genkit_rag._server.telemetry import exporter as exporter_module
from genkit_rag._server.telemetry.exporter import TelemetryProcessor, connect_telemetry
from genkit_rag._server.telemetry.sdk import CleanExporter

pytestmark = pytest.mark.network


@contextmanager
def tracing(url: str, **options: Any) -> Iterator[tuple[Any, TelemetryProcessor]]:
    processor = TelemetryProcessor(url, **options)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    try:
        yield provider.get_tracer("tests"), processor
    finally:
        provider.shutdown()


@contextmanager
def server(tmp_path: Path, token: str | None = None) -> Iterator[tuple[str, TraceStore]]:
    store = TraceStore(tmp_path / "t.db", StoreLimits(max_age_days=1e6))
    with serve_in_thread(telemetry_app(store, telemetry_policy(token))) as served:
        yield served.url, store
    store.close()


@contextmanager
def answering(status: int, delay: float = 0.0) -> Iterator[tuple[str, list[Any]]]:
    """A server that answers every post with one status."""
    posts: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            time.sleep(delay)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    made = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{made.server_address[1]}", posts
    finally:
        made.shutdown()
        thread.join()
        made.server_close()


def test_spans_are_seen_while_they_run_and_when_they_ended(tmp_path: Path) -> None:
    with server(tmp_path) as (url, store), tracing(url) as (tracer, processor):
        with tracer.start_as_current_span("root", attributes={"genkit:name": "menu"}) as root:
            root.add_event("note", {"a": 1})
            with tracer.start_as_current_span("inner", links=[], attributes={"x": [1, 2]}):
                pass
            assert processor.force_flush(5000)
            summary = store.list_traces().traces[0]
            assert (summary.name, summary.status, summary.spans) == ("menu", "running", 2)
        assert processor.force_flush(5000)
        spans = store.load(summary.trace_id) or []
        assert [derive.status_of(one) for one in spans] == ["ok", "ok"]
        assert spans[1].parent_span_id == spans[0].span_id
        assert spans[1].attributes == {"x": [1, 2]}
        assert spans[0].instrumentation_library.name == "tests"
        assert spans[0].time_events is not None
        assert processor.dropped == 0


def test_a_post_with_the_root_names_and_times_its_trace() -> None:
    with answering(200) as (url, posts):
        with tracing(url) as (tracer, processor):
            with tracer.start_as_current_span("root"):
                assert processor.force_flush(5000)
                tracer.start_span("inner").end()
                assert processor.force_flush(5000)
            assert processor.force_flush(5000)
        first, second, last = posts
        (root,) = last["spans"].values()
    assert {name: value for name, value in first.items() if name not in ("traceId", "spans")} == {
        "displayName": "root",
        "startTime": root["startTime"],
    }
    assert set(second) == {"traceId", "spans"}
    assert (last["displayName"], last["startTime"], last["endTime"]) == ("root", root["startTime"], root["endTime"])


def test_without_realtime_only_ended_spans_are_sent(tmp_path: Path) -> None:
    with server(tmp_path) as (url, store), tracing(url, realtime=False) as (tracer, processor):
        with tracer.start_as_current_span("root"):
            assert processor.force_flush(5000)
            assert store.stats()["spans"] == 0
        assert processor.force_flush(5000)
        assert store.stats()["spans"] == 1


def test_a_failure_has_the_event_that_genkits_tools_read() -> None:
    with answering(200) as (url, posts), tracing(url, realtime=False) as (tracer, processor):
        from opentelemetry.trace import StatusCode

        span = tracer.start_span("bad", attributes={"genkit:error": "no such file", "error.type": "NOT_FOUND"})
        span.set_status(StatusCode.ERROR, "no such file")
        span.end()
        with pytest.raises(ValueError, match="boom"), tracer.start_as_current_span("raises"):
            raise ValueError("boom")
        assert processor.force_flush(5000)
    sent = {one["displayName"]: one for post in posts for one in post["spans"].values()}
    for name, text in (("bad", "no such file"), ("raises", "boom")):
        (event,) = sent[name]["timeEvents"]["timeEvent"]
        assert event["annotation"]["description"] == "exception"
        assert event["annotation"]["attributes"]["exception.message"] == text
        assert sent[name]["status"]["code"] == 2


def test_a_server_with_a_token_gets_it(tmp_path: Path) -> None:
    token = new_token()
    with server(tmp_path, token) as (url, store):
        with tracing(url, token=token) as (tracer, _):
            tracer.start_span("a").end()
        with tracing(url) as (tracer, processor):
            tracer.start_span("b").end()
        assert [one.name for one in store.list_traces().traces] == ["a"]
        assert processor.dropped == 1


def test_a_trace_that_asks_not_to_be_kept_is_not_sent() -> None:
    with answering(200) as (url, posts):
        with tracing(url) as (tracer, _):
            with (
                tracer.start_as_current_span("hidden", attributes={IGNORE: True}),
                tracer.start_as_current_span("below"),
            ):
                pass
            tracer.start_span("shown").end()
        assert {one["displayName"] for post in posts for one in post["spans"].values()} == {"shown"}


def test_a_server_that_is_down_costs_a_counted_drop_and_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "genkit_rag.telemetry"):
        began = time.monotonic()
        with tracing(f"http://127.0.0.1:{closed_port()}", max_queue=50, exit_seconds=1) as (tracer, processor):
            time.sleep(0.001)
            for _ in range(500):
                tracer.start_span("x").end()
            time.sleep(0.1)
            assert not processor.force_flush(5000)
        print(f"\n500 spans with the server down, and the exit: {time.monotonic() - began:.2f} s")
    assert processor.dropped >= 1000 - 50 - 512
    assert len(caplog.records) == 1
    assert "dropped" in caplog.text


def test_what_waited_is_sent_when_the_server_comes_up(tmp_path: Path) -> None:
    port = closed_port()
    with tracing(f"http://127.0.0.1:{port}") as (tracer, processor):
        tracer.start_span("early").end()
        time.sleep(0.15)
        store = TraceStore(tmp_path / "t.db")
        with serve_in_thread(telemetry_app(store), port=port):
            due = time.monotonic() + 10
            while store.stats()["spans"] == 0 and time.monotonic() < due:
                time.sleep(0.01)
            assert [one.name for one in store.list_traces().traces] == ["early"]
        store.close()
        assert processor.dropped == 0


def test_a_server_that_hangs_does_not_keep_the_process_from_ending() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()  # accepts, and never answers
        with tracing(f"http://127.0.0.1:{listener.getsockname()[1]}", exit_seconds=0.2) as (tracer, processor):
            for _ in range(100):
                tracer.start_span("x").end()
            time.sleep(0.05)
            assert not processor.force_flush(50)
            began = time.monotonic()
        assert time.monotonic() - began < 3


@pytest.mark.parametrize("status", [400, 413, 500, 503])
def test_a_server_that_refuses_is_not_asked_twice(status: int) -> None:
    with answering(status) as (url, posts):
        with tracing(url, realtime=False) as (tracer, processor):
            tracer.start_span("x").end()
            assert processor.force_flush(5000)
        assert (len(posts), processor.dropped) == (1, 1)


def test_posts_stay_below_what_servers_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter_module, "MAX_POST_BYTES", 50_000)
    with answering(200) as (url, posts):
        with tracing(url, realtime=False) as (tracer, processor):
            with tracer.start_as_current_span("root"):
                for _ in range(20):
                    tracer.start_span("x", attributes={"big": "y" * 20_000}).end()
            tracer.start_span("huge", attributes={"big": "y" * 1_000_000}).end()
        assert processor.dropped == 0
        assert sum(len(post["spans"]) for post in posts) == 22
        assert max(len(json.dumps(post)) for post in posts) < 300_000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_sends_its_own_spans(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from genkit_rag._server.telemetry.exporter import connect_telemetry\n"
        "provider = connect_telemetry(sys.argv[1])\n"
        "tracer = provider.get_tracer('t')\n"
        "tracer.start_span('parent').end()\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    assert tracer and provider.force_flush(5000), 'what the parent has queued is not waited for'\n"
        "    tracer.start_span('child').end()\n"
        "    sys.exit(0)\n"
        "assert os.waitpid(pid, 0)[1] == 0\n"
    )
    with server(tmp_path) as (url, store):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code, url], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert sorted(one.name for one in store.list_traces().traces) == ["child", "parent"]


def test_connecting_installs_a_provider_and_runs_a_real_action(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys\n"
        "from genkit_rag import Genkit\n"
        "from genkit_rag._server.telemetry.exporter import connect_telemetry\n"
        "provider = connect_telemetry()\n"
        "assert connect_telemetry() is provider\n"
        "assert len(provider._active_span_processor._span_processors) == 1\n"
        "ai = Genkit([])\n"
        "@ai.flow\n"
        "async def shout(text: str) -> str: return text.upper()\n"
        "print(asyncio.run(shout('needle')))\n"
    )
    with server(tmp_path) as (url, store):
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("GENKIT", "OTEL_"))}
        environment |= {
            "GENKIT_TELEMETRY_SERVER": url,
            "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true",
            "GENKIT_RAG_SPAN_WRITERS": "openinference",
        }
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60)
        assert (done.stdout.strip(), done.stderr) == ("NEEDLE", "")
        (summary,) = store.list_traces().traces
        (span,) = store.load(summary.trace_id) or []
        assert (summary.name, summary.kind, summary.status) == ("shout", "flow", "ok")
        view = derive.view(span)
        assert (view.input, view.output) == ("needle", "NEEDLE")
        assert span.attributes["openinference.span.kind"] == "CHAIN"
        assert not [name for name in span.attributes if name.startswith("gen_ai.")]


def test_the_standard_otlp_variables_export_too(tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    code = (
        "from genkit_rag._server.telemetry.exporter import connect_telemetry\n"
        "tracer = connect_telemetry().get_tracer('t')\n"
        "tracer.start_span('over otlp', attributes={'api_key': 'CANARY-1', 'kept': 1}).end()\n"
    )
    with server(tmp_path) as (url, store):
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("GENKIT_TEL", "OTEL_"))}
        environment |= {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_SERVICE_NAME": "shop"}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60)
        assert done.returncode == 0, done.stderr
        (summary,) = store.list_traces().traces
        (span,) = store.load(summary.trace_id) or []
        assert span.attributes == {"service.name": "shop", "api_key": "[redacted]", "kept": 1}


def test_a_server_that_is_offered_later_takes_the_place_of_the_last_one(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from genkit_rag._server.telemetry.exporter import connect_telemetry\n"
        "first, dead, last = sys.argv[1:]\n"
        "for _ in range(3): provider = connect_telemetry(first, replace=True)\n"
        "tracer = provider.get_tracer('t')\n"
        "tracer.start_span('one').end()\n"
        "assert provider.force_flush(5000)\n"
        "connect_telemetry(dead, replace=True)\n"
        "tracer.start_span('two').end()\n"
        "assert not provider.force_flush(1000)\n"
        "connect_telemetry(last, replace=True)\n"
        "tracer.start_span('three').end()\n"
        "assert provider.force_flush(5000)\n"
        "(processor,) = provider._active_span_processor._span_processors\n"
        "assert processor.dropped == 0\n"
        "connect_telemetry(last)\n"
        "assert connect_telemetry(last, replace=True) is provider\n"
        "print(len(provider._active_span_processor._span_processors))\n"
    )
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with server(tmp_path / "a") as (first, old), server(tmp_path / "b") as (last, new):
        urls = (first, f"http://127.0.0.1:{closed_port()}", last)
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("GENKIT", "OTEL_"))}
        done = subprocess.run(
            [sys.executable, "-c", code, *urls], capture_output=True, text=True, env=clean, timeout=60
        )
        assert (done.returncode, done.stdout.strip()) == (0, "2"), done.stderr
        assert [one.name for one in old.list_traces().traces] == ["one"]
        assert sorted(one.name for one in new.list_traces().traces) == ["three", "two"]


def test_there_must_be_something_to_connect_to(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GENKIT_TELEMETRY_SERVER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(GenkitError, match="url"):
        connect_telemetry()
    for url in ("ftp://x", "localhost:4033", "http://", "http://user:secretword@host"):
        with pytest.raises(GenkitError, match="url") as error:
            TelemetryProcessor(url)
        assert "secretword" not in str(error.value)
    with pytest.raises(GenkitError, match="writers"):
        TelemetryProcessor("http://localhost:1", writers=["openinferense"])


async def test_a_live_span_arrives_within_moments(tmp_path: Path) -> None:
    import httpx

    store = TraceStore(tmp_path / "t.db")
    async with await serve(telemetry_app(store)) as served:  # noqa: SIM117
        async with httpx.AsyncClient() as client, client.stream("GET", f"{served.url}/api/live") as stream:
            lines = stream.aiter_lines()
            assert await anext(lines) == ": ready"
            with tracing(served.url) as (tracer, _):
                began = time.perf_counter()
                span = tracer.start_span("now")
                async for line in lines:
                    if line.startswith("data: "):
                        break
                print(f"\na live span arrived after {(time.perf_counter() - began) * 1e3:.0f} ms")
                assert json.loads(line[6:])["trace"]["status"] == "running"
                await asyncio.to_thread(span.end)
    store.close()


# -- secrets

CANARIES = [f"CANARY{n:02}abcdefghijklmnop" for n in range(16)]


def fail(tracer: Any, attributes: dict[str, Any], text: str) -> None:
    with tracer.start_as_current_span("call", attributes=attributes) as span:
        span.add_event("retry", {"headers": "{'x-goog-api-key': '" + CANARIES[0] + "'}"})
        raise RuntimeError(text)


def test_no_canary_leaves_the_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    c = iter(CANARIES)
    variable = next(c)
    monkeypatch.setenv("SHOP_API_KEY", variable)
    arguments = json.dumps({"city": "Oslo", "api_key": next(c), "nested": {"password": next(c)}})
    attributes = {
        "free": f"the model said {variable} aloud",
        "genkit:input": arguments,
        "genkit:output": json.dumps(json.dumps({"client_secret": next(c), "n": 1})),
        "http.request.header.authorization": [f"Bearer {next(c)}"],
        "http.request.header.x-api-key": next(c),
        "http.url": f"https://api.example/v1?alt=sse&key={next(c)}&x=1",
        "url.full": f"https://user:{next(c)}@host.example/path",
        "dsn": f"postgresql://shop:{next(c)}@db.example/orders",
        "log": f"curl -H 'Authorization: Bearer {next(c)}' https://api.example",
        "config": f"OpenAI(api_key='{next(c)}', timeout=3)",
        "provider.error": f'{{"error": {{"message": "Incorrect API key provided: sk-{next(c)}"}}}}',
        "baggage": f"user=1,access_token={next(c)},x=2",
        "listed": ["plain", f"Basic {next(c)}"],
    }
    inner = InMemorySpanExporter()
    with server(tmp_path) as (url, store), tracing(url) as (tracer, processor):
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(CleanExporter(inner, ["genkit", "gen_ai", "openinference"])))
        for made in (tracer, provider.get_tracer("t")):
            text = f"Error calling https://h.example/?token={CANARIES[-2]}: password={CANARIES[-1]}"
            with pytest.raises(RuntimeError):
                fail(made, attributes, text)
        assert processor.force_flush(5000)
        stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert b"Oslo" in stored
        trace = store.load(store.list_traces().traces[0].trace_id) or []
        assert json.loads(trace[0].attributes["genkit:input"])["city"] == "Oslo", "JSON stays JSON"
        assert json.loads(json.loads(trace[0].attributes["genkit:output"]))["n"] == 1
        provider.shutdown()
    exported = "".join(one.to_json() for one in inner.get_finished_spans())
    for canary in CANARIES:
        assert canary.encode() not in stored, canary
        assert canary not in exported, canary


@pytest.mark.parametrize(
    "text",
    [
        "max_tokens=5, input_tokens: 7",
        "The secretary wrote to accounts payable.",
        "https://example.com/a?q=key&page=2",
        '{"tokens": 5, "author": "Ann"}',
        "mail@example.com",
        "a basic idea, a bearer of news",
        "session ended",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact_text(text) == text


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="api_key\"':= \\,secretwrdİ?&@/}{[]", max_size=60))
def test_redaction_never_fails_and_is_done_at_once(text: str) -> None:
    once = redact_text(text)
    assert redact_text(once) == once


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["api_key", "password", "a", "access_token", "client_secret"]), st.text(max_size=12), min_size=1
    )
)
def test_redacted_json_is_json_without_the_values(values: dict[str, str]) -> None:
    for ascii_only in (True, False):
        text = json.dumps(values, ensure_ascii=ascii_only)
        for found in (json.loads(redact_text(text)), json.loads(json.loads(redact_text(json.dumps(text))))):
            assert {name for name, value in found.items() if value == "[redacted]"} >= set(values) - {"a"}


def test_short_environment_values_and_paths_are_not_taken_for_secrets() -> None:
    redact = redactor(
        {"MY_TOKEN": "abc", "SSH_AUTH_SOCK": "/tmp/agent.sock", "HOME": "longer-than-eight", "A_SECRET": "longsecret"}
    )
    text = "abc /tmp/agent.sock longer-than-eight longsecret"
    assert redact({"x": [text]}) == {"x": ["abc /tmp/agent.sock longer-than-eight [redacted]"]}


# -- writers


def model_attributes() -> dict[str, Any]:
    message = {"role": "user", "content": [{"text": "When is "}, {"text": "lunch?"}]}
    answer = {"role": "model", "content": [{"toolRequest": {"name": "clock", "ref": "r1", "input": {"zone": "UTC"}}}]}
    reply = {"role": "tool", "content": [{"toolResponse": {"name": "clock", "ref": "r1", "output": 12}}]}
    return {
        "genkit:type": "action",
        "genkit:metadata:subtype": "model",
        "genkit:name": "m",
        "genkit:input": json.dumps({"messages": [message, answer, reply]}),
        "genkit:output": json.dumps({"message": answer}),
        "gen_ai.request.model": "m-1",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 4,
        "gen_ai.response.finish_reasons": ("stop",),
    }


def test_openinference_of_a_model() -> None:
    found = openinference(model_attributes(), {})
    assert {name: value for name, value in found.items() if not name.startswith(("input", "output"))} == {
        "openinference.span.kind": "LLM",
        "llm.model_name": "m-1",
        "llm.provider": "openai",
        "llm.system": "openai",
        "llm.invocation_parameters": '{"temperature": 0.5}',
        "llm.token_count.prompt": 10,
        "llm.token_count.completion": 4,
        "llm.token_count.total": 14,
        "llm.finish_reason": "stop",
        "llm.input_messages.0.message.role": "user",
        "llm.input_messages.0.message.content": "When is lunch?",
        "llm.input_messages.1.message.role": "assistant",
        "llm.input_messages.1.message.tool_calls.0.tool_call.function.name": "clock",
        "llm.input_messages.1.message.tool_calls.0.tool_call.function.arguments": '{"zone": "UTC"}',
        "llm.input_messages.1.message.tool_calls.0.tool_call.id": "r1",
        "llm.input_messages.2.message.role": "tool",
        "llm.input_messages.2.message.tool_call_id": "r1",
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.tool_calls.0.tool_call.function.name": "clock",
        "llm.output_messages.0.message.tool_calls.0.tool_call.function.arguments": '{"zone": "UTC"}',
        "llm.output_messages.0.message.tool_calls.0.tool_call.id": "r1",
    }
    assert found["input.mime_type"] == "application/json"


def test_openinference_of_a_reranker_and_a_retriever() -> None:
    document = {"content": [{"text": "Noon."}], "metadata": {"id": "a", "score": 0.5}}
    base = {"genkit:type": "action", "genkit:output": json.dumps({"documents": [document]})}
    expected = {"id": "a", "score": 0.5, "content": "Noon."}
    found = openinference(base | {"genkit:metadata:subtype": "retriever"}, {})
    assert {name: found[f"retrieval.documents.0.document.{name}"] for name in expected} == expected
    given_ = json.dumps({"query": {"content": [{"text": "When?"}]}, "documents": [document], "options": {"k": 3}})
    found = openinference(
        base | {"genkit:metadata:subtype": "reranker", "genkit:input": given_, "gen_ai.request.model": "r"}, {}
    )
    assert (found["reranker.query"], found["reranker.top_k"], found["reranker.model_name"]) == ("When?", 3, "r")
    assert found["reranker.input_documents.0.document.content"] == "Noon."
    assert found["reranker.output_documents.0.document.score"] == 0.5
    listed = {
        "genkit:type": "action",
        "genkit:metadata:subtype": "retriever",
        "gen_ai.retrieval.documents": '[{"id":"a","score":1}]',
    }
    assert openinference(listed, {})["retrieval.documents.0.document.id"] == "a"


@pytest.mark.parametrize(
    "switch", ["INPUTS", "OUTPUTS", "INPUT_MESSAGES", "OUTPUT_MESSAGES", "INPUT_TEXT", "OUTPUT_TEXT"]
)
def test_openinferences_switches_hide_content(switch: str) -> None:
    text = json.dumps({"message": {"role": "model", "content": [{"text": "answer"}]}})
    found = openinference(model_attributes() | {"genkit:output": text}, {f"OPENINFERENCE_HIDE_{switch}": "true"})
    side, part = ("input", "lunch?") if switch.startswith("INPUT") else ("output", "answer")
    messages = {name: value for name, value in found.items() if name.startswith(f"llm.{side}_messages")}
    assert not any(part in str(value) for value in messages.values())
    assert (found[f"{side}.value"] == HIDDEN) == (switch in ("INPUTS", "OUTPUTS"))
    assert bool(messages) == switch.endswith("TEXT")


def test_writers_are_chosen_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    attributes = {"genkit:type": "action", "gen_ai.request.model": "m"}
    assert chosen_writers() == ("genkit", "gen_ai")
    monkeypatch.setenv("GENKIT_RAG_SPAN_WRITERS", " openinference , ")
    assert chosen_writers() == ("genkit", "openinference")
    assert set(written(attributes, chosen_writers())) == {"genkit:type", "openinference.span.kind"}
    assert written(attributes, ["genkit", "gen_ai"]) == attributes
    assert written({"http.method": "GET"}, ["openinference"]) == {"http.method": "GET"}
    monkeypatch.setenv("GENKIT_RAG_SPAN_WRITERS", "genkitt")
    with pytest.raises(GenkitError, match="writers"):
        chosen_writers()


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["model", "retriever", "reranker", "tool", "embedder", "flow"]),
    st.recursive(
        st.none() | st.integers() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["messages", "message", "documents", "content", "query", "options", "metadata", "k"]),
                inner,
            )
        ),
    ),
)
def test_no_content_breaks_a_writer(kind: str, value: Any) -> None:
    text = json.dumps(value)
    attributes = {
        "genkit:type": "action",
        "genkit:metadata:subtype": kind,
        "genkit:input": text,
        "genkit:output": text,
    }
    assert openinference(attributes, {})["input.value"] == text
