"""What comes in over HTTP: Genkit's JSON, OTLP in both encodings, and what attributes mean."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genkit_rag._server.guard import Guard, new_token
from genkit_rag._server.telemetry import StoreLimits, TraceStore, derive
from genkit_rag._server.telemetry.otlp import parse_json, parse_protobuf, to_spans
from tests.server.asgi import HOST, Reply, call, request, scope_of
from tests.server.hostile import assert_hostile_requests_are_refused
from tests.server.spans import NOW, TRACE, span, trace_id, trace_json

pytest.importorskip("starlette")
pytest.importorskip("opentelemetry.proto")

from genkit_rag._server.telemetry.app import telemetry_app, telemetry_policy
from genkit_rag._server.telemetry.live import QUEUE_EVENTS, Hub

SCHEMA = Path(os.environ.get("GENKIT_RAG_SPECS", Path(__file__).parents[3] / "shared" / "specs")) / "genkit-schema.json"
PROTOBUF = [("Content-Type", "application/x-protobuf")]
JSON = [("Content-Type", "application/json")]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TraceStore]:
    made = TraceStore(tmp_path / "t.db", StoreLimits(max_age_days=1e6))
    yield made
    made.close()


@pytest.fixture
def app(store: TraceStore) -> Guard:
    return telemetry_app(store)


async def post(app: Guard, body: Any, path: str = "/api/traces", headers: Any = JSON) -> Reply:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await request(app, "POST", path, list(headers), raw)


async def get(app: Guard, path: str) -> Any:
    reply = await request(app, "GET", path)
    assert reply.status == 200, reply
    return json.loads(reply.body) if reply.body.startswith((b"{", b"[")) else reply.body


@pytest.mark.parametrize("token", [None, new_token()], ids=["no token", "token"])
async def test_every_route_refuses_the_hostile_page(store: TraceStore, token: str | None) -> None:
    assert await assert_hostile_requests_are_refused(telemetry_app(store, telemetry_policy(token))) > 2000
    assert store.stats()["traces"] == 0


async def test_reading_changes_nothing(app: Guard, store: TraceStore) -> None:
    await post(app, trace_json(span(0, end=1)))
    before = store.path.read_bytes(), store.load_json(TRACE), store.stats()
    for path in (
        "/api/traces",
        f"/api/traces/{TRACE}",
        "/api/__health",
        "/api/logs",
        "/api/__quitquitquit",
        "/api/otlp",
    ):
        for method in ("GET", "HEAD"):
            await request(app, method, path)
    assert (store.path.read_bytes(), store.load_json(TRACE), store.stats()) == before


async def test_genkits_posts_are_kept_and_listed_as_genkit_lists_them(app: Guard) -> None:
    root = span(0, end=9, name="menu", genkit__name="menu", genkit__type="action", genkit__output="x" * 2000)
    assert (await post(app, trace_json(root, span(1, parent=0, end=5)))).body == b"OK"
    listed = await get(app, "/api/traces?limit=5")
    assert list(listed) == ["traces"]
    assert list(listed["traces"][0]["spans"]) == [root.span_id]
    assert listed["traces"][0]["spans"][root.span_id]["attributes"]["genkit:output"] == "x" * 1000 + "..."
    whole = await get(app, f"/api/traces/{TRACE}")
    assert whole["spans"][root.span_id] == root.to_wire()
    assert len(whole["spans"]) == 2
    assert await get(app, f"/api/traces/{trace_id(9)}") == b"", "an unknown trace is an empty answer"
    assert await get(app, "/api/__health") == b"OK"
    assert await get(app, f"/api/traces/{TRACE}/logs") == {"logs": []}


def trace_schema() -> dict[str, Any]:
    if not SCHEMA.is_file():
        pytest.skip(f"{SCHEMA} is not there: set GENKIT_RAG_SPECS to the folder of genkit-schema.json")
    return {"$ref": "#/$defs/TraceData", "$defs": json.loads(SCHEMA.read_text())["$defs"]}


async def test_our_traces_are_valid_by_genkits_schema(app: Guard) -> None:
    schema = trace_schema()
    links = [{"context": {"traceId": trace_id(4), "spanId": "1" * 16, "traceFlags": 1}, "attributes": {"a": 1}}]
    await post(app, trace_json(span(0, end=3, error="e"), span(1, parent=0, links=links)))
    await post(app, otlp_request([otlp_span(2, events=True)]), "/v1/traces")
    whole = await get(app, f"/api/traces/{TRACE}")
    assert len(whole["spans"]) == 3
    jsonschema.validate(whole, schema)
    assert "null" not in json.dumps(whole)


async def test_what_older_and_careless_senders_post_is_understood(app: Guard) -> None:
    raw = trace_json(span(0, end=1))
    one = next(iter(raw["spans"].values()))
    one |= {"parentSpanId": None, "spanKind": 2, "displayName": None, "attributes": {"a": None, "b": 1}, "unknown": 1}
    del one["instrumentationLibrary"], one["endTime"]
    assert (await post(app, raw)).status == 200
    stored = (await get(app, f"/api/traces/{TRACE}"))["spans"][one["spanId"]]
    assert stored["spanKind"] == "SERVER"
    assert stored["attributes"] == {"b": 1}
    assert stored["endTime"] == 0
    assert "parentSpanId" not in stored


@pytest.mark.parametrize(
    "change",
    [
        {"traceId": "../../etc/passwd"},
        {"traceId": "A" * 32},
        {"traceId": "0" * 31},
        {"traceId": ["0" * 32]},
        {"traceId": trace_id(5)},
        {"spanId": "x"},
        {"spanId": "1" * 16},
        {"startTime": -1},
        {"startTime": "now"},
        {"startTime": 1e300},
        {"attributes": [1]},
        {"spanKind": {}},
        {"parentSpanId": "'; DROP TABLE spans; --"},
    ],
    ids=str,
)
async def test_a_malformed_span_is_refused_whole(app: Guard, store: TraceStore, change: dict[str, Any]) -> None:
    raw = trace_json(span(0, end=1))
    next(iter(raw["spans"].values())).update(change)
    reply = await post(app, raw)
    assert reply.status == 400
    assert b"DROP" not in reply.body
    assert store.stats()["traces"] == 0


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"1", b'"x"', b'{"traceId":"\xff"}', b'{"spans":{}}', b"\xef\xbb\xbf{}"]
)
async def test_a_body_that_is_no_trace_is_refused(app: Guard, body: bytes) -> None:
    for path in ("/api/traces", "/v1/traces"):
        reply = await post(app, body, path)
        assert reply.status == 400 or (path == "/v1/traces" and body == b'{"spans":{}}')


async def test_text_that_is_no_unicode_is_refused_or_kept_but_never_an_error(app: Guard) -> None:
    raw = json.dumps(trace_json(span(0, end=1, a="MARK"))).replace("MARK", "\\ud800").encode()
    assert (await post(app, raw)).status in (200, 400)
    otlp = json.dumps(otlp_request([otlp_span(0)])).replace("said", "\\ud800").encode()
    assert (await post(app, otlp, "/v1/traces")).status in (200, 400)


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=x",
        "limit=1e9",
        "limit=nan",
        "continuationToken=x",
        "filter={",
        'filter={"eq":{"no":1}}',
        "minLatency=inf",
    ],
)
async def test_a_list_that_cannot_be_made_is_an_error_that_says_why(app: Guard, query: str) -> None:
    reply = await request(app, "GET", f"/api/traces?{query}")
    assert reply.status == 400
    assert set(json.loads(reply.body)) >= {"code", "message"}


async def test_the_lists_own_parameters(app: Guard) -> None:
    for n in range(5):
        await post(
            app,
            trace_json(span(0, trace=trace_id(n), at=n, end=n * 10, genkit__name=f"a{n}", genkit__input=f"say w{n}")),
        )
    found = await get(app, "/api/traces?view=summary&q=say&minLatency=17&limit=1")
    assert [one["name"] for one in found["traces"]] == ["a4"]
    following = await get(
        app, f"/api/traces?view=summary&minLatency=17&limit=1&continuationToken={found['continuationToken']}"
    )
    assert [one["name"] for one in following["traces"]] == ["a3"]
    assert [one["name"] for one in (await get(app, "/api/traces?view=summary&name=a2&scope=any"))["traces"]] == ["a2"]


async def test_a_trace_is_deleted(app: Guard) -> None:
    await post(app, trace_json(span(0, end=1)))
    assert (await request(app, "DELETE", f"/api/traces/{TRACE}", list(JSON))).status == 200
    assert (await request(app, "DELETE", f"/api/traces/{TRACE}", list(JSON))).status == 404
    assert (await request(app, "DELETE", "/api/traces/..%2f..", list(JSON))).status == 400


# -- OTLP


def otlp_span(number: int, *, events: bool = False, **more: Any) -> dict[str, Any]:
    raw: dict[str, Any] = {
        "traceId": TRACE.upper(),
        "spanId": format(number + 1, "016X"),
        "name": f"GET /{number}",
        "kind": 3,
        "startTimeUnixNano": str(int(NOW) * 10**6 + 1_500_000),
        "endTimeUnixNano": str(int(NOW) * 10**6 + 9_000_000),
        "attributes": [{"key": "said", "value": {"stringValue": "hello"}}],
        "status": {"code": 2, "message": "bad"},
    }
    if events:
        raw["events"] = [
            {
                "timeUnixNano": str(int(NOW) * 10**6),
                "name": "exception",
                "attributes": [{"key": "exception.message", "value": {"stringValue": "boom"}}],
            }
        ]
        raw["links"] = [{"traceId": trace_id(3), "spanId": "2" * 16}]
    return raw | more


def otlp_request(spans: list[dict[str, Any]]) -> dict[str, Any]:
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {"name": "lib"}, "spans": spans}]}]}


def protobuf_of(request: dict[str, Any]) -> bytes:
    """The same request in protobuf: protobuf's own JSON mapping has ids in base64."""
    from google.protobuf.json_format import ParseDict
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    copied = json.loads(json.dumps(request))
    for resource in copied["resourceSpans"]:
        for scoped in resource["scopeSpans"]:
            for raw in scoped["spans"]:
                for holder in (raw, *raw.get("links", ())):
                    for name in {"traceId", "spanId", "parentSpanId"} & holder.keys():
                        holder[name] = base64.b64encode(bytes.fromhex(holder[name])).decode()
    return bytes(ParseDict(copied, ExportTraceServiceRequest()).SerializeToString())


