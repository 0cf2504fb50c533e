"""Truncation of spans to quotas, with a mark."""

from __future__ import annotations

import json
from typing import Any

from genkit_rag._server.telemetry.wire import Annotation, SpanData, TimeEvent, TimeEvents

MAX_ATTRIBUTES, MAX_EVENTS, MAX_LINKS, MAX_NAME_CHARS = 1000, 1000, 100, 1000


def cut_span(span: SpanData, attribute_bytes: int) -> tuple[SpanData, str]:
    """Truncate a span to its quotas, mark it `truncated` if needed, and return it with its JSON."""
    data = span.to_json()
    # Nothing in it can be longer than the whole: most spans are done here.
    if len(data) <= attribute_bytes and len(span.attributes) <= MAX_ATTRIBUTES and _few(span):
        return span, data
    events = (span.time_events and span.time_events.time_event) or []
    kept = [
        TimeEvent(
            time=event.time,
            annotation=Annotation(
                attributes=_cut(event.annotation.attributes, attribute_bytes),
                description=event.annotation.description[:MAX_NAME_CHARS],
            ),
        )
        for event in events[:MAX_EVENTS]
    ]
    shorter = span.model_copy(
        update={
            "attributes": _cut(span.attributes, attribute_bytes),
            "time_events": TimeEvents(time_event=kept) if kept else None,
            "links": span.links[:MAX_LINKS] if span.links else None,
            "display_name": span.display_name[:MAX_NAME_CHARS],
        }
    )
    if shorter == span:
        return span, data
    shorter = shorter.model_copy(update={"truncated": True})
    return shorter, shorter.to_json()


def _few(span: SpanData) -> bool:
    events = span.time_events and span.time_events.time_event
    few = len(events or ()) <= MAX_EVENTS and len(span.links or ()) <= MAX_LINKS
    return few and len(span.display_name) <= MAX_NAME_CHARS


def _cut(attributes: dict[str, Any], limit: int) -> dict[str, Any]:
    first = list(attributes.items())[:MAX_ATTRIBUTES]
    return {name[:MAX_NAME_CHARS]: _short(value, limit) for name, value in first}


def _short(value: Any, limit: int) -> Any:
    if isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if len(text) <= limit // 4:  # four bytes are the most that a character takes
        return value
    raw = text.encode()
    return value if len(raw) <= limit else raw[:limit].decode(errors="ignore") + "…"
