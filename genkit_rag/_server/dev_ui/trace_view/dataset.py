"""Conversion of a span to a dataset row: input, output, and the retrieved texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from genkit_rag._server.dev_ui.trace_view.span import action_key
from genkit_rag._server.telemetry import derive
from genkit_rag._server.telemetry.wire import SpanData


def dataset_row(span: SpanData, spans: Sequence[SpanData]) -> dict[str, Any]:
    """Return `{input, output, context, traceIds, target}`; the context is the output of retrievers below the span."""
    view = derive.view(span)
    below = {span.span_id}
    texts: list[str] = []
    for one in sorted(spans, key=lambda each: each.start_time):  # a parent begins before what is below it
        if one.span_id in below or one.parent_span_id in below:
            below.add(one.span_id)
            if derive.kind_of(one) == "retriever":
                texts += [document.text for document in derive.view(one).documents if document.text]
    return {
        "input": view.input,
        "output": view.output,
        "context": texts,
        "traceIds": [span.trace_id],
        "target": action_key(span),
    }
