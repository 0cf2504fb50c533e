"""Splits text into chunks with exact offsets.

One walk forward: the furthest end that fits, then the best boundary before it. Offsets are where the walk stands, so
they are never searched for, and the cost does not depend on how the text is built.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from genkit_rag._blocks.document import Document
from genkit_rag._core.errors import invalid
from genkit_rag._ingest.chunking import ChunkMaker, document_section
from genkit_rag._ingest.outline import Outline, outline

Count = Callable[[str], int]
"""How long a text is, in the unit of `size`: `len` for characters, a tokenizer for tokens."""

CHARACTERS_PER_TOKEN = 4
"""The rule of thumb for English text in subword tokens; other scripts are counted by their UTF-8 bytes."""


class Chunk(NamedTuple):
    """A part of a text: `text == source[start:end]`.

    Attributes:
        text: The part, without white space around it; never empty.
        start: Its offset in characters.
        end: The offset behind it.
        heading_path: The headings that it stands under, outermost first (Markdown only).
    """

    text: str
    start: int
    end: int
    heading_path: tuple[str, ...] = ()


def estimate_tokens(text: str) -> int:
    """Returns about how many tokens a text has: its UTF-8 bytes by four. Cheap, and off by a third on some texts."""
    length = len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
    return -(-length // CHARACTERS_PER_TOKEN)


def split_text(
    text: str, size: int = 1000, overlap: int = 200, *, count: Count | None = len, markdown: bool = False
) -> list[Chunk]:
    """Returns the chunks of a text, in characters unless `count` says otherwise; see `Splitter`."""
    return list(Splitter(size, overlap, count).chunks(text, markdown=markdown))


@dataclass(frozen=True, slots=True)
class Splitter:
    """Splits text at its structure: headings, paragraphs, sentences, lines, words, in this order.

    Code fences and tables of Markdown stay whole when they fit. Every character that is not white space is in some
    chunk.

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
        if self.size < 1:
            raise invalid("size", self.size, "must be at least 1")
        if self.overlap < 0:
            raise invalid("overlap", self.overlap, "must not be negative", hint="Use 0 for no overlap.")
        if self.overlap >= self.size:
            raise invalid(
                "overlap", self.overlap, f"must be smaller than `size` ({self.size})",
                hint=f"An eighth of the size is common: overlap={self.size // 8}.",
            )  # fmt: skip

    def chunks(self, text: str, *, markdown: bool = False) -> Iterator[Chunk]:
        """Yields the chunks in order; the same ones at every call."""
        cutter = _Cutter(text, outline(text) if markdown else None)
        if self.count is len:
            return _walk(cutter, self.size, self.overlap)
        if self.count is None and text.isascii():
            return _walk(cutter, self.size * CHARACTERS_PER_TOKEN, self.overlap * CHARACTERS_PER_TOKEN)
        return _measured(cutter, self, self.count or estimate_tokens)

    def split(self, document: Document) -> Iterator[Document]:
        """Yields the chunks of a text document: its metadata and `source`, `chunk`, `start`, `end`, `heading_path`.

        Their ids come from the source and their text, so that a chunk keeps its id when others change. Metadata
        `content_type: text/markdown` makes it Markdown.
        """
        source = str(document.metadata.get("source") or document.id)
        return ChunkMaker(self, source).documents(document_section(document))

    @property
    def settings(self) -> str:
        """What distinguishes this splitter's chunks from another's."""
        count = getattr(self.count, "__qualname__", type(self.count).__name__)
        return f"splitter 1: size={self.size} overlap={self.overlap} count={count}"


