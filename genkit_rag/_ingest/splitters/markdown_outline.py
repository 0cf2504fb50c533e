"""The structure of a Markdown text: where its headings, code fences and tables are."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

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
_HEADER = re.compile(r"[^\n]*\n[ \t]*\|[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-*:?[ \t]*)*+\r?\n")
_CLOSING = re.compile(r"(?:^|[ \t]+)#+[ \t]*$")


@dataclass(frozen=True, slots=True)
class Outline:
    """Headings and indivisible blocks of a text, by offsets, in order.

    Attributes:
        headings: Where each heading begins.
        paths: For each heading its path: the headings above it and itself.
        bodies: Where the text below each heading begins.
        starts: Where each block (code fence, table) begins that a splitter keeps whole when it fits.
        ends: Where each of them ends.
        headers: The header row of each table among them, with the rule below it; None for a code fence.
        begin: Where the text begins, behind a front matter.
    """

    headings: list[int] = field(default_factory=list[int])
    paths: list[tuple[str, ...]] = field(default_factory=list[tuple[str, ...]])
    bodies: list[int] = field(default_factory=list[int])
    starts: list[int] = field(default_factory=list[int])
    ends: list[int] = field(default_factory=list[int])
    headers: list[str | None] = field(default_factory=list[str | None])
    begin: int = 0

    def path_of(self, text: str, start: int, end: int) -> tuple[str, ...]:
        """Return the headings that apply to a part of the text, outermost first.

        If it spans several, those that all of it has in common; a heading without its own text is ignored, since it
        only introduces the next one.
        """
        first, last = bisect_right(self.headings, start), bisect_right(self.headings, end - 1)
        if first == last:
            return self.paths[first - 1] if first else ()
        path: tuple[str, ...] | None = None
        for number in range(first - 1, last):  # number -1 is the text before the first heading
            low = max(start, self.bodies[number]) if number >= 0 else max(start, self.begin)
            high = self.headings[number + 1] if number + 1 < last else end
            if not text[low:high].strip():
                continue
            own = self.paths[number] if number >= 0 else ()
            path = own if path is None else common(path, own)
        return self.paths[last - 1] if path is None else path

    def heading_in(self, low: int, high: int) -> int:
        """Return the offset of the first heading with `low <= offset <= high`, or -1."""
        found = bisect_left(self.headings, low)
        if found < len(self.headings) and self.headings[found] <= high:
            return self.headings[found]
        return -1

    def block_around(self, offset: int) -> tuple[int, int] | None:
        """Return the block that a cut at the offset would divide."""
        found = bisect_left(self.starts, offset) - 1
        if found >= 0 and offset < self.ends[found]:
            return self.starts[found], self.ends[found]
        return None

    def header_at(self, offset: int) -> str:
        """Return the header of the table whose body contains the offset, otherwise an empty string."""
        found = bisect_right(self.starts, offset) - 1
        if found < 0 or offset >= self.ends[found]:
            return ""
        header = self.headers[found] or ""
        return header if offset >= self.starts[found] + len(header) else ""

    def table_around(self, offset: int) -> tuple[int, int] | None:
        """Return the table that a cut at the offset would divide."""
        found = bisect_left(self.starts, offset) - 1
        if found >= 0 and offset < self.ends[found] and self.headers[found] is not None:
            return self.starts[found], self.ends[found]
        return None


def outline(text: str) -> Outline:
    """Return the outline of a Markdown text; front matter has no headings."""
    front = FRONT_MATTER.match(text)
    result = Outline(begin=front.end() if front else 0)
    stack: list[tuple[int, str]] = []
    for match in _BLOCKS.finditer(text, result.begin):
        if match["marks"]:
            level, title = len(match["marks"]), _CLOSING.sub("", match["atx"].rstrip())
        elif match["underline"]:
            level, title = (1 if match["underline"][0] == "=" else 2), match["setext"]
        else:
            result.headers.append(_header(match["table"]) if match["table"] else None)
            result.starts.append(match.start())
            result.ends.append(match.end())
            continue
        while stack and stack[-1][0] >= level:
            stack.pop()
        stack.append((level, title.strip()))
        result.headings.append(match.start())
        result.bodies.append(match.end())
        result.paths.append(tuple(name for _, name in stack if name))
    return result


def _header(table: str) -> str:
    found = _HEADER.match(table)
    return found[0] if found else ""


def common(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    """Return the common prefix of two paths."""
    same = 0
    while same < min(len(one), len(other)) and one[same] == other[same]:
        same += 1
    return one[:same]
