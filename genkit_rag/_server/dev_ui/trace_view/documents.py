"""A table of retrieved or reranked documents: scores, ranks before and after, and highlighted query words."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from genkit_rag._rag.stop_words import STOP_WORDS
from genkit_rag._server.telemetry import derive
from genkit_rag._server.telemetry.derive import FoundDocument, SpanView
from genkit_rag._server.telemetry.wire import SpanData

MAX_TEXT = 1_200
"""Characters of a document that the table shows; the span's output has all of it."""

_WORD = re.compile(r"\w+")
_LIST = re.compile(r'"documents"\s*:\s*\[\s*')
_COMMA = re.compile(r"\s*,\s*")
Pieces = list[tuple[str, bool]]


@dataclass(frozen=True)
class DocumentRow:
    """One document.

    Attributes:
        rank: Its place in this span's output, from 1.
        other: Its place on the other side of the reranking: after it for a retriever's document, before it for a
            reranker's; None where it has none.
        pieces: Its text, cut where a word of the query begins or ends: `(text, is such a word)`.
    """

    rank: int
    other: int | None
    id: str | None
    score: float | None
    pieces: Pieces
    metadata: dict[str, Any]

    @property
    def moved(self) -> int | None:
        """How many places it went up."""
        return None if self.other is None else self.other - self.rank


@dataclass(frozen=True)
class DocumentTable:
    """The documents of one span.

    Attributes:
        rows: In the order of the output.
        other: What `DocumentRow.other` is: `after reranking`, `before reranking`, or empty.
        partner: The span on the other side of the reranking.
        dropped: How many documents a reranker left out.
        cut: Whether the span's output was cut when it was stored: the rows are its first documents.
    """

    rows: list[DocumentRow]
    other: str = ""
    partner: str | None = None
    dropped: int = 0
    cut: bool = False


def document_table(span: SpanData, view: SpanView, spans: Sequence[SpanData]) -> DocumentTable | None:
    """Return the table of a retriever's or a reranker's span; None for other spans and without documents."""
    documents = _returned(view) if view.kind in ("retriever", "reranker") else []
    if not documents:
        return None
    cut = not view.documents
    words = query_words(_query(view.input))
    if view.kind == "reranker":
        before = _given(view.input)
        return DocumentTable(
            _rows(documents, before, words),
            "before reranking" if before else "",
            _span_with(spans, "retriever", before, before_time=span.start_time),
            0 if cut else max(0, len(before) - len(documents)),
            cut,
        )
    partner = _reranking_of(span, documents, spans)
    after = _returned(derive.view(partner)) if partner is not None else []
    rows = _rows(documents, after, words)
    return DocumentTable(rows, "after reranking" if partner else "", partner.span_id if partner else None, cut=cut)


def query_words(text: str) -> set[str]:
    """Return the content words of a query in lower case."""
    words = {word for word in _WORD.findall(text.lower()) if word not in STOP_WORDS and len(word) > 1}
    return words | {word[:-1] for word in words if len(word) > 4 and word.endswith("s")}


def highlighted(text: str, words: set[str]) -> Pieces:
    """Split the text into pieces and mark those that are query words or begin with a long one."""
    shown = text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "…"
    stems = tuple(word for word in words if len(word) > 3)
    pieces: Pieces = []
    place = 0
    for match in _WORD.finditer(shown):
        word = match[0].lower()
        if word in words or (stems and word.startswith(stems)):
            pieces += [(shown[place : match.start()], False), (match[0], True)]
            place = match.end()
    return [piece for piece in [*pieces, (shown[place:], False)] if piece[0]]


def _rows(documents: Sequence[FoundDocument], others: Sequence[FoundDocument], words: set[str]) -> list[DocumentRow]:
    places: dict[str, int] = {}
    for place, other in enumerate(others, 1):
        places.setdefault(_identity(other), place)
    return [
        DocumentRow(
            rank, places.get(_identity(one)), one.id, one.score, highlighted(one.text or "", words), one.metadata
        )
        for rank, one in enumerate(documents, 1)
    ]


def _identity(document: FoundDocument) -> str:
    return f"id {document.id}" if document.id else f"text {document.text}"


def _query(value: Any) -> str:
    if isinstance(value, str):
        return value
    query = value.get("query") if isinstance(value, Mapping) else None
    if isinstance(query, Mapping) and isinstance(query.get("content"), list):
        return " ".join(str(part.get("text") or "") for part in query["content"] if isinstance(part, Mapping))
    return query if isinstance(query, str) else ""


def _given(value: Any) -> list[FoundDocument]:
    if isinstance(value, str):
        value = _whole_ones(value)
    return derive.documents_of({}, value) if isinstance(value, Mapping) else []


def _returned(view: SpanView) -> list[FoundDocument]:
    return view.documents or _given(view.output)


def _whole_ones(text: str) -> dict[str, Any]:
    """Parse the complete documents of a truncated JSON text."""
    begun = _LIST.search(text)
    place: int | None = begun.end() if begun else None
    found: list[Any] = []
    decoder = json.JSONDecoder()
    while place is not None:
        try:
            one, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            break
        found.append(one)
        comma = _COMMA.match(text, end)
        place = comma.end() if comma else None
    return {"documents": found}


def _reranking_of(span: SpanData, documents: Sequence[FoundDocument], spans: Sequence[SpanData]) -> SpanData | None:
    """Return the first reranker after the retriever that received one of its documents."""
    known = {_identity(one) for one in documents}
    for other in sorted(spans, key=lambda one: one.start_time):
        if other.start_time < span.start_time or derive.kind_of(other) != "reranker":
            continue
        if any(_identity(one) in known for one in _given(derive.view(other).input)):
            return other
    return None


def _span_with(
    spans: Sequence[SpanData], kind: str, documents: Sequence[FoundDocument], *, before_time: float
) -> str | None:
    known = {_identity(one) for one in documents}
    for other in sorted(spans, key=lambda one: one.start_time, reverse=True):
        if other.start_time > before_time or derive.kind_of(other) != kind:
            continue
        if any(_identity(one) in known for one in _returned(derive.view(other))):
            return other.span_id
    return None
