"""One span with all that is known of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from genkit_rag._server.dev_ui.trace_view.documents import DocumentTable, document_table
from genkit_rag._server.telemetry import derive
from genkit_rag._server.telemetry.derive import SpanView
from genkit_rag._server.telemetry.wire import SpanData

_COSTS = ("gen_ai.usage.cost", "llm.cost.total", "genkit:cost")
_CONTENT = ("genkit:input", "genkit:output", "input.value", "output.value")


@dataclass(frozen=True)
class Event:
    """Something that happened in a span; `after` is in milliseconds from its start."""

    name: str
    after: float
    attributes: dict[str, Any]


@dataclass(frozen=True)
class Turn:
    """One message of a conversation: text, and the other parts as they are."""

    role: str
    text: str
    others: list[Any]


@dataclass(frozen=True)
class SpanDetail:
    """The content of the span panel.

    Attributes:
        view: Name, kind, status, input, output, model, tokens, error.
        key: The key of its action, `/<kind>/<name>`; None if it is not an action.
        latency: Milliseconds; None while it runs.
        cost: In US dollars, if a span reports it.
        stack: The stack trace of its failure.
        documents: The documents of a retriever or a reranker.
        turns: The messages of a model's request and its answer.
        attributes: The remaining attributes.
    """

    span: SpanData
    view: SpanView
    key: str | None
    latency: float | None
    cost: float | None
    stack: str | None
    documents: DocumentTable | None
    turns: list[Turn]
    attributes: dict[str, Any]
    events: list[Event]

    @property
    def replay(self) -> str:
        """The recorded input as JSON, to run the action again with; empty where it was cut or not recorded."""
        value = self.view.input
        cut = isinstance(value, str) and value.endswith("…")
        return "" if value is None or cut else json.dumps(value, indent=2, ensure_ascii=False)


def span_detail(span: SpanData, spans: Sequence[SpanData]) -> SpanDetail:
    """Return the details of a span; `spans` are those of its trace."""
    view = derive.view(span)
    events = [
        Event(one.annotation.description or "event", one.time - span.start_time, dict(one.annotation.attributes))
        for one in (span.time_events and span.time_events.time_event) or []
    ]
    stacks = (event.attributes.get("exception.stacktrace") for event in events)
    return SpanDetail(
        span,
        view,
        action_key(span),
        span.end_time - span.start_time if span.end_time else None,
        _cost(span),
        next((str(stack) for stack in stacks if stack), None),
        document_table(span, view, spans),
        _turns(view) if view.kind in ("model", "background-model") else [],
        {name: value for name, value in sorted(span.attributes.items()) if name not in _CONTENT},
        events,
    )


def action_key(span: SpanData) -> str | None:
    """Return the key of the span's action; None if it is not an action."""
    key = span.attributes.get("genkit:key")
    if isinstance(key, str) and key.startswith("/") and key.count("/") >= 2:
        return key
    kind = span.attributes.get("genkit:metadata:subtype")
    return f"/{kind}/{derive.name_of(span)}" if isinstance(kind, str) and kind else None


def _cost(span: SpanData) -> float | None:
    values = (span.attributes.get(name) for name in _COSTS)
    return next((float(one) for one in values if isinstance(one, int | float) and not isinstance(one, bool)), None)


def _turns(view: SpanView) -> list[Turn]:
    request = cast(Mapping[str, Any], view.input) if isinstance(view.input, Mapping) else {}
    response = cast(Mapping[str, Any], view.output) if isinstance(view.output, Mapping) else {}
    given = request.get("messages")
    messages = [*(given if isinstance(given, list) else []), response.get("message")]
    return [_turn(one) for one in messages if isinstance(one, Mapping) and isinstance(one.get("content"), list)]


def _turn(message: Mapping[str, Any]) -> Turn:
    parts = [part for part in message["content"] if isinstance(part, Mapping)]
    text = "\n\n".join(part["text"] for part in parts if isinstance(part.get("text"), str))
    return Turn(str(message.get("role", "")), text, [part for part in parts if not isinstance(part.get("text"), str)])
