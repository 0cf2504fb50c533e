"""Puts chunks of one source together again, by their offsets."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from genkit_rag.plugin_api import Document

OMISSION = "\n\n[...]\n\n"
"""Stands where chunks are missing between two others."""
BREAK = "\n\n"
"""Stands between two chunks that do not continue each other, such as pages."""
MAX_GAP = 16
"""Splitters leave out the white space between chunks; more than this many characters is something else."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk with its position.

    Attributes:
        number: Its number in its source, from 0.
        start: The offset of its text in its section.
        end: The offset after it.
        prefix: The length of repeated text before it, such as the header of a table.
        section: The identity of its section: offsets count within one.
        document: The chunk.
    """

    number: int
    start: int
    end: int
    prefix: int
    section: str
    document: Document

    @property
    def body(self) -> str:
        """The text without the prefix."""
        return self.document.text[self.prefix :]


def piece_of(document: Document, section: str) -> Piece | None:
    """Return the chunk with its position; None for a document without one."""
    facts = document.metadata
    numbers: list[Any] = [facts.get(name) for name in ("chunk", "start", "end")]
    prefix: Any = facts.get("prefix", 0)
    if not document.is_text or not all(type(number) is int for number in (*numbers, prefix)):
        return None
    number, start, end = numbers
    if not 0 <= start <= end or len(document.text) - prefix != end - start or prefix < 0:
        return None
    return Piece(number, start, end, prefix, section, document)


def stitched(pieces: Sequence[Piece]) -> tuple[str, tuple[int, int] | None]:
    """Join the text of chunks in the order of their numbers, without overlaps, and return it with its offsets.

    In a run of chunks each character after the first prefix has the same distance from the beginning as in the source;
    white space between chunks becomes line ends. The offsets are None if the chunks are not one run: `OMISSION` marks
    missing chunks, `BREAK` another section.
    """
    first = pieces[0]
    text, start, end, whole = first.document.text, first.start, first.end, True
    for before, piece in itertools.pairwise(pieces):
        more = None
        if piece.number == before.number + 1 and piece.section == before.section:
            more = _continuation(text, before.start, end, piece)
        if more is None:
            text += (BREAK if piece.number == before.number + 1 else OMISSION) + piece.document.text
            end, whole = piece.end, False
        else:
            text += more
            end = max(end, piece.end)
    return text, (start, end) if whole else None


def _continuation(text: str, earliest: int, end: int, piece: Piece) -> str | None:
    """Return the text that a chunk adds after the offset `end`; None if they do not fit together."""
    overlap = end - piece.start
    if piece.start < earliest or overlap < -MAX_GAP:
        return None
    body = piece.body
    if overlap <= 0:
        return "\n" * -overlap + body
    # A chunk of a later version of the source has the offsets of another text: nothing is cut off then.
    shared = text[len(text) - overlap :][: len(body)] if overlap <= len(text) else None
    return body[overlap:] if shared == body[:overlap] else None
