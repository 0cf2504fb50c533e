"""Pieces of Markdown that several loaders write."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import groupby

_SPACE = re.compile(r"\s+")


def one_line(text: str) -> str:
    """Join a text to one line."""
    return _SPACE.sub(" ", text).strip()


def heading(level: int, text: str) -> str:
    """Format a heading; levels beyond six become six."""
    return f"{'#' * min(max(level, 1), 6)} {one_line(text)}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Format a table with its first row as header, without empty rows; an empty table is an empty text."""
    cleaned = [[one_line(cell).replace("|", "\\|") for cell in row] for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in cleaned if any(row)]
    if not lines:
        return ""
    width = next(len(row) for row in cleaned if any(row))
    return "\n".join([lines[0], "|" + " --- |" * width, *lines[1:]])


def join_blocks(blocks: Iterable[tuple[str, bool]]) -> str:
    """Join blocks with empty lines; list items (True) follow each other directly."""
    written: list[str] = []
    for is_item, group in groupby((block for block in blocks if block[0].strip()), key=lambda block: block[1]):
        texts = [text for text, _ in group]
        written.append(("\n" if is_item else "\n\n").join(texts))
    return "\n\n".join(written)
