"""OTLP/HTTP: traces in JSON and in protobuf to `SpanData`, and the answers of the protocol.

The JSON mapping is that of the OpenTelemetry protocol
(https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding): camelCase names, ids in hex, 64-bit integers as
strings, enumerations as numbers.
"""

from __future__ import annotations

import base64
import importlib
import math
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from pydantic import ValidationError
from pydantic_core import from_json

from genkit_rag._core.errors import GenkitError, require_extra
from genkit_rag._server.telemetry.wire import SPAN_KINDS, SpanData

PROTOBUF = "application/x-protobuf"
Signal = Literal["traces", "logs", "metrics"]

_COUNTERS = {"traces": "rejectedSpans", "logs": "rejectedLogRecords", "metrics": "rejectedDataPoints"}
_KIND_NAMES = {name: name.removeprefix("SPAN_KIND_") for name in (f"SPAN_KIND_{kind}" for kind in SPAN_KINDS)}
_SERVICE = ("service.name", "service.namespace", "service.version")
"""The resource attributes that are copied to every span, as this store has no resources."""

_STATUS_NAMES = {"STATUS_CODE_UNSET": 0, "STATUS_CODE_OK": 1, "STATUS_CODE_ERROR": 2}


def parse_json(body: bytes) -> dict[str, Any]:
    """Parse the JSON of an OTLP request."""
    try:
        found = from_json(body)
    except ValueError:
        raise GenkitError("INVALID_ARGUMENT", "The body is not valid JSON.") from None
    if not isinstance(found, dict):
        raise GenkitError("INVALID_ARGUMENT", "The body must be an OTLP export request.")
    return found


def parse_protobuf(body: bytes, signal: Signal) -> dict[str, Any]:
    """Parse the protobuf of an OTLP request to the shape of the JSON mapping."""
    message = _message(signal, "Request")
    try:
        message.ParseFromString(body)
    except _module("google.protobuf.message").DecodeError:
        raise GenkitError("INVALID_ARGUMENT", "The body is not an OTLP protobuf message.") from None
    to_dict = _module("google.protobuf.json_format").MessageToDict
    request: dict[str, Any] = to_dict(message, use_integers_for_enums=True)
    for raw in _spans(request):  # protobuf's own mapping writes bytes in base64, OTLP's writes ids in hex
        for holder in (raw, *raw.get("links", ())):
            for name in {"traceId", "spanId", "parentSpanId"} & holder.keys():
                holder[name] = base64.b64decode(holder[name]).hex()
    return request


def to_spans(request: dict[str, Any]) -> tuple[list[SpanData], int]:
    """Convert a request to spans; also return the number of spans with an invalid id or time."""
    found: list[SpanData] = []
    rejected = 0
    for resource in _dicts(request.get("resourceSpans")):
        shared = _attributes(_dict(resource.get("resource")).get("attributes"))
        service = {name: shared[name] for name in _SERVICE if name in shared}
        for scoped in _dicts(resource.get("scopeSpans")):
            for raw in _dicts(scoped.get("spans")):
                try:
                    found.append(_span(raw, _dict(scoped.get("scope")), service))
                except (ValidationError, ValueError, TypeError, OverflowError):
                    rejected += 1
    return found, rejected


def count(request: dict[str, Any], signal: Signal) -> int:
    """Count the log records or data points of a request."""
    if signal == "logs":
        scoped = (s for r in _dicts(request.get("resourceLogs")) for s in _dicts(r.get("scopeLogs")))
        return sum(len(list(_dicts(one.get("logRecords")))) for one in scoped)
    metrics = (
        metric
        for resource in _dicts(request.get("resourceMetrics"))
        for scoped in _dicts(resource.get("scopeMetrics"))
        for metric in _dicts(scoped.get("metrics"))
    )
    return sum(len(list(_dicts(_dict(data).get("dataPoints")))) for metric in metrics for data in metric.values())