values = st.recursive(
    st.fixed_dictionaries({"stringValue": st.text(st.characters(codec="utf-8"), max_size=5)})
    | st.fixed_dictionaries({"boolValue": st.booleans()})
    | st.fixed_dictionaries({"intValue": st.integers(-(2**63), 2**63 - 1).map(str)})
    | st.fixed_dictionaries({"doubleValue": st.floats(allow_nan=False, allow_infinity=False)}),
    lambda inner: st.fixed_dictionaries(
        {"arrayValue": st.fixed_dictionaries({"values": st.lists(inner, min_size=1, max_size=3)})}
    ),
    max_leaves=4,
)
attributes = st.lists(
    st.fixed_dictionaries({"key": st.text(st.characters(codec="ascii"), min_size=1, max_size=5), "value": values}),
    max_size=3,
)
nanos = st.integers(1, 2**60).map(str)
spans_strategy = st.fixed_dictionaries(
    {
        "traceId": st.binary(min_size=16, max_size=16).map(bytes.hex),
        "spanId": st.binary(min_size=8, max_size=8).map(bytes.hex),
        "name": st.text(st.characters(codec="utf-8"), max_size=5),
        "startTimeUnixNano": nanos,
        "kind": st.integers(1, 5),
    },
    optional={
        "parentSpanId": st.binary(min_size=8, max_size=8).map(bytes.hex),
        "endTimeUnixNano": nanos,
        "attributes": attributes,
        "status": st.fixed_dictionaries({"code": st.integers(1, 2), "message": st.just("m")}),
        "events": st.lists(
            st.fixed_dictionaries({"name": st.just("e"), "timeUnixNano": nanos, "attributes": attributes}), max_size=2
        ),
        "links": st.lists(
            st.fixed_dictionaries({"traceId": st.just(TRACE), "spanId": st.just("1" * 16), "attributes": attributes}),
            max_size=2,
        ),
    },
)


