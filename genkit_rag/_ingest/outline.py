"""The structure of a Markdown text: where its headings, code fences and tables are."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from dataclasses import dataclass

# A fence that is never closed runs to the end, as in CommonMark; headings inside of fences are code.
_BLOCKS = re.compile(
    r"""^(?:
        [ ]{0,3}(?P<fence>`{3,}|~{3,})[^\n]*(?:\n(?:.*?\n)??[ ]{0,3}(?P=fence)[`~]*[ \t\r]*$|.*)
      | [ ]{0,3}(?P<marks>\#{1,6})[ \t]+(?P<atx>[^\n]*)
      | (?P<table>(?:[ \t]*\|[^\n]*(?:\n|\Z)){2,})
      | (?P<setext>[^\W\d_][^\n|]*)\n(?P<underline>=+|-{3,})[ \t\r]*$
    )""",
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)
FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n(.*?\n)?---[ \t]*\r?(?:\n|\Z)", re.DOTALL)
"""A YAML head between two lines of three dashes."""
_CLOSING = re.compile(r"(?:^|[ \t]+)#+[ \t]*$")


@dataclass(frozen=True, slots=True)
class Outline:
    """Headings and indivisible blocks of a text, by offsets, in order.

    Attributes:
        headings: Where each heading begins.
        paths: For each heading its path: the headings above it and itself.
        starts: Where each block (code fence, table) begins that a splitter keeps whole when it fits.
        ends: Where each of them ends.
    """

    headings: list[int]
    paths: list[tuple[str, ...]]
    starts: list[int]
    ends: list[int]

    def path_at(self, offset: int) -> tuple[str, ...]:
        """Returns the headings in effect at an offset, outermost first."""
        found = bisect_right(self.headings, offset)
        return self.paths[found - 1] if found else ()

    def heading_in(self, low: int, high: int) -> int:
        """Returns where the first heading with `low <= offset <= high` begins, or -1."""
        found = bisect_left(self.headings, low)
        if found < len(self.headings) and self.headings[found] <= high:
            return self.headings[found]
        return -1

    def block_around(self, offset: int) -> tuple[int, int] | None:
        """Returns the block that a cut at the offset would divide."""
        found = bisect_left(self.starts, offset) - 1
        if found >= 0 and offset < self.ends[found]:
            return self.starts[found], self.ends[found]
        return None


def outline(text: str) -> Outline:
    """Returns the outline of a Markdown text; a front matter has no headings."""
    result = Outline([], [], [], [])
    stack: list[tuple[int, str]] = []
    front = FRONT_MATTER.match(text)
    for match in _BLOCKS.finditer(text, front.end() if front else 0):
        if match["marks"]:
            level, title = len(match["marks"]), _CLOSING.sub("", match["atx"].rstrip())
        elif match["underline"]:
            level, title = (1 if match["underline"][0] == "=" else 2), match["setext"]
        else:
            result.starts.append(match.start())
            result.ends.append(match.end())
            continue
        while stack and stack[-1][0] >= level:
            stack.pop()
        stack.append((level, title.strip()))
        result.headings.append(match.start())
        result.paths.append(tuple(name for _, name in stack if name))
    return result
