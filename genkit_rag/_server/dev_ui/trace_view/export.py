"""A trace as OTLP JSON, which any OpenTelemetry backend takes."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from genkit_rag._server.telemetry.wire import SPAN_KINDS, SpanData

Json = dict[str, Any]
_SERVICE = ("service.name", "service.namespace", "service.version")


def to_otlp(spans: Sequence[SpanData]) -> Json:
    """Convert the spans to an `ExportTraceServiceRequest`: ids in hex, times in nanoseconds as decimal strings."""
    by_scope: dict[tuple[str, str, tuple[tuple[str, str], ...]], list[SpanData]] = {}
    for span in spans:
        service = tuple((name, str(span.attributes[name])) for name in _SERVICE if name in span.attributes)
        library = span.instrumentation_library
        by_scope.setdefault((library.name, library.version or "", service), []).append(span)
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": _attributes(dict(service))},
                "scopeSpans": [
                    {
                        "scope": {"name": name, **({"version": version} if version else {})},
                        "spans": [_span(span) for span in group],
                    }
                ],
            }
            for (name, version, service), group in by_scope.items()
        ]
    }


def _span(span: SpanData) -> Json:
    found: Json = {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "name": span.display_name,
        "kind": max(SPAN_KINDS.index(span.span_kind), 1) if span.span_kind in SPAN_KINDS else 1,
        "startTimeUnixNano": _nanos(span.start_time),
        "endTimeUnixNano": _nanos(span.end_time),
        "attributes": _attributes({n: v for n, v in span.attributes.items() if n not in _SERVICE}),
    }
    if span.parent_span_id:
        found["parentSpanId"] = span.parent_span_id
    if span.status is not None:
        found["status"] = {"code": span.status.code} | ({"message": span.status.message} if span.status.message else {})
    if events := (span.time_events and span.time_events.time_event) or []:
        found["events"] = [
            {
                "timeUnixNano": _nanos(one.time),
                "name": one.annotation.description,
                "attributes": _attributes(one.annotation.attributes),
            }
            for one in events
        ]
    if links := [link for link in span.links or [] if link.context is not None]:
        found["links"] = [
            {
                "traceId": link.context.trace_id,
                "spanId": link.context.span_id,
                "attributes": _attributes(link.attributes or {}),
            }
            for link in links
            if link.context is not None
        ]
    return found


def _nanos(milliseconds: float) -> str:
    whole = int(milliseconds)  # apart: the product would not fit a float
    return str(whole * 1_000_000 + round((milliseconds - whole) * 1_000_000))


def _attributes(values: Mapping[str, Any]) -> list[Json]:
    return [{"key": name, "value": _value(value)} for name, value in values.items()]


def _value(value: Any) -> Json:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value if math.isfinite(value) else str(value)}
    if isinstance(value, bytes):
        return {"bytesValue": base64.b64encode(value).decode()}
    if isinstance(value, Mapping):
        return {"kvlistValue": {"values": _attributes({str(name): one for name, one in value.items()})}}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return {"arrayValue": {"values": [_value(one) for one in value]}}
    return {"stringValue": str(value)}