@settings(max_examples=100, deadline=None)
@given(st.lists(spans_strategy, max_size=3))
def test_json_and_protobuf_say_the_same(spans: list[dict[str, Any]]) -> None:
    request = otlp_request(spans)
    from_json, rejected = to_spans(parse_json(json.dumps(request).encode()))
    from_protobuf, also_rejected = to_spans(parse_protobuf(protobuf_of(request), "traces"))
    assert [one.to_json() for one in from_json] == [one.to_json() for one in from_protobuf]
    assert (rejected, also_rejected) == (0, 0)
    assert len(from_json) == len(spans)


@pytest.mark.parametrize("path", ["/api/otlp", "/api/otlp/v1/traces", "/v1/traces"])
@pytest.mark.parametrize("protobuf", [False, True])
async def test_a_trace_of_any_program_shows_up(app: Guard, path: str, protobuf: bool) -> None:
    body = otlp_request([otlp_span(0, events=True), otlp_span(1, parentSpanId=format(1, "016x"))])
    if protobuf:
        reply = await post(app, gzip.compress(protobuf_of(body)), path, [*PROTOBUF, ("Content-Encoding", "gzip")])
        assert (reply.body, reply.headers["content-type"]) == (b"", "application/x-protobuf")
    else:
        reply = await post(app, body, path)
        assert json.loads(reply.body) == {}
    found = (await get(app, f"/api/traces/{TRACE}"))["spans"][format(1, "016x")]
    assert found["attributes"] == {"service.name": "shop", "said": "hello"}
    assert (found["displayName"], found["spanKind"]) == ("GET /0", "CLIENT")
    assert (found["startTime"], found["endTime"]) == (NOW + 1.5, NOW + 9)
    assert found["status"] == {"code": 2, "message": "bad"}
    assert found["timeEvents"]["timeEvent"][0]["annotation"]["attributes"] == {"exception.message": "boom"}
    assert found["links"][0]["context"]["traceId"] == trace_id(3)
    summary = (await get(app, "/api/traces?view=summary"))["traces"][0]
    assert (summary["name"], summary["kind"], summary["status"], summary["spans"]) == ("GET /0", "span", "error", 2)


