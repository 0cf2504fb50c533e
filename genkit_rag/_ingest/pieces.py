"""Long texts, a piece at a time: memory must not grow with a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

PIECE = 1024 * 1024
"""Characters. A text up to this length is one piece, so that its chunks do not depend on piece boundaries."""


def pieces(file: IO[str], size: int = PIECE) -> Iterator[tuple[int, str]]:
    """Yield a text in pieces of at most `size` characters, each with its offset.

    A piece ends at the last empty line in its second half, else at a line, else at a space, else anywhere.
    """
    offset, rest = 0, ""
    while True:
        more = file.read(size + 1 - len(rest))
        text = rest + more
        if len(text) <= size:
            if text:
                yield offset, text
            return
        end = _end(text, size)
        yield offset, text[:end]
        offset += end
        rest = text[end:]


def _end(text: str, size: int) -> int:
    for mark in ("\n\n", "\n", " "):
        found = text.rfind(mark, size // 2, size)
        if found >= 0:
            return found + 1
    return size
