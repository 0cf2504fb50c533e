"""The spans of a trace as the rows of a tree with a waterfall."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from genkit_rag._server.telemetry import derive
from genkit_rag._server.telemetry.wire import SpanData

BARS = ("flow", "model", "retriever", "reranker", "embedder", "tool")
_LIKE = {
    "flowStep": "flow",
    "agent": "flow",
    "background-model": "model",
    "indexer": "retriever",
    "tool.v2": "tool",
    "executable-prompt": "flow",
}
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Row:
    """A span in the tree.

    Attributes:
        depth: 0 for a root.
        left: Where its bar begins, in percent of the trace's time.
        width: How long its bar is, in percent.
        latency: Milliseconds; None while it runs.
        parent: Whether spans stand below it.
    """

    span_id: str
    name: str
    kind: str
    status: str
    depth: int
    left: float
    width: float
    latency: float | None
    tokens: int
    parent: bool

    @property
    def bar(self) -> str:
        """The colour of its bar."""
        kind = _LIKE.get(self.kind, self.kind)
        return kind if kind in BARS else "other"

    @property
    def version(self) -> str:
        """Changes when the row has to be drawn again."""
        return f"{self.status} {self.left:.2f} {self.width:.2f} {self.parent} {self.tokens}"


@dataclass(frozen=True)
class Tree:
    """A trace as a page shows it.

    Attributes:
        rows: The spans, each below its parent, in the order of their start.
        start: Milliseconds since the epoch.
        duration: Milliseconds from the first start to the last end.
        ticks: Milliseconds at a quarter, a half, three quarters and the end.
    """

    rows: list[Row]
    start: float
    duration: float
    ticks: list[float]
    status: str
    name: str
    kind: str
    input_tokens: int
    output_tokens: int
    errors: int

    @property
    def span_ids(self) -> list[str]:
        """The ids of the rows."""
        return [row.span_id for row in self.rows]


def make_tree(spans: Sequence[SpanData], now: float) -> Tree:
    """Build the tree of at least one span; a span with a missing parent, or in a cycle, is a root.

    `now` is where a running span ends, in milliseconds since the epoch.
    """
    start = min(span.start_time for span in spans)
    end = max(span.end_time or now for span in spans)
    duration = max(end - start, 1e-3)
    ordered = _in_order(spans)
    inner = {span.parent_span_id for span, depth in ordered if depth}
    rows = [_row(span, depth, span.span_id in inner, (start, duration, now)) for span, depth in ordered]
    tokens = [derive.tokens_of(span) for span in spans]
    return Tree(
        rows,
        start,
        duration,
        [share * duration for share in SHARES],
        rows[0].status,
        rows[0].name,
        rows[0].kind,
        sum(pair[0] for pair in tokens),
        sum(pair[1] for pair in tokens),
        sum(row.status == "error" for row in rows),
    )


def _in_order(spans: Sequence[SpanData]) -> list[tuple[SpanData, int]]:
    """Return the spans with their depths, iteratively, since foreign traces may be deep or cyclic."""
    by_id = {span.span_id: span for span in spans}
    below: dict[str, list[SpanData]] = {}
    roots: list[SpanData] = []
    for span in sorted(spans, key=lambda one: (one.start_time, one.span_id), reverse=True):
        parent = span.parent_span_id
        (below.setdefault(parent, []) if parent in by_id and parent != span.span_id else roots).append(span)
    found: list[tuple[SpanData, int]] = []
    seen: set[str] = set()
    # Spans in a ring hang below no root: each that is not reached yet becomes one.
    for first in [*reversed(roots), *spans]:
        pending = [(first, 0)]
        while pending:
            span, depth = pending.pop()
            if span.span_id in seen:
                continue
            seen.add(span.span_id)
            found.append((span, depth))
            pending += [(child, depth + 1) for child in below.get(span.span_id, ())]
    return found


def _row(span: SpanData, depth: int, parent: bool, scale: tuple[float, float, float]) -> Row:
    start, duration, now = scale
    end = span.end_time or now
    left = 100 * (span.start_time - start) / duration
    width = min(100 * max(end - span.start_time, 0) / duration, 100 - left)
    return Row(
        span.span_id,
        derive.name_of(span),
        derive.kind_of(span),
        derive.status_of(span),
        depth,
        left,
        width,
        span.end_time - span.start_time if span.end_time else None,
        sum(derive.tokens_of(span)),
        parent,
    )