async def test_wrong_spans_are_counted_and_the_others_kept(app: Guard, store: TraceStore) -> None:
    bad = [otlp_span(1, traceId="zz"), otlp_span(2, startTimeUnixNano="x"), otlp_span(3, spanId="")]
    reply = await post(app, otlp_request([otlp_span(0), *bad]), "/v1/traces")
    assert json.loads(reply.body)["partialSuccess"]["rejectedSpans"] == "3"
    assert store.stats()["spans"] == 1


async def test_logs_and_metrics_are_accepted_dropped_and_counted(app: Guard, store: TraceStore) -> None:
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
        ExportLogsServiceRequest,
        ExportLogsServiceResponse,
    )

    logs = {"resourceLogs": [{"scopeLogs": [{"logRecords": [{}, {}]}]}]}
    said = json.loads((await post(app, logs, "/v1/logs")).body)["partialSuccess"]
    assert (said["rejectedLogRecords"], "dropped" in said["errorMessage"]) == ("2", True)
    metrics = {
        "resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "m", "sum": {"dataPoints": [{}, {}, {}]}}]}]}]
    }
    said = json.loads((await post(app, metrics, "/api/otlp/v1/metrics")).body)["partialSuccess"]
    assert said["rejectedDataPoints"] == "3"
    message = ExportLogsServiceRequest()
    message.resource_logs.add().scope_logs.add().log_records.add().severity_text = "INFO"
    reply = await post(app, message.SerializeToString(), "/v1/logs", PROTOBUF)
    assert ExportLogsServiceResponse.FromString(reply.body).partial_success.rejected_log_records == 1
    assert store.stats()["spans"] == 0


