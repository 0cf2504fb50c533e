"""The filterable facts of a document for Chroma: short strings in a list, and two numbers for a numeric field.

`{"lang": "en", "n": [1, 5]}` has the facts that `lang` is a string and is `"en"`, that `n` is numeric, is 1 and is 5;
and the numbers `min["n"] = 1.0`, `max["n"] = 5.0`. Chroma merges the metadata of a replaced row with the old ones:
numbers of removed fields remain, so they count only together with the fact of being numeric.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any, cast

LONGEST = 120
"""Longer facts are named by their hash."""
ANY = "."
"""A fact of every document: Chroma accepts no empty list, and keeps the old one if it is absent."""
EXACT = 2.0**53
"""Below it a float64 is the number itself, so that comparing floats compares the numbers."""


def fact(kind: str, field: str, *value: Any) -> str:
    """Return a fact's name, ASCII only."""
    name = kind + json.dumps([field, *value])
    if len(name) > LONGEST:
        name = "h" + kind + hashlib.blake2b(name.encode(), digest_size=24).hexdigest()
    return name


def equal(field: str, value: Any) -> str:
    """Return the fact that a field is a scalar or has it in its list."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    # An int may have more digits than Python likes to print.
    return fact(
        "=", field, hex(value) if type(value) is int and abs(value) >= 2**63 else value, type(value).__name__[0]
    )


def numeric(field: str) -> str:
    """Return the fact that a field is a number or has one."""
    return fact("#", field)


def plain(field: str) -> str:
    """Return the fact that a field is a string."""
    return fact("$", field)


def listed(field: str) -> str:
    """Return the fact that a field is a list with a string."""
    return fact("l", field)


def kinds(field: str) -> list[str]:
    """Return the facts of which an existing field has one."""
    return [numeric(field), plain(field), listed(field), fact("o", field)]


def lowest(field: str) -> str:
    """Return the key of a numeric field's smallest number."""
    return "min" + fact("", field)


def highest(field: str) -> str:
    """Return the key of a numeric field's greatest number."""
    return "max" + fact("", field)


def facts_of(metadata: Mapping[str, Any]) -> tuple[list[str], dict[str, float]]:
    """Return the unique facts of JSON metadata, and its numbers by key."""
    facts: dict[str, None] = {ANY: None}
    numbers: dict[str, float] = {}
    for field, value in _fields(metadata):
        items: list[Any] = value if isinstance(value, list) else [value]
        found = [nearest(item) for item in items if isinstance(item, int | float) and not isinstance(item, bool)]
        strings = any(isinstance(item, str) for item in items)
        if found:
            facts[numeric(field)] = None
            numbers[lowest(field)], numbers[highest(field)] = min(found), max(found)
        if strings:
            facts[listed(field) if isinstance(value, list) else plain(field)] = None
        if not found and not strings:
            facts[fact("o", field)] = None
        for item in items:
            if item is None or isinstance(item, str | int | float):
                facts[equal(field, item)] = None
    return list(facts), numbers


def nearest(number: float) -> float:
    """Return the nearest finite float64; rounding is monotonic, but not strictly."""
    largest = sys.float_info.max
    try:
        return min(max(float(number), -largest), largest)
    except OverflowError:
        return -largest if number < 0 else largest


def _fields(metadata: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield each field that a filter can name, with its value."""
    yield from metadata.items()
    for key, value in metadata.items():
        if isinstance(value, Mapping) and "." not in key:
            for path, inner in _below(key, cast("Mapping[str, Any]", value)):
                if path not in metadata:  # the key that contains the dot wins
                    yield path, inner


def _below(path: str, value: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        if "." in key:
            continue  # a path cannot name it
        yield f"{path}.{key}", inner
        if isinstance(inner, Mapping):
            yield from _below(f"{path}.{key}", cast("Mapping[str, Any]", inner))
