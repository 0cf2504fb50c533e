"""Packs units (sentences, statements, lines) into chunks of a size."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from genkit_rag._ingest.splitters.chunk import Chunk, Count, estimate_tokens
from genkit_rag._ingest.splitters.markdown_outline import Outline, outline
from genkit_rag._ingest.splitters.sentence_boundaries import sentence_spans, stripped
from genkit_rag._ingest.splitters.text import Splitter

_EMPTY_LINE = re.compile(r"\n[ \t\r]*+(?=\n)")
_LINE_END = re.compile(r"\n")


class Unit(NamedTuple):
    """A part of a text that is kept whole if it fits into a chunk.

    Attributes:
        start: Its offset.
        end: The offset after it.
        apart: Whether it begins a new chunk.
        path: Its heading path.
    """

    start: int
    end: int
    apart: bool = False
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Packing:
    """How many units go into a chunk.

    Attributes:
        size: The most that a chunk may count.
        count: The unit of the size.
        most: The most units in a chunk; None for as many as fit.
        overlap: Units that the next chunk repeats.
    """

    size: int
    count: Count
    most: int | None = None
    overlap: int = 0

    def fits(self, text: str) -> bool:
        """Return whether a text fits into a chunk."""
        return self.count(text) <= self.size


Path = Callable[[Sequence[Unit]], tuple[str, ...]]
"""Returns the heading path of a chunk of these units."""


def pack(text: str, units: Iterable[Unit], packing: Packing, path: Path) -> Iterator[Chunk]:
    """Yield chunks of consecutive units; a unit that does not fit alone is cut at its lines and words."""
    held: list[Unit] = []
    fresh = 0  # units in `held` that no chunk has yet
    for unit in units:
        full = unit.apart or (packing.most is not None and len(held) >= packing.most)
        if held and (full or not packing.fits(text[held[0].start : unit.end])):
            if fresh:
                yield _chunk(text, held, path)
            held = [] if unit.apart else held[max(len(held) - packing.overlap, 0) :]
            fresh = 0
            while held and not packing.fits(text[held[0].start : unit.end]):
                del held[0]
        if not held and not packing.fits(text[unit.start : unit.end]):
            yield from _cut(text, unit, packing, path)
            continue
        held.append(unit)
        fresh += 1
    if fresh:
        yield _chunk(text, held, path)


def markdown_units(text: str) -> tuple[Outline, Iterator[Unit]]:
    """Return the outline of a Markdown text, and its sentences, with code fences and tables as one unit each."""
    structure = outline(text)
    return structure, _markdown_units(text, structure)


def _markdown_units(text: str, structure: Outline) -> Iterator[Unit]:
    edges = [(start, end, False) for start, end in zip(structure.starts, structure.ends, strict=True)]
    edges += [(start, end, True) for start, end in zip(structure.headings, structure.bodies, strict=True)]
    position, heading = 0, -1  # where headings begin that wait for what they lead to: alone they say nothing
    for start, end, is_heading in [*sorted(edges), (len(text), len(text), False)]:
        for low, high in sentence_spans(text, position, start):
            yield Unit(low if heading < 0 else heading, high, heading >= 0)
            heading = -1
        for low, high in stripped(text, start, end):
            if is_heading:
                heading = low if heading < 0 else heading
            else:
                yield Unit(low if heading < 0 else heading, high, heading >= 0)
                heading = -1
        position = end
    if heading >= 0:
        yield Unit(heading, len(text.rstrip()), apart=True)


def estimated(count: Count | None) -> Count:
    """Return the unit, or the estimate of tokens if there is none."""
    return count or estimate_tokens


def line_units(text: str, start: int, end: int, fits: Callable[[str], bool], path: tuple[str, ...]) -> Iterator[Unit]:
    """Yield the blocks between empty lines of a part of a text, and the lines of those that do not fit."""
    for begin, stop in _between(text, start, end, _EMPTY_LINE):
        if fits(text[begin:stop]):
            yield Unit(begin, stop, path=path)
        else:
            yield from (Unit(low, high, path=path) for low, high in _between(text, begin, stop, _LINE_END))


def _between(text: str, start: int, end: int, mark: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    for match in (*mark.finditer(text, start, end), None):
        stop = match.start() if match else end
        yield from stripped(text, start, stop)
        start = match.end() if match else end


def _chunk(text: str, units: Sequence[Unit], path: Path) -> Chunk:
    start, end = units[0].start, units[-1].end
    return Chunk(text[start:end], start, end, path(units))


def _cut(text: str, unit: Unit, packing: Packing, path: Path) -> Iterator[Chunk]:
    """Yield the pieces of a unit that is longer than a chunk."""
    splitter = Splitter(packing.size, 0, packing.count)
    is_markdown = text.startswith(("|", "#"), unit.start)  # a table repeats its header, perhaps below a heading
    for piece in splitter.chunks(text[unit.start : unit.end], markdown=is_markdown):
        start, end = unit.start + piece.start, unit.start + piece.end
        yield Chunk(piece.text, start, end, path([unit._replace(start=start, end=end)]), piece.prefix)
