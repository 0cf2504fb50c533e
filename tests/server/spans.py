"""Spans to post: plain data with made-up but valid ids."""

from __future__ import annotations

from typing import Any

from genkit_rag._server.telemetry.wire import SpanData

TRACE = "0af7651916cd43dd8448eb211c80319c"
NOW = 1_800_000_000_000.0
"""Milliseconds; the tests' stores do not remove by age unless they say so."""


def trace_id(number: int) -> str:
    return format(number, "032x")


def span(
    number: int,
    *,
    trace: str = TRACE,
    parent: int | None = None,
    at: float = 0,
    end: float | None = None,
    name: str = "",
    error: str | None = None,
    links: Any = None,
    **attributes: Any,
) -> SpanData:
    """Returns a span that starts `at` ms after NOW; `end` None means that it runs."""
    named = {key.replace("__", ":").replace("_DOT_", "."): value for key, value in attributes.items()}
    wire: dict[str, Any] = {
        "spanId": format(number + 1, "016x"),
        "traceId": trace,
        "startTime": NOW + at,
        "endTime": 0 if end is None else NOW + end,
        "attributes": named,
        "displayName": name or f"span {number}",
        "instrumentationLibrary": {"name": "tests"},
        "spanKind": "INTERNAL",
    }
    if links is not None:
        wire["links"] = links
    if parent is not None:
        wire["parentSpanId"] = format(parent + 1, "016x")
    if end is not None:
        wire["status"] = {"code": 2, "message": error} if error else {"code": 0}
    return SpanData.model_validate(wire)


def trace_json(*spans: SpanData) -> dict[str, Any]:
    return {"traceId": spans[0].trace_id, "spans": {one.span_id: one.to_wire() for one in spans}}