async def test_protobuf_that_is_none_and_json_that_is_no_request_are_refused(app: Guard) -> None:
    assert (await post(app, b"\xff\xff\xff", "/v1/traces", PROTOBUF)).status == 400
    assert (await post(app, b"\x0a" * 500_000, "/v1/traces", PROTOBUF)).status == 400
    assert (await post(app, b"{}", "/api/traces", PROTOBUF)).status == 415
    for odd in (
        {"resourceSpans": 1},
        {"resourceSpans": [{"scopeSpans": {"spans": 5}}]},
        {"resourceSpans": [None, {"resource": []}]},
    ):
        assert (await post(app, odd, "/v1/traces")).status == 200


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "key",
                        "value",
                        "stringValue",
                        "intValue",
                        "arrayValue",
                        "values",
                        "kvlistValue",
                        "traceId",
                        "attributes",
                        "events",
                        "links",
                        "status",
                        "kind",
                    ]
                ),
                inner,
                max_size=3,
            )
        ),
    )
)
def test_no_json_breaks_the_otlp_reader(value: Any) -> None:
    spans, rejected = to_spans(
        otlp_request(
            [otlp_span(0, attributes=value, events=value), otlp_span(1, links=value, status=value, kind=value)]
        )
    )
    assert len(spans) + rejected == 2
    to_spans({"resourceSpans": value})


# -- what attributes mean


def test_the_attributes_of_three_conventions_mean_the_same() -> None:
    genkit = span(
        0,
        end=1,
        genkit__metadata__subtype="retriever",
        genkit__input='{"query":"q"}',
        genkit__output=json.dumps(
            {"documents": [{"content": [{"text": "Noon."}], "metadata": {"id": "a", "score": 0.5}}]}
        ),
    )
    gen_ai = span(1, end=1).model_copy(
        update={
            "attributes": {
                "gen_ai.operation.name": "retrieval",
                "gen_ai.retrieval.query.text": "q",
                "gen_ai.retrieval.documents": '[{"id": "a", "score": 0.5, "content": "Noon."}]',
            }
        }
    )
    inference = span(2, end=1).model_copy(
        update={
            "attributes": {
                "openinference.span.kind": "RETRIEVER",
                "input.value": "q",
                "retrieval.documents.0.document.id": "a",
                "retrieval.documents.0.document.score": 0.5,
                "retrieval.documents.0.document.content": "Noon.",
            }
        }
    )
    for one in (genkit, gen_ai, inference):
        view = derive.view(one)
        assert (view.kind, view.status) == ("retriever", "ok")
        assert [(d.id, d.score, d.text) for d in view.documents] == [("a", 0.5, "Noon.")]
        assert "q" in json.dumps(view.input)
        assert "Noon" in derive.searchable(one)


def test_tokens_model_and_failure_are_found() -> None:
    one = span(0, end=1, error="status text").model_copy(
        update={
            "attributes": {
                "gen_ai.operation.name": "chat",
                "gen_ai.request.model": "asked",
                "gen_ai.response.model": "m-1",
                "gen_ai.provider.name": "p",
                "gen_ai.usage.input_tokens": 7,
                "llm.token_count.completion": 3,
            }
        }
    )
    view = derive.view(one)
    assert (view.model, view.provider, view.input_tokens, view.output_tokens) == ("m-1", "p", 7, 3)
    assert (view.error, derive.tokens_of(one)) == ("status text", (7, 3))
    assert derive.tokens_of(span(0, end=1, gen_ai_DOT_usage_DOT_input_tokens=5)) == (0, 0)


_names = st.sampled_from(
    [
        "genkit:output",
        "genkit:input",
        "genkit:metadata:subtype",
        "gen_ai.usage.input_tokens",
        "gen_ai.retrieval.documents",
        "openinference.span.kind",
        "retrieval.documents.0.document.score",
        "retrieval.documents.9.document.metadata",
        "genkit:error",
        "llm.input_messages.0.message.content",
        "genkit:name",
    ]
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["documents", "content", "metadata", "text", "id", "score"]), inner)
    ),
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(_names, _json | _json.map(json.dumps)))
def test_no_attributes_break_the_view(found: dict[str, Any]) -> None:
    one = span(0, end=1, error="e").model_copy(update={"attributes": found})
    view = derive.view(one)
    assert view.input_tokens is None or view.input_tokens >= 0
    assert all(isinstance(document.score, float | None) for document in view.documents)
    assert len(derive.searchable(one)) <= derive.MAX_TEXT_CHARS
    assert not any(isinstance(n, float) and math.isnan(n) for n in derive.tokens_of(one))


