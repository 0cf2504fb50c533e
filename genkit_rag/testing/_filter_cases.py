"""Metadata and filters that tell stores apart: types that look alike, lists, nulls, nesting, hostile names."""

from __future__ import annotations

import random
from typing import Any

METADATA: list[dict[str, Any]] = [
    {},
    {"n": 1},
    {"n": 1.0},
    {"n": True},
    {"n": "1"},
    {"n": None},
    {"n": [1, 2]},
    {"n": []},
    {"n": -3.5},
    {"n": 2**53 + 1},
    {"n": False},
    {"n": 0},
    {"s": "alpha", "n": 5},
    {"s": "beta", "n": 7},
    {"s": ""},
    {"s": "a'b\"c"},
    {"s": "ünïcode ☃"},
    {"s": "100%_x\\"},
    {"tags": ["a", "b"]},
    {"tags": ["b", "c", "a"]},
    {"tags": [1, "1", True, None]},
    {"tags": "a"},
    {"o": {"x": 1, "y": {"z": "deep"}}},
    {"o": {"x": [1, 3]}},
    {"o.x": 1},
    {"o": "not an object"},
    {"we ird'; --": 1},
    {'q"uote': "v"},
    {"$dollar": 1},
    {"year": 2019, "lang": "en", "tags": ["a"]},
    {"year": 2020, "lang": "de", "tags": ["b"]},
    {"year": 2021.5, "lang": "en", "tags": []},
]
"""One metadata object a document."""

FIELDS = ["n", "s", "tags", "o.x", "o.y.z", "o", "year", "lang", "missing", "we ird'; --", 'q"uote']

VALUES: list[Any] = [
    1,
    1.0,
    True,
    False,
    "1",
    None,
    2,
    0,
    -3.5,
    2**53 + 1,
    "alpha",
    "beta",
    "",
    "a",
    "b",
    "en",
    2020,
    2019,
    "a'b\"c",
    "%",
    "_",
    "deep",
    "ünïcode ☃",
]


def filters(count: int, seed: int = 7) -> list[dict[str, Any]]:
    """Generate valid filters, deterministic for a seed."""
    rng = random.Random(seed)
    return [_filter(rng, 3) for _ in range(count)]


def _filter(rng: random.Random, depth: int) -> dict[str, Any]:
    roll = rng.random()
    if depth and roll < 0.15:
        return {"$and": [_filter(rng, depth - 1) for _ in range(rng.randint(1, 3))]}
    if depth and roll < 0.3:
        return {"$or": [_filter(rng, depth - 1) for _ in range(rng.randint(1, 3))]}
    if depth and roll < 0.4:
        return {"$not": _filter(rng, depth - 1)}
    return {field: _condition(rng) for field in rng.sample(FIELDS, rng.choice([1, 1, 1, 2]))}


def _condition(rng: random.Random) -> Any:
    op = rng.choice(["", "$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$contains"])
    if op == "":
        return rng.choice(VALUES)
    if op == "$exists":
        return {op: rng.random() < 0.5}
    if op in ("$in", "$nin"):
        return {op: rng.sample(VALUES, rng.randint(0, 4))}
    if op in ("$gt", "$gte", "$lt", "$lte"):
        return {op: rng.choice([v for v in VALUES if v is not None and not isinstance(v, bool)])}
    return {op: rng.choice(VALUES)}
