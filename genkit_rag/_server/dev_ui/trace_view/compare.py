"""Comparison of two traces: aligned spans, and differences of their inputs and outputs."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from genkit_rag._server.dev_ui.formats import pretty
from genkit_rag._server.dev_ui.trace_view.tree import Row, Tree
from genkit_rag._server.telemetry import derive
from genkit_rag._server.telemetry.wire import SpanData

MAX_LINES = 2_000
"""Of each side that are compared line by line."""

Line = tuple[str, str]


@dataclass(frozen=True)
class Pair:
    """One line of the comparison: a span of each trace, or of one only.

    Attributes:
        change: The additional milliseconds of the second span; None if one is missing or running.
        lines: The differences of the outputs: `(add | remove | same | gap, text)`; empty if they are equal.
    """

    left: Row | None
    right: Row | None
    change: float | None
    lines: list[Line]

    @property
    def verdict(self) -> str:
        """`only left`, `only right`, `same` or `changed`."""
        if self.left is None or self.right is None:
            return "only right" if self.left is None else "only left"
        return "changed" if self.lines or self.left.status != self.right.status else "same"


@dataclass(frozen=True)
class Comparison:
    """Two traces compared: their spans, and the input of both."""

    pairs: list[Pair]
    input_lines: list[Line]

    @property
    def changed(self) -> int:
        """How many spans are not the same."""
        return sum(pair.verdict != "same" for pair in self.pairs)


def compare(left: tuple[Tree, Sequence[SpanData]], right: tuple[Tree, Sequence[SpanData]]) -> Comparison:
    """Compare two traces, aligned by depth, kind and name of their spans."""
    ours, theirs = ({span.span_id: derive.view(span) for span in side[1]} for side in (left, right))
    pairs: list[Pair] = []
    for one, other in _aligned(left[0].rows, right[0].rows):
        lines: list[Line] = []
        change = None
        if one is not None and other is not None:
            lines = diff(_said(ours[one.span_id]), _said(theirs[other.span_id]))
            if one.latency is not None and other.latency is not None:
                change = other.latency - one.latency
        pairs.append(Pair(one, other, change, lines))
    first, second = ours[left[0].rows[0].span_id], theirs[right[0].rows[0].span_id]
    return Comparison(pairs, diff(first.input, second.input))


def diff(left: Any, right: Any) -> list[Line]:
    """Return the lines of a unified diff of two values as JSON; empty if they are equal."""
    if left == right:
        return []
    sides = [(one if isinstance(one, str) else pretty(one)).splitlines()[:MAX_LINES] for one in (left, right)]
    names = {"+": "add", "-": "remove", " ": "same", "@": "gap"}
    found = [line for line in difflib.unified_diff(sides[0], sides[1], lineterm="", n=2)][2:]
    return [(names.get(line[:1], "same"), line if line.startswith("@@") else line[1:]) for line in found]


def _said(view: derive.SpanView) -> Any:
    return {"error": view.error} if view.error is not None else view.output


def _aligned(left: list[Row], right: list[Row]) -> list[tuple[Row | None, Row | None]]:
    names = [[(row.depth, row.kind, row.name) for row in side] for side in (left, right)]
    pairs: list[tuple[Row | None, Row | None]] = []
    for _, a, b, c, d in difflib.SequenceMatcher(None, names[0], names[1], autojunk=False).get_opcodes():
        if names[0][a:b] == names[1][c:d]:
            pairs += zip(left[a:b], right[c:d], strict=True)
        else:
            pairs += [(row, None) for row in left[a:b]] + [(None, row) for row in right[c:d]]
    return pairs
