"""Reads queries out of whatever a model wrote."""

from __future__ import annotations

import json
import re
from typing import Any

MAX_CHARACTERS = 1000
"""A query is cut there: a model that goes on and on writes no query."""

_FENCE = re.compile(r"^\s*```\w*\s*$")
_MARK = re.compile(
    r"^(?:[-*+•–—]\s+|\(?\d{1,2}\)\s*|\[\d{1,2}\]\s*|\d{1,2}[.:]\s+|(?:query|question|q)\s*\d{0,2}\s*[:.]\s*)+",
    re.IGNORECASE,
)
_PAIRS = (("**", "**"), ('"', '"'), ("'", "'"), ("`", "`"), ("“", "”"), ("‘", "’"), ("«", "»"))


def parse_queries(text: str, most: int) -> list[str]:
    """Parse unique, non-empty queries from a JSON list, marked lines, or lines, up to a maximum; never fails.

    Where some lines are numbered or have bullets, only those count; else lines that end in a colon are left out. An
    empty list says that there was nothing usable.
    """
    found = _from_json(text)
    if found is None:
        found = _from_lines(text)
    queries: dict[str, str] = {}
    for raw in found:
        query = " ".join(raw.encode("utf-8", "replace").decode().split())[:MAX_CHARACTERS].rstrip()
        if re.search(r"\w", query):
            queries.setdefault(query.casefold(), query)
    return list(queries.values())[:most]


def _from_json(text: str) -> list[str] | None:
    """Return the strings of the JSON in a text; None without JSON, or without strings in it among other text."""
    for opening, closing in ("[]", "{}"):
        start, end = text.find(opening), text.rfind(closing)
        if 0 <= start < end:
            try:
                found = _strings(json.loads(text[start : end + 1]))
            except (ValueError, RecursionError):
                continue
            if found or text.strip() == text[start : end + 1]:
                return found
    return None


def _strings(value: Any) -> list[str]:
    """Return the strings of a list, of the first list in an object, or the first string of each object in a list."""
    if isinstance(value, dict):
        lists = [item for item in value.values() if isinstance(item, list)]
        return _strings(lists[0]) if lists else [item for item in value.values() if isinstance(item, str)]
    if not isinstance(value, list):
        return []
    firsts = [_strings(item)[:1] if isinstance(item, dict) else [item] for item in value]
    return [item for first in firsts for item in first if isinstance(item, str)]


def _from_lines(text: str) -> list[str]:
    lines = [line.strip() for line in text.splitlines() if not _FENCE.match(line)]
    marked = [match for line in lines if (match := _MARK.match(line)) and match.end() < len(line)]
    if marked:
        return [_bare(match.string[match.end() :]) for match in marked]
    return [_bare(line) for line in lines if not line.endswith(":")]


def _bare(line: str) -> str:
    """Return a line without surrounding quotes or emphasis."""
    line = line.strip()
    if line.startswith(('"', "'")):
        line = line.rstrip(",")
    for opening, closing in _PAIRS:
        if len(line) > len(opening) + len(closing) and line.startswith(opening) and line.endswith(closing):
            line = line[len(opening) : -len(closing)].strip()
    return line
