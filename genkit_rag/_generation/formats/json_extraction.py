"""Extraction of JSON from a model's text: complete values, incomplete values, items and lines."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Any

from pydantic_core import from_json

MAX_BROKEN = 100
"""The maximum number of failed parses; each costs time in proportion to the text."""

MAX_VALUES = 1000
"""The maximum number of values of an answer to validate; each costs up to some dozens of microseconds."""

_START = re.compile(r"[{\[]")
_LINE = re.compile(r"^[ \t]*(?=\{)", re.MULTILINE)
_SAME_LINE = re.compile(r"[ \t,]*(?=\{)")
_SPACE = re.compile(r"[ \t\n\r]*")


class Outermost:
    """Iterates over the outermost objects and arrays of a text as `(value, start, end)`.

    Attributes:
        broken: The start of the last malformed or incomplete value, if any; no part of it is returned as a value.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self.broken: int | None = None

    def __iter__(self) -> Iterator[tuple[Any, int, int]]:
        text = self._text
        at = broken = 0
        while broken < MAX_BROKEN and (found := _START.search(text, at)) is not None:
            start = found.start()
            try:
                value, at = decode(text, start)
            except json.JSONDecodeError as error:
                self.broken = start
                # The text has a key and a value, so it is intended as JSON, and values inside of it are not the answer.
                if ":" in text[start : error.pos] or _is_open_string(error):
                    return
                at = max(error.pos, start + 1)
                broken += 1
            except (ValueError, RecursionError):
                self.broken = start
                return
            else:
                yield value, start, at


class Values:
    """Iterates over JSON values: the whole text, or the code fences, or the outermost values."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._outermost = Outermost(text)

    @property
    def broken(self) -> int | None:
        """The start of the last malformed or incomplete value, after the iteration."""
        return self._outermost.broken

    def __iter__(self) -> Iterator[Any]:
        text = self._text
        for piece in chain([text], islice(_fenced(text), MAX_BROKEN)):
            try:
                value = json.loads(piece.strip(), parse_constant=_reject_constant)
            except (ValueError, RecursionError):
                continue
            yield value
            if piece is text:
                return
        for value, _, _ in islice(self._outermost, MAX_VALUES):
            yield value


def partial_value(text: str, fits: Callable[[Any], bool], could_fit: Callable[[Any], bool]) -> Any:
    """Return the first complete value that matches, else the incomplete one, else the first complete one.

    Args:
        text: An answer, or the beginning of one.
        fits: Whether a complete value matches.
        could_fit: Whether an incomplete value may become a match.

    Returns None while there is no value.
    """
    opened = text.lstrip()
    if opened.startswith('"') and _is_cut(opened):  # brackets inside a string are not JSON
        value = _written(opened)
        return value if could_fit(value) else None
    first = None
    values = Values(text)
    for value in values:
        if not could_fit(value):
            continue
        if fits(value):
            return value
        first = value if first is None else first
    if values.broken is not None:
        value = _written(text[values.broken :])
        if value is not None and could_fit(value):
            return value
    return first


def array_items(text: str, could_be_item: Callable[[Any], bool]) -> Iterator[tuple[Any, int]]:
    """Yield the complete items of the first array in a text, with the offset at which each was known to be complete.

    An array whose first item does not match is skipped.
    """
    found = Outermost(text)
    for value, start, _ in found:
        if isinstance(value, list) and value and could_be_item(value[0]):
            yield from _items(text, start)
            return
    if found.broken is not None and text[found.broken] == "[":
        items = _items(text, found.broken)
        for item in items:
            if not could_be_item(item[0]):
                return
            yield item
            yield from items


def _items(text: str, start: int) -> Iterator[tuple[Any, int]]:
    at = _past_space(text, start + 1)
    while at < len(text) and text[at] != "]":
        try:
            value, end = decode(text, at)
        except (ValueError, RecursionError):
            return
        may_grow = isinstance(value, int | float) and not isinstance(value, bool)
        after = _past_space(text, end)
        if after == len(text):
            if not may_grow:
                yield value, end
            return
        if text[after] not in ",]":
            return
        yield value, after + 1 if may_grow else end
        if text[after] == "]":
            return
        at = _past_space(text, after + 1)


class Lines:
    """Iterates over the objects that begin a line, as `(object, end)`; an object may span several lines.

    Attributes:
        broken: The start of the last malformed or incomplete object, if any.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self.broken: int | None = None

    def __iter__(self) -> Iterator[tuple[Any, int]]:
        text = self._text
        at = broken = 0
        same_line = None
        while broken < MAX_BROKEN and (found := same_line or _LINE.search(text, at)) is not None:
            start = found.end()
            same_line = None
            try:
                value, at = decode(text, start)
            except json.JSONDecodeError as error:
                self.broken = start
                if _is_open_string(error):
                    return
                at = max(error.pos, start + 1)
                broken += 1
            except (ValueError, RecursionError):
                self.broken = start
                return
            else:
                yield value, at
                same_line = _SAME_LINE.match(text, at)


def decode(text: str, start: int) -> tuple[Any, int]:
    """Decode the JSON value at an offset; return it with the offset of its end."""
    return _decoder.raw_decode(text, start)


def _is_open_string(error: json.JSONDecodeError) -> bool:
    # The error position is the start of the string; the rest of the text has been read already.
    return error.msg.startswith("Unterminated")


def _is_cut(text: str) -> bool:
    try:
        decode(text, 0)
    except (ValueError, RecursionError):
        return True
    return False


def _written(text: str) -> Any:
    """Return the incomplete value at the beginning of a text; None if it is not JSON."""
    try:
        return from_json(text, allow_partial="trailing-strings", allow_inf_nan=False)
    except ValueError:
        return None


def _fenced(text: str) -> Iterator[str]:
    """Yield the contents of code fences."""
    inside: list[str] | None = None
    for line in text.splitlines(keepends=True) if "```" in text else ():
        mark = line.strip()
        if inside is None:
            inside = [] if mark.startswith("```") else None
        elif mark == "```":
            yield "".join(inside)
            inside = None
        else:
            inside.append(line)


def _past_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _reject_constant(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_reject_constant)