class _Cutter:
    """Finds boundaries in one text."""

    __slots__ = ("paragraph", "stop", "structure", "text")

    def __init__(self, text: str, structure: Outline | None) -> None:
        self.text = text
        self.structure = structure
        self.stop = len(text.rstrip())
        self.paragraph = "\r\n\r\n" if "\r\n" in text else "\n\n"

    def cut(self, start: int, high: int, overlap: int) -> tuple[int, bool]:
        """Returns the best end of a chunk, and whether it is clean: nothing before it need be repeated behind it."""
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
        line = self.text.rfind("\n", start + overlap + 1, high + 1)
        return (line, True) if line >= 0 else (end, False)

    def next_start(self, start: int, end: int, overlap: int) -> int:
        """Returns where the next chunk begins: at a sentence or a word within the last `overlap` characters."""
        text = self.text
        if overlap:
            low = end - overlap
            found = text.find(". ", low, low + overlap // 2)
            if found < 0:
                found = text.find(" ", low, end)
                if found < 0:
                    found = text.find("\n", low, end)
            end = found + 1 if found >= 0 else low
        while end < self.stop and text[end].isspace():
            end += 1
        return end

    def chunk(self, start: int, end: int) -> Chunk:
        """Returns the chunk without the white space at its end."""
        piece = self.text[start:end].rstrip()
        # Headings stand before the body (`cut`), so the last one in the chunk is the body's.
        path = self.structure.path_at(end - 1) if self.structure is not None else ()
        return Chunk(piece, start, start + len(piece), path)


def _walk(cutter: _Cutter, size: int, overlap: int) -> Iterator[Chunk]:
    """Yields chunks of at most `size` characters."""
    start = cutter.next_start(0, 0, 0)
    while start < cutter.stop:
        end, clean = cutter.cut(start, start + size, overlap)
        yield cutter.chunk(start, end)
        start = cutter.next_start(start, end, 0 if clean else overlap)


def _measured(cutter: _Cutter, splitter: Splitter, count: Count) -> Iterator[Chunk]:
    """Yields chunks that count at most the size; the window is guessed from the density of the chunk before."""
    text, size = cutter.text, splitter.size
    start = cutter.next_start(0, 0, 0)
    covered = 0
    density = float(CHARACTERS_PER_TOKEN)  # characters per unit
    while start < cutter.stop:
        high = start + max(int(size * density), 1)
        end, clean = cutter.cut(start, high, _repeatable(splitter, density, high - start))
        units = count(text[start:end])
        if units < size * 0.8 and not clean:
            high = start + max(int((end - start) * size / max(units, 1) * 0.97), 1)
            wider, wider_clean = cutter.cut(start, high, _repeatable(splitter, density, high - start))
            wider_units = count(text[start:wider])
            if wider_units <= size:
                end, clean, units = wider, wider_clean, wider_units
        while units > size and end - start > 1:
            high = start + max(min(int((end - start) * size / units * 0.97), end - start - 1), 1)
            end, clean = cutter.cut(start, high, _repeatable(splitter, density, high - start))
            units = count(text[start:end])
        density = (end - start) / max(units, 1)
        if end <= covered:  # the text is denser here, and what is repeated leaves no room for more: without it, then
            start = cutter.next_start(start, covered, 0)
            continue
        covered = end
        yield cutter.chunk(start, end)
        start = cutter.next_start(start, end, 0 if clean else _repeatable(splitter, density, end - start))


def _repeatable(splitter: Splitter, density: float, length: int) -> int:
    """Returns the overlap in characters, less than the length of the chunk, so that the walk goes on."""
    return max(min(int(splitter.overlap * density), length - 1), 0)


def _cut(text: str, start: int, high: int, overlap: int, paragraph: str) -> int:
    """Returns the best boundary of a window, late in it where there is one; more than `overlap` behind the start."""
    least = start + overlap + 1
    end = _cut_between(text, max(start + (high - start) // 2, least), high, paragraph)
    if end < 0:
        end = _cut_between(text, max(start + (high - start) // 5, least), high, paragraph)
    if end < 0:
        end = text.rfind(" ", max(start + (high - start) // 2, least), high + 1)
    return end if end >= 0 else _cut_unspaced(text, least, high)


def _cut_between(text: str, low: int, high: int, paragraph: str) -> int:
    """Returns the last end of a paragraph, else of a sentence, else of a line, else -1."""
    end = text.rfind(paragraph, low, high + len(paragraph))
    if end >= 0:
        return end
    end = max(
        text.rfind(". ", low, high + 1), text.rfind(".\n", low, high + 1),
        text.rfind("? ", low, high + 1), text.rfind("! ", low, high + 1),
    )  # fmt: skip
    return end + 1 if end >= 0 else text.rfind("\n", low, high + 1)


def _cut_unspaced(text: str, low: int, high: int) -> int:
    """Returns a boundary where spaces are rare, else the end of the window, but never inside a character."""
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
