"""Traces for people: a table of them, and one as a tree."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from genkit_rag._cli.output import Output, clean, one_line

if TYPE_CHECKING:
    from rich.text import Text

    from genkit_rag._server.telemetry import TraceSummary
    from genkit_rag._server.telemetry.wire import SpanData

MAX_DEPTH = 40
"""Deeper spans are shown at this depth, so that a hostile trace does not push its text off the screen."""

MAX_CONTENT = 2000
"""Characters of an input or an output."""

_STYLES = {"ok": "green", "error": "bold red", "running": "yellow"}


def milliseconds(value: float | None) -> str:
    """Format a duration; `running` for None."""
    if value is None:
        return "running"
    if value < 1000:
        return f"{value:.1f} ms" if value < 10 else f"{value:.0f} ms"
    return f"{value / 1000:.2f} s" if value < 60_000 else f"{value / 60_000:.1f} min"


def tokens(into: int | None, out: int | None) -> str:
    """Format tokens as `12 in, 40 out`; empty without any."""
    return f"{into or 0:,} in, {out or 0:,} out" if into or out else ""


def when(start: float) -> str:
    """Format epoch milliseconds as local date and time."""
    try:
        return datetime.fromtimestamp(start / 1000).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):  # a foreign program's clock
        return "?"


def show_list(traces: Sequence[TraceSummary], out: Output) -> None:
    """Print a table of traces."""
    rows = [
        [
            one.trace_id,
            when(one.start),
            one.status,
            milliseconds(one.latency),
            f"{one.kind} {one_line(one.name)}",
            f"{one.spans:,}",
            tokens(one.input_tokens, one.output_tokens),
        ]
        for one in traces
    ]
    out.table(["trace", "began", "status", "took", "what", "spans", "tokens"], rows)


def trace_line(one: TraceSummary) -> Text:
    """Format a trace on one line."""
    from rich.text import Text

    facts = [milliseconds(one.latency), f"{one.spans} spans", tokens(one.input_tokens, one.output_tokens)]
    return Text.assemble(
        (when(one.start)[11:], "dim"),
        "  ",
        (one.status.ljust(7), _STYLES.get(one.status, "")),
        " ",
        (f"{one_line(one.kind)} ", "dim"),
        (one_line(one.name), "bold"),
        "  ",
        ", ".join(filter(None, facts)),
        "  ",
        (one.trace_id, "dim"),
    )


def show_trace(trace_id: str, spans: Sequence[SpanData], out: Output, *, contents: bool) -> None:
    """Print a trace as a tree."""
    from rich.text import Text

    first = min(span.start_time for span in spans)
    out.show(Text.assemble(("trace ", "dim"), (trace_id, "bold"), (f"  {when(first)}, {len(spans)} spans", "dim")))
    for span, lead, depth in _tree(spans):
        out.show(_span_line(span, lead))
        if contents:
            _show_contents(span, depth, out)


def _tree(spans: Sequence[SpanData]) -> Iterator[tuple[SpanData, str, int]]:
    """Yield each span once with its tree lines, parents first, for any parent ids."""
    known = {span.span_id for span in spans}
    children: dict[str | None, list[SpanData]] = {}
    for span in sorted(spans, key=lambda one: one.start_time):
        parent = span.parent_span_id if span.parent_span_id in known else None
        children.setdefault(parent, []).append(span)
    seen: set[str] = set()

    def below(roots: list[SpanData]) -> Iterator[tuple[SpanData, str, int]]:
        # Use an explicit stack: a trace may be deeper than Python's.
        stack = [(span, "", "", 0) for span in reversed(roots)]
        while stack:
            span, lead, rest, depth = stack.pop()
            if span.span_id in seen:
                continue
            seen.add(span.span_id)
            yield span, lead, depth
            inner = children.get(span.span_id, [])
            deeper = depth < MAX_DEPTH
            for number, child in reversed(list(enumerate(inner))):
                last = number == len(inner) - 1
                branch = rest + ("└─ " if last else "├─ ") if deeper else lead
                stack.append((child, branch, rest + ("   " if last else "│  ") if deeper else rest, depth + 1))

    yield from below(children.get(None, []))
    for span in spans:  # parents in a circle
        if span.span_id not in seen:
            yield from below([span])


def _span_line(span: SpanData, lead: str) -> Text:
    from rich.text import Text

    from genkit_rag._server.telemetry import derive

    seen = derive.view(span)
    took = milliseconds(span.end_time - span.start_time if span.end_time else None)
    facts = [took, one_line(seen.model or ""), tokens(seen.input_tokens, seen.output_tokens)]
    if seen.documents:
        facts.append(f"{len(seen.documents)} documents")
    line = Text.assemble(
        lead, (f"{one_line(seen.kind)} ", "dim"), (one_line(seen.name), "bold"), "  ", ", ".join(filter(None, facts))
    )
    if seen.status != "ok" and seen.status != "running":
        line.append(f"  {seen.status}: {one_line(seen.error or '')}", style="bold red")
    return line


def _show_contents(span: SpanData, depth: int, out: Output) -> None:
    from rich.text import Text

    from genkit_rag._server.telemetry import derive

    seen = derive.view(span)
    for name, value in (("in", seen.input), ("out", seen.output)):
        if value is not None:
            out.show(Text.assemble((f"{name}: ", "dim"), _content(value)), indent=3 * min(depth, MAX_DEPTH) + 3)


def _content(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return one_line(clean(text[:MAX_CONTENT])) + (" ..." if len(text) > MAX_CONTENT else "")