def answer(signal: Signal, rejected: int, message: str, *, protobuf: bool) -> bytes | dict[str, Any]:
    """Create the response of an export: empty for a full success, otherwise the rejected count and the reason."""
    if not protobuf:
        return {"partialSuccess": {_COUNTERS[signal]: str(rejected), "errorMessage": message}} if rejected else {}
    response = _message(signal, "Response")
    if rejected:
        name = {"traces": "rejected_spans", "logs": "rejected_log_records", "metrics": "rejected_data_points"}[signal]
        setattr(response.partial_success, name, rejected)
        response.partial_success.error_message = message
    encoded: bytes = response.SerializeToString()
    return encoded


def _message(signal: Signal, which: Literal["Request", "Response"]) -> Any:
    package, stem = {"traces": ("trace", "Trace"), "logs": ("logs", "Logs"), "metrics": ("metrics", "Metrics")}[signal]
    service = _module(f"opentelemetry.proto.collector.{package}.v1.{package}_service_pb2")
    return getattr(service, f"Export{stem}Service{which}")()


def _module(name: str) -> Any:
    require_extra("dev", "opentelemetry.proto")
    return importlib.import_module(name)


def _span(raw: dict[str, Any], scope: dict[str, Any], service: dict[str, Any]) -> SpanData:
    library = {name: scope[name] for name in ("name", "version") if scope.get(name)}
    status = _dict(raw.get("status"))
    code = status.get("code", 0)
    wire: dict[str, Any] = {
        "spanId": str(raw.get("spanId")).lower(),
        "traceId": str(raw.get("traceId")).lower(),
        "parentSpanId": str(raw.get("parentSpanId") or "").lower(),
        "startTime": _millis(raw.get("startTimeUnixNano")),
        "endTime": _millis(raw.get("endTimeUnixNano")),
        "displayName": raw.get("name"),
        "spanKind": _KIND_NAMES.get(str(raw.get("kind")), raw.get("kind", 0)),
        "attributes": service | _attributes(raw.get("attributes")),
        "instrumentationLibrary": library,
        "status": {"code": _STATUS_NAMES.get(str(code), code), "message": status.get("message") or None},
    }
    if events := [_event(one) for one in _dicts(raw.get("events"))]:
        wire["timeEvents"] = {"timeEvent": events}
    if links := [_link(one) for one in _dicts(raw.get("links"))]:
        wire["links"] = links
    return SpanData.model_validate(wire)


def _event(raw: dict[str, Any]) -> dict[str, Any]:
    said = {"description": raw.get("name", ""), "attributes": _attributes(raw.get("attributes"))}
    return {"time": _millis(raw.get("timeUnixNano")), "annotation": said}


def _link(raw: dict[str, Any]) -> dict[str, Any]:
    ids = {"traceId": str(raw.get("traceId")).lower(), "spanId": str(raw.get("spanId")).lower()}
    flags = int(raw.get("flags", 0)) & 0xFF
    return {"context": {**ids, "traceFlags": flags}, "attributes": _attributes(raw.get("attributes"))}


def _attributes(pairs: Any) -> dict[str, Any]:
    return {str(pair["key"]): _value(pair.get("value")) for pair in _dicts(pairs) if "key" in pair}


def _value(raw: Any) -> Any:
    wrapped = _dict(raw)
    if not wrapped:
        return None
    name, value = next(iter(wrapped.items()))
    if name == "intValue":
        return int(value)
    if name == "doubleValue":
        number = float(value)
        return number if math.isfinite(number) else str(number)  # JSON has no name for it
    if name == "arrayValue":
        return [_value(one) for one in _dicts(_dict(value).get("values"))]
    return _attributes(_dict(value).get("values")) if name == "kvlistValue" else value


def _millis(nanos: Any) -> float:
    return int(nanos or 0) / 1_000_000


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(value: Any) -> Iterable[dict[str, Any]]:
    return (one for one in value if isinstance(one, dict)) if isinstance(value, list) else ()


def _spans(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for resource in _dicts(request.get("resourceSpans")):
        for scoped in _dicts(resource.get("scopeSpans")):
            yield from _dicts(scoped.get("spans"))
