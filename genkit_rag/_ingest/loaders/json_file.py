"""JSON: a list of objects as rows, streamed; anything else as text. Notebooks: their cells."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from genkit_rag._ingest.loaders.encoding import open_text
from genkit_rag._ingest.loaders.guard import readable, storable
from genkit_rag._ingest.loaders.rows import Tally, json_section
from genkit_rag._ingest.section import LoadContext, Section, UnreadableFile

_BLOCK = 64 * 1024
_BETWEEN = re.compile(r"[\s,]*")
_FENCE = re.compile(r"`{3,}")
_HEADING = re.compile(r"^#[ \t]+(.+?)[ \t#\r]*$", re.MULTILINE)


def load_json(path: Path, context: LoadContext) -> Iterator[Section]:
    """Yield each object of a list like a line of JSON Lines; a file without such a list is one section, unchanged.

    It is such a list when its first element is an object with a text field.
    """
    with open_text(path, context) as file:
        first = next(_objects(file, context.limits.max_row_characters), None)
        file.seek(0)
        if first is None or not _is_row(first, context):
            yield Section(file.read())
            return
        tally = Tally(context)
        for number, text in enumerate(_objects(file, context.limits.max_row_characters), 1):
            if text is None:
                tally.bad(number, "not a JSON object, or too long; nothing behind it was read")
                continue
            try:
                section = json_section(text, context)
            except (ValueError, RecursionError) as error:
                tally.bad(number, str(error))
                continue
            tally.good += 1
            yield section
        tally.close("row")


def load_notebook(path: Path, context: LoadContext) -> Iterator[Section]:
    """Yield a Jupyter notebook as Markdown: its texts and fenced code, without outputs."""
    if path.stat().st_size > context.limits.max_tree_bytes:
        raise UnreadableFile(f"more than max_tree_bytes={context.limits.max_tree_bytes:,}")
    with open_text(path, context) as file, readable("a notebook"):
        notebook: Any = json.load(file)
        # Version 3 had worksheets around the cells.
        cells = notebook["cells"] if "cells" in notebook else [c for w in notebook["worksheets"] for c in w["cells"]]
        language = str(notebook.get("metadata", {}).get("language_info", {}).get("name", "python"))
        blocks = [_cell(cell, language) for cell in cells]
    text = storable("\n\n".join(block for block in blocks if block))
    found = _HEADING.search(text)
    yield Section(text, {"title": found[1]} if found else {}, markdown=True)


def _cell(cell: dict[str, Any], language: str) -> str:
    source: Any = cell.get("source", cell.get("input", ""))
    text = "".join(cast(list[str], source)) if isinstance(source, list) else str(source)
    if not text.strip():
        return ""
    if cell.get("cell_type") == "code":
        fence = "`" * max([3, *(len(run) + 1 for run in _FENCE.findall(text))])
        return f"{fence}{language}\n{text.rstrip()}\n{fence}"
    level = cell.get("level") if cell.get("cell_type") == "heading" else None
    return f"{'#' * level} {text}" if isinstance(level, int) and 0 < level < 7 else text


def _is_row(text: str, context: LoadContext) -> bool:
    try:
        json_section(text, context)
    except (ValueError, RecursionError):
        return False
    return True


def _objects(file: IO[str], limit: int) -> Iterator[str | None]:
    """Yield the text of each object of a list; None, then the end, for an element that is not an object or too long."""
    reader = _Reader(file, limit)
    if reader.next_character() != "[":
        return
    reader.skip(1)
    while (character := reader.next_character()) not in ("]", ""):
        end = reader.end_of_object() if character == "{" else None
        if end is None:
            yield None
            return
        yield reader.take(end)


class _Reader:
    """A window on a text that grows only as far as one object needs."""

    _MARK = re.compile(r'[{}"]')
    _STRING_END = re.compile(r'[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)

    def __init__(self, file: IO[str], limit: int) -> None:
        self._file = file
        self._limit = limit
        self._text = ""
        self._at = 0

    def next_character(self) -> str:
        """Return the next character after spaces and commas; an empty string at the end."""
        while True:
            found = _BETWEEN.match(self._text, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def skip(self, count: int) -> None:
        """Advance by `count` characters."""
        self._at += count

    def take(self, end: int) -> str:
        """Return the text up to an offset and advance to it."""
        taken, self._at = self._text[self._at : end], end
        return taken

    def end_of_object(self) -> int | None:
        """Return the end of the object that begins here; None if it exceeds the limit.

        Only braces and strings are looked at: whether the rest is JSON is the parser's question.
        """
        place, depth = 0, 0  # relative to the object's beginning: the window moves
        while True:
            mark = self._MARK.search(self._text, self._at + place)
            string = self._STRING_END.match(self._text, mark.end()) if mark and mark[0] == '"' else None
            if mark is None or (mark[0] == '"' and string is None):
                place = (mark.start() if mark else len(self._text)) - self._at
                if len(self._text) - self._at > self._limit or not self._more():
                    return None
                continue
            place = (string or mark).end() - self._at
            depth += {"{": 1, "}": -1}.get(mark[0], 0)
            if depth == 0:
                return self._at + place

    def _more(self) -> bool:
        """Read more, doubling the amount, so that a long string is not scanned repeatedly."""
        kept = self._text[self._at :]
        block = self._file.read(max(_BLOCK, len(kept)))
        self._text, self._at = kept + block, 0
        return bool(block)
