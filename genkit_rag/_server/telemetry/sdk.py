"""From the OpenTelemetry SDK's spans to what leaves the process: redacted, and written by the chosen writers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from genkit_rag._core.errors import require_extra
from genkit_rag._core.redact import redactor
from genkit_rag._server.telemetry.wire import SpanData
from genkit_rag._server.telemetry.writers import written

with require_extra("dev", "opentelemetry.sdk"):
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
    from opentelemetry.trace import Status


def to_span_data(span: ReadableSpan, writers: Iterable[str], redact: Callable[[Any], Any]) -> SpanData:
    """Convert an SDK span to the form for a telemetry server."""
    context = span.context
    assert context is not None
    ended = span.end_time is not None
    attributes = redact(written(span.attributes or {}, writers))
    scope = span.instrumentation_scope
    wire: dict[str, Any] = {
        "span_id": format(context.span_id, "016x"),
        "trace_id": format(context.trace_id, "032x"),
        "parent_span_id": None if span.parent is None else format(span.parent.span_id, "016x"),
        "start_time": (span.start_time or 0) / 1e6,
        "end_time": (span.end_time or 0) / 1e6,
        "attributes": attributes,
        "display_name": redact(span.name),
        "span_kind": span.kind.name,
        "instrumentation_library": {"name": scope.name if scope else "", "version": scope.version if scope else None},
    }
    if ended:
        message = redact(span.status.description or "") or None
        wire["status"] = {"code": span.status.status_code.value, "message": message}
    if events := _events(span, attributes, redact):
        wire["time_events"] = {"time_event": events}
    if span.links:
        wire["links"] = [_link(one.context, redact(dict(one.attributes or {}))) for one in span.links]
    return SpanData.model_validate(wire)


def _events(span: ReadableSpan, attributes: Mapping[str, Any], redact: Callable[[Any], Any]) -> list[dict[str, Any]]:
    events = [_event(one.timestamp, one.name, redact(dict(one.attributes or {}))) for one in span.events]
    failed = span.end_time is not None and span.status.status_code.value == 2
    if failed and not any(event.name == "exception" for event in span.events):
        # Genkit's tools read the text of a failure from here and nowhere else.
        said = attributes.get("genkit:error") or redact(span.status.description or "") or "failed"
        kind = attributes.get("error.type", "Error")
        events.append(_event(span.end_time or 0, "exception", {"exception.message": said, "exception.type": kind}))
    return events


def _event(nanos: int, name: str, attributes: dict[str, Any]) -> dict[str, Any]:
    return {"time": nanos / 1e6, "annotation": {"description": name, "attributes": attributes}}


def _link(context: Any, attributes: dict[str, Any]) -> dict[str, Any]:
    ids = {"trace_id": format(context.trace_id, "032x"), "span_id": format(context.span_id, "016x")}
    return {"context": {**ids, "trace_flags": int(context.trace_flags)}, "attributes": attributes}


class CleanExporter(SpanExporter):
    """Hands spans to another exporter, redacted and written by the chosen writers."""

    def __init__(self, inner: SpanExporter, writers: Iterable[str]) -> None:
        self._inner, self._writers = inner, tuple(writers)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Redact the spans and export them with the wrapped exporter."""
        redact = redactor()
        return self._inner.export([self._clean(span, redact) for span in spans])

    def _clean(self, span: ReadableSpan, redact: Callable[[Any], Any]) -> ReadableSpan:
        status = span.status
        return ReadableSpan(
            name=redact(span.name),
            context=span.context,
            parent=span.parent,
            resource=span.resource,
            attributes=redact(written(span.attributes or {}, self._writers)),
            events=[Event(e.name, redact(dict(e.attributes or {})), e.timestamp) for e in span.events],
            links=span.links,
            kind=span.kind,
            status=Status(status.status_code, redact(status.description) if status.description else None),
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=span.instrumentation_scope,
        )

    def shutdown(self) -> None:
        """Shuts the other exporter down."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Flush the wrapped exporter."""
        return self._inner.force_flush(timeout_millis)