# -- live


class Stream:
    """An open event stream: what arrived, and the way to leave."""

    def __init__(self, app: Guard, path: str) -> None:
        self.arrived: asyncio.Queue[Any] = asyncio.Queue()
        self._leave = asyncio.Event()
        self._first = True
        self.task = asyncio.create_task(app(scope_of("GET", path, [("Host", HOST)]), self._receive, self._send))

    async def _receive(self) -> Any:
        if self._first:
            self._first = False
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._leave.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        for block in message.get("body", b"").decode().split("\n\n"):
            for line in block.splitlines():
                if line.startswith("data: "):
                    await self.arrived.put(json.loads(line[6:]))

    async def next(self) -> Any:
        return await asyncio.wait_for(self.arrived.get(), 5)

    async def close(self) -> None:
        self._leave.set()
        await asyncio.wait_for(self.task, 5)


async def test_a_live_trace_comes_as_a_snapshot_and_then_span_by_span(app: Guard) -> None:
    await post(app, trace_json(span(0, name="root")))
    stream = Stream(app, f"/api/traces/{TRACE}/stream")
    assert (await stream.next())["traceId"] == TRACE
    await post(app, trace_json(span(1, parent=0)))
    await post(app, trace_json(span(1, parent=0, end=5)))
    await post(app, trace_json(span(1, parent=0)))  # late: says nothing new
    await post(app, trace_json(span(0, trace=trace_id(8), end=1)))  # another trace
    await post(app, trace_json(span(0, name="root", end=9)))
    events = [await stream.next() for _ in range(3)]
    assert [(one["type"], one["span"]["spanId"][-1]) for one in events] == [
        ("span_start", "2"),
        ("span_end", "2"),
        ("span_end", "1"),
    ]
    await stream.close()
    assert stream.arrived.empty()


async def test_the_live_list_has_a_summary_for_each_change(app: Guard) -> None:
    stream = Stream(app, "/api/live")
    await asyncio.sleep(0.01)
    await post(app, trace_json(span(0, end=4, genkit__name="menu")))
    event = await stream.next()
    assert (event["type"], event["trace"]["name"], event["trace"]["latency"]) == ("trace", "menu", 4)
    await request(app, "DELETE", f"/api/traces/{TRACE}", list(JSON))
    assert await stream.next() == {"type": "deleted", "traceId": TRACE}
    await stream.close()


async def test_a_listener_that_is_too_slow_is_told_and_dropped(store: TraceStore) -> None:
    hub = Hub()
    slow, quick = hub.subscribe(TRACE), hub.subscribe(TRACE)
    for n in range(QUEUE_EVENTS + 5):
        hub.saved([span(n)], [])
        if n % 100 == 0:
            assert await quick.next()
    assert slow.dropped
    assert not quick.dropped
    assert (await slow.next() or "").count("data: ") == QUEUE_EVENTS
    assert await slow.next() is None
    from genkit_rag._server.telemetry.live import EventStream

    sent: list[bytes] = []

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))

    async def stays() -> Any:
        await asyncio.sleep(60)

    await asyncio.wait_for(EventStream(hub, slow)({}, stays, send), 5)
    assert b"event: dropped" in b"".join(sent)


async def test_closing_the_guard_ends_live_streams(app: Guard) -> None:
    stream = Stream(app, "/api/live")
    await asyncio.sleep(0.01)
    await app.close(grace=0)
    await asyncio.wait_for(stream.task, 5)


async def test_the_hostile_form_of_a_stream_is_refused(app: Guard) -> None:
    scope = scope_of("GET", "/api/live", [("Host", HOST), ("Origin", "http://evil.example")])
    assert (await call(app, scope)).status == 403
