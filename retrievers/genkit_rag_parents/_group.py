"""Which hits belong together, and which chunks they need."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import Any

from genkit_rag.plugin_api import And, Compare, Document, Filter
from genkit_rag_parents._stitch import Piece, piece_of

POSITION_FIELDS = (
    "chunk",
    "start",
    "end",
    "prefix",
    "heading_path",
    "page",
    "chapter",
    "title",
    "parent",
    "embedMetadata",
)
"""Metadata that may differ between the chunks of one parent; in everything else, `source` first, they are equal."""

_WITHIN_SECTION = ("chunk", "start", "end", "prefix", "heading_path", "parent", "embedMetadata")


@dataclass(slots=True)
class Group:
    """Hits that become one document, best first, and the range of chunks for it.

    Attributes:
        parent: The identity of the parent; None for a hit without one.
        low: The first chunk.
        high: The last chunk.
        hits: The hits.
        pieces: The hits with their positions; empty for a hit without a parent.
    """

    parent: str | None
    low: int
    high: int
    hits: list[Document]
    pieces: list[Piece] = field(default_factory=list[Piece])


def grouped(hits: Sequence[Document], k: int, reach: int | None, position: Sequence[str]) -> list[Group]:
    """Group hits to at most `k` groups, in the order of their best hits.

    Hits are taken best first, until one would begin a further group.

    Args:
        hits: The hits, best first.
        k: The maximum number of groups.
        reach: The number of chunks on both sides of a hit; None groups all hits of a parent.
        position: See `POSITION_FIELDS`.
    """
    groups: list[Group] = []
    for hit in hits:
        parent = parent_of(hit, position)
        piece = piece_of(hit, section_of(hit)) if parent is not None else None
        if piece is None:
            new = Group(None, 0, 0, [hit])
        else:
            low, high = (0, 0) if reach is None else (max(piece.number - reach, 0), piece.number + reach)
            new = Group(parent, low, high, [hit], [piece])
        touched = [group for group in groups if _touch(group, new)]
        if not touched and len(groups) == k:
            break
        groups = _joined(groups, touched, new)
    order = {id(hit): place for place, hit in enumerate(hits)}
    for group in groups:  # two groups that a third one joined
        group.hits.sort(key=lambda hit: order[id(hit)])
        group.pieces.sort(key=lambda piece: order[id(piece.document)])
    return groups


def _touch(one: Group, other: Group) -> bool:
    same = one.parent is not None and one.parent == other.parent
    return same and one.low <= other.high + 1 and other.low <= one.high + 1


def _joined(groups: list[Group], touched: list[Group], new: Group) -> list[Group]:
    """Return the groups with the new one; groups that it touches are merged into the first of them."""
    if not touched:
        return [*groups, new]
    first, *others = [*touched, new]
    for other in others:
        first.low, first.high = min(first.low, other.low), max(first.high, other.high)
        first.hits += other.hits
        first.pieces += other.pieces
    return [group for group in groups if group is first or not any(group is other for other in others)]


def parent_of(document: Document, position: Sequence[str]) -> str | None:
    """Return the identity of a chunk's parent; None for a document without a source."""
    facts = document.metadata
    return _canonical(facts, position) if isinstance(facts.get("source"), str) else None


def section_of(document: Document) -> str:
    """Return the identity of a chunk's section within its parent."""
    return _canonical(document.metadata, _WITHIN_SECTION)


def _canonical(facts: dict[str, Any], without: Container[str]) -> str:
    return repr(sorted((name, value) for name, value in facts.items() if name not in without))


def wanted(group: Group, low: int, high: int, position: Sequence[str]) -> Filter:
    """Return the filter for the chunks of a group's parent in a range of numbers."""
    facts = group.hits[0].metadata
    terms: list[Filter] = [
        Compare("source", "$eq", facts["source"]),
        Compare("chunk", "$gte", low),
        Compare("chunk", "$lte", high),
    ]
    for name, value in facts.items():
        if name != "source" and name not in position and not name.startswith("$") and _comparable(value):
            terms.append(Compare(name, "$eq", value))
    return And(tuple(terms))


def _comparable(value: Any) -> bool:
    if isinstance(value, bool | str):
        return True
    return isinstance(value, int | float) and math.isfinite(value) and abs(value) < 2**53
