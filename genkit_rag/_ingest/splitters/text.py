"""Splits text into chunks with exact offsets.

One walk forward: the furthest end that fits, then the best boundary before it. Offsets are where the walk stands, so
they are never searched for, and the cost does not depend on how the text is built.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace

from genkit_rag._core.errors import invalid
from genkit_rag._documents.document import Document
from genkit_rag._ingest.splitters.chunk import (
    CHARACTERS_PER_TOKEN,
    Chunk,
    Count,
    check_size,
    estimate_tokens,
    function_name,
)
from genkit_rag._ingest.splitters.chunking import split_document
from genkit_rag._ingest.splitters.markdown_outline import Outline, outline


def split_text(
    text: str, size: int = 1000, overlap: int = 200, *, count: Count | None = len, markdown: bool = False
) -> list[Chunk]:
    """Split a text into chunks, measured in characters unless `count` is given; see `Splitter`."""
    return list(Splitter(size, overlap, count).chunks(text, markdown=markdown))


@dataclass(frozen=True, slots=True)
class Splitter:
    """Splits text at its structure: headings, paragraphs, sentences, lines, words, in this order.

    Code fences and tables of Markdown stay whole when they fit. A table that does not is cut between its rows, and its
    header stands before the rows of every chunk. Every character that is not white space is in some chunk.

    Args:
        size: The most that a chunk may count. The default fits models that read 256 tokens.
        overlap: About how much of a chunk's end the next one repeats; none across a heading.
        count: The unit. None estimates tokens (`estimate_tokens`); `len` counts characters; give the embedder's own
            tokenizer where chunks must fit exactly.
    """

    size: int = 240
    overlap: int = 32
    count: Count | None = None

    def __post_init__(self) -> None:
        check_size(self.size)
        if self.overlap < 0:
            raise invalid("overlap", self.overlap, "must not be negative", hint="Use 0 for no overlap.")
        if self.overlap >= self.size:
            raise invalid(
                "overlap",
                self.overlap,
                f"must be smaller than `size` ({self.size})",
                hint=f"An eighth of the size is common: overlap={self.size // 8}.",
            )

    def chunks(self, text: str, *, markdown: bool = False, language: str = "") -> Iterator[Chunk]:
        """Yield the chunks in order, deterministically; `language` is ignored."""
        cutter = _Cutter(text, outline(text) if markdown else None)
        if self.count is len:
            return _walk(cutter, self.size, self.overlap)
        if self.count is None and text.isascii():
            return _walk(cutter, self.size * CHARACTERS_PER_TOKEN, self.overlap * CHARACTERS_PER_TOKEN)
        return _measured(cutter, self, self.count or estimate_tokens)

    def split(self, document: Document) -> Iterator[Document]:
        """Yield the chunks of a text document with its metadata and `source`, `chunk`, `start`, `end`, `heading_path`.

        Their ids come from the source and their text, so that a chunk keeps its id when others change. Metadata
        `content_type: text/markdown` makes it Markdown.
        """
        return split_document(document, self)

    def with_count(self, count: Count | None) -> Splitter:
        """Return a copy that uses `count`, or `self` if a unit is already set."""
        return self if self.count is not None else replace(self, count=count)

    @property
    def settings(self) -> str:
        """What distinguishes this splitter's chunks from another's."""
        return f"splitter 2: size={self.size} overlap={self.overlap} count={function_name(self.count)}"


class _Cutter:
    """Finds boundaries in one text."""

    __slots__ = ("paragraph", "stop", "structure", "text")

    def __init__(self, text: str, structure: Outline | None) -> None:
        self.text = text
        self.structure = structure
        self.stop = len(text.rstrip())
        self.paragraph = "\r\n\r\n" if "\r\n" in text else "\n\n"

    def cut(self, start: int, high: int, overlap: int, covered: int) -> tuple[int, bool]:
        """Return the best end of a chunk, and whether it is clean, so that the next chunk needs no overlap.

        An unclean end is more than `overlap` after the start, so that the walk advances, and any end is after
        `covered`, the end of the previous chunk.
        """
        if self.structure is not None:
            # Less than a fifth of the window is not left alone before a heading: a heading alone says nothing.
            heading = self.structure.heading_in(start + max((high - start) // 5, 1), min(high, self.stop))
            if heading >= 0:
                return heading, True
        if high >= self.stop:
            return self.stop, True
        end = _cut(self.text, start, high, overlap, self.paragraph)
        block = self.structure.block_around(end) if self.structure is not None else None
        if block is None:
            return end, False
        block_start, block_end = block
        # As above: the heading of a block is not left alone before it.
        if (high - start) // 5 < block_start - start and block_end - block_start <= high - start:
            return block_start, True
        line = self.text.rfind("\n", max(start, covered) + 1, high + 1)
        return (line, True) if line >= 0 else (end, False)

    def next_start(self, start: int, end: int, overlap: int) -> int:
        """Return the start of the next chunk: a sentence or a word within the last `overlap` characters."""
        text = self.text
        if overlap:
            low = end - overlap
            found = text.find(". ", low, low + overlap // 2)
            if found < 0:
                found = text.find(" ", low, end)
                if found < 0:
                    found = text.find("\n", low, end)
            block = self.structure.block_around(found + 1) if self.structure is not None else None
            behind = found + 1 if found >= 0 else low
            # The half of a table or of a code fence says little.
            end = block[1] if block is not None and block[1] <= end else behind
        while end < self.stop and text[end].isspace():
            end += 1
        return end

    def header(self, start: int) -> str:
        """Return the header of the table in which a chunk begins."""
        return self.structure.header_at(start) if self.structure is not None and self.structure.starts else ""

    def row_end(self, start: int, end: int) -> int:
        """Return the end of the table row at the start of a chunk, if the chunk would cut it; otherwise -1."""
        table = self.structure.table_around(end) if self.structure is not None else None
        if table is None or self.text.find("\n", start, end + 1) >= 0:
            return -1
        line = self.text.rfind("\n", table[0], start) + 1 or table[0]
        if start < table[0] or self.text[line:start].strip():
            return -1
        found = self.text.find("\n", end, table[1])
        return found if found >= 0 else table[1]

    def chunk(self, start: int, end: int, prefix: str) -> Chunk:
        """Create the chunk without trailing white space."""
        piece = self.text[start:end].rstrip()
        path = self.structure.path_of(self.text, start, end) if self.structure is not None else ()
        return Chunk(piece, start, start + len(piece), path, prefix)


def _walk(cutter: _Cutter, size: int, overlap: int) -> Iterator[Chunk]:
    """Yield chunks of at most `size` characters."""
    start = cutter.next_start(0, 0, 0)
    covered = 0
    while start < cutter.stop:
        prefix = cutter.header(start)
        if len(prefix) * 2 > size:
            prefix = ""
        room = size - len(prefix)
        end, clean = cutter.cut(start, start + room, min(overlap, room - 1), covered)
        if not clean:
            row = cutter.row_end(start, end)
            if 0 <= row <= start + size:
                end, clean, prefix = row, True, ""
        yield cutter.chunk(start, end, prefix)
        covered = end
        start = cutter.next_start(start, end, 0 if clean else min(overlap, room - 1))


def _measured(cutter: _Cutter, splitter: Splitter, count: Count) -> Iterator[Chunk]:
    """Yield chunks of at most the size in the unit; the window is estimated from the density of the previous chunk."""
    size = splitter.size
    start = cutter.next_start(0, 0, 0)
    covered = 0
    density = float(CHARACTERS_PER_TOKEN)  # characters per unit
    while start < cutter.stop:
        prefix = cutter.header(start)
        repeated = count(prefix) if prefix else 0
        if repeated * 2 > size:
            prefix, repeated = "", 0
        window = _Window(cutter, start, covered, prefix, count)
        end, clean, units = window.fit(size, splitter.overlap, density, max(int((size - repeated) * density), 1))
        if not clean:
            end, clean, prefix = window.whole_row(end, size)
        density = (end - start) / max(units - repeated, 1)
        if end <= covered:  # the text is denser here, and what is repeated leaves no room for more: without it, then
            start = cutter.next_start(start, covered, 0)
            continue
        covered = end
        yield cutter.chunk(start, end, prefix)
        start = cutter.next_start(start, end, 0 if clean else _repeatable(splitter.overlap, density, end - start))


@dataclass(frozen=True, slots=True)
class _Window:
    """Where a chunk begins; finds where it ends."""

    cutter: _Cutter
    start: int
    covered: int
    prefix: str
    count: Count

    def fit(self, size: int, overlap: int, density: float, width: int) -> tuple[int, bool, int]:
        """Return the end of a chunk within the size, whether it is clean, and its measured size."""
        start = self.start
        end, clean, units = self._cut(width, overlap, density)
        if units < size * 0.8 and not clean:
            wider = self._cut(max(int((end - start) * size / max(units, 1) * 0.97), 1), overlap, density)
            if wider[2] <= size:
                end, clean, units = wider
        while units > size and end - start > 1:
            width = max(min(int((end - start) * size / units * 0.97), end - start - 1), 1)
            end, clean, units = self._cut(width, overlap, density)
        return end, clean, units

    def whole_row(self, end: int, size: int) -> tuple[int, bool, str]:
        """Return the end of the row that the chunk would cut, if the row fits, with or without the prefix."""
        row = self.cutter.row_end(self.start, end)
        if row >= 0:
            for prefix in (self.prefix, ""):
                if self.count(prefix + self.cutter.text[self.start : row]) <= size:
                    return row, True, prefix
        return end, False, self.prefix

    def _cut(self, width: int, overlap: int, density: float) -> tuple[int, bool, int]:
        repeatable = _repeatable(overlap, density, width)
        end, clean = self.cutter.cut(self.start, self.start + width, repeatable, self.covered)
        return end, clean, self.count(self.prefix + self.cutter.text[self.start : end])


def _repeatable(overlap: int, density: float, length: int) -> int:
    """Return the overlap in characters, less than the length of the chunk, so that the walk advances."""
    return max(min(int(overlap * density), length - 1), 0)


def _cut(text: str, start: int, high: int, overlap: int, paragraph: str) -> int:
    """Return the best boundary of a window, preferably late; more than `overlap` after the start."""
    least = start + overlap + 1
    end = _cut_between(text, max(start + (high - start) // 2, least), high, paragraph)
    if end < 0:
        end = _cut_between(text, max(start + (high - start) // 5, least), high, paragraph)
    if end < 0:
        end = text.rfind(" ", max(start + (high - start) // 2, least), high + 1)
    return end if end >= 0 else _cut_unspaced(text, least, high)


def _cut_between(text: str, low: int, high: int, paragraph: str) -> int:
    """Return the last end of a paragraph, otherwise of a sentence, otherwise of a line, otherwise -1."""
    end = text.rfind(paragraph, low, high + len(paragraph))
    if end >= 0:
        return end
    end = max(
        text.rfind(". ", low, high + 1),
        text.rfind(".\n", low, high + 1),
        text.rfind("? ", low, high + 1),
        text.rfind("! ", low, high + 1),
    )
    return end + 1 if end >= 0 else text.rfind("\n", low, high + 1)


def _cut_unspaced(text: str, low: int, high: int) -> int:
    """Return a boundary in text with few spaces, otherwise the end of the window, but never inside a character."""
    for marks in ("。！？", "、，；"):
        end = max(text.rfind(mark, low, high) for mark in marks)
        if end >= 0:
            return end + 1
    end = text.rfind(" ", low, high + 1)
    if end >= 0:
        return end
    # Combining marks, joiners and variation selectors belong to the character before them.
    for end in range(high, max(low, high - 16), -1):
        joined = text[end - 1] == "\u200d" or text[end] in "\u200d\ufe0f\ufe0e" or unicodedata.combining(text[end])
        if not joined:
            return end
    return high
