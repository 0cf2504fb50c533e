"""How deep a page of HTML nests, before it is parsed: parsers take time that grows with the square of the depth."""

from __future__ import annotations

import re
from collections import Counter

from genkit_rag._ingest.section import UnreadableFile

MAX_DEPTH = 1000
"""Browsers stop at 512."""
MAX_ELEMENTS = 5_000_000

_TAG = re.compile(r"<(/?)([A-Za-z][^\s/>]*)")
_SCRIPT = re.compile(r"<(/?)(script|style)\b>?", re.IGNORECASE)
_FLAT = frozenset(
    (
        "area",
        "base",
        "body",
        "br",
        "col",
        "dd",
        "dt",
        "embed",
        "head",
        "hr",
        "html",
        "img",
        "input",
        "li",
        "link",
        "meta",
        "optgroup",
        "option",
        "p",
        "param",
        "rb",
        "rp",
        "rt",
        "rtc",
        "source",
        "tbody",
        "tfoot",
        "thead",
        "tr",
        "track",
        "wbr",
    )
)
"""Without content, or ended by the next of their kind: within something that is counted."""
_FORMATTING = frozenset(
    ("a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u")
)
"""A parser opens those that were not closed again in every block that follows: few bytes, many elements."""
_SCOPES = frozenset(
    ("applet", "button", "caption", "marquee", "math", "object", "select", "svg", "table", "td", "template", "th")
)
"""An end tag within closes nothing around them."""


def bounded_nesting(page: str) -> str:
    """Return a page that is safe to parse, without scripts that look like elements.

    Raises:
        UnreadableFile: The page nests too deeply or has too many elements.
    """
    try:
        _check(page)
    except UnreadableFile:
        page = _without_scripts(page)
        _check(page)
    return page


def _without_scripts(page: str) -> str:
    kept: list[str] = []
    start, within = 0, ""
    for mark in _SCRIPT.finditer(page):
        closing, name = mark[1], mark[2].lower()
        if not within and not closing:
            kept.append(page[start : mark.start()])
            within = name
        elif closing and name == within:
            start, within = mark.start() + len(mark[0]), ""
    return "".join(kept) + ("" if within else page[start:])


def _check(page: str) -> None:
    """Check the nesting, counting conservatively."""
    stack: list[str] = []
    formatting: Counter[str] = Counter()
    elements = opened = 0
    for closing, name in _TAG.findall(page) if page.count("<") > MAX_DEPTH else ():
        name = name.lower()
        elements += 1 + opened
        if name in _FORMATTING:
            if not closing or formatting[name]:
                formatting[name] += -1 if closing else 1
                opened += -1 if closing else 1
        elif closing:
            _close(stack, name)
        elif name not in _FLAT:
            stack.append(name)
        if len(stack) + opened > MAX_DEPTH or elements > MAX_ELEMENTS:
            raise UnreadableFile(f"it nests deeper than {MAX_DEPTH:,} elements, or has more than {MAX_ELEMENTS:,}")


def _close(stack: list[str], name: str) -> None:
    for place in range(len(stack) - 1, -1, -1):
        if stack[place] == name:
            del stack[place:]
            return
        if stack[place] in _SCOPES:
            return
