"""The pages of the documentation, and the pieces of them that tests look at."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

_PIECE = re.compile(
    r"^```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^```[ \t]*$|^<!-- setup\n(?P<setup>.*?)^-->", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Block:
    """Code in a page, and the line where it begins."""

    language: Literal["python", "sh"]
    code: str
    line: int


def blocks(page: Path) -> list[Block]:
    """Returns the Python and shell code of a page, in order; setup comments are Python."""
    text = page.read_text()
    found: list[Block] = []
    for match in _PIECE.finditer(text):
        line = text.count("\n", 0, match.start()) + 2
        if match["setup"] is not None or match["language"] == "python":
            found.append(Block("python", match["setup"] or match["code"], line))
        elif match["language"] == "sh":
            found.append(Block("sh", match["code"], line))
    return found


def without_code(page: Path) -> str:
    """Returns a page without its code blocks."""
    return _PIECE.sub("", page.read_text())
