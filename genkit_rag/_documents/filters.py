"""The filter language: one portable, typed tree for every store, and the Python oracle they all agree with.

`{'year': {'$gte': 2020}, '$or': [{'lang': 'en'}, {'tags': {'$in': ['a', 'b']}}]}`

Semantics, for every store:
- A field is a key of the metadata; `a.b` reaches into nested objects (a key that contains the dot wins).
- A comparison on a list is true when it is true of any element (`$ne` and `$nin`: of all of them); on a missing field
  it is false, but `$ne` and `$nin` are true, since they are the negations of `$eq` and `$in`. None is a value of
  its own: `{'x': None}` matches a null that is there, not a missing field.
- Types never mix: `1` is not `'1'`, `True` is not `1`; `1` equals `1.0`. An order between different types is false.
- `$contains` is true for a list that has the element, and for a string that contains the string.
- Several fields or operators in one object are joined by `$and`.
"""

from __future__ import annotations

import datetime
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, cast

from genkit_rag._core.errors import GenkitError

Scalar = str | int | float | bool | None
Operator = Literal["$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$contains"]
OPERATORS: tuple[str, ...] = ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$contains")
LOGICAL: tuple[str, ...] = ("$and", "$or", "$not")

MAX_DEPTH = 16
"""How deep `$and`, `$or` and `$not` may nest."""
MAX_VALUES = 10_000
"""How many values one filter may hold in all."""


@dataclass(frozen=True, slots=True)
class Compare:
    """A condition on one field. For `$in` and `$nin` the value is a tuple, for `$exists` a bool."""

    field: str
    op: Operator
    value: Any


@dataclass(frozen=True, slots=True)
class And:
    """True when all are; without any it is true."""

    terms: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """True when one is; without any it is false."""

    terms: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """True when the term is not."""

    term: Filter


Filter = Compare | And | Or | Not
"""A parsed filter. To cache by it, key by its `repr`: `1`, `1.0` and `True` are equal in Python and not here."""


def parse_filter(raw: Mapping[str, Any] | Filter | None) -> Filter | None:
    """Parse a filter to a tree; None for no filter (None or an empty object).

    Raises INVALID_ARGUMENT that names the operator or value and what is allowed.
    """
    if raw is None or isinstance(raw, Compare | And | Or | Not):
        return raw
    if not isinstance(raw, Mapping):
        raise _error(f"a filter is an object, got {raw!r}", "Write {'field': value} or {'field': {'$gte': 3}}.")
    return _Parser().object(raw, 1) if raw else None


class _Parser:
    def __init__(self) -> None:
        self.values = 0

    def object(self, raw: Mapping[str, Any], depth: int) -> Filter:
        if depth > MAX_DEPTH:
            raise _error(f"it nests deeper than {MAX_DEPTH}", "Flatten it: several fields in one object mean `$and`.")
        terms: list[Filter] = []
        for key, value in raw.items():
            if not isinstance(key, str):
                raise _error(f"the key {key!r} is not a string", "Keys are field names or operators.")
            if key in LOGICAL:
                terms.append(self.logical(key, value, depth))
            elif key.startswith("$"):
                raise _error(
                    f"unknown operator `{key}`",
                    f"At this place use a field name or one of {', '.join(LOGICAL)}; "
                    f"below a field: {', '.join(OPERATORS)}.",
                )
            else:
                terms += self.field(key, value, depth)
        return terms[0] if len(terms) == 1 else And(tuple(terms))

    def logical(self, key: str, value: Any, depth: int) -> Filter:
        if key == "$not":
            if not isinstance(value, Mapping):
                raise _error(f"`$not` takes an object, got {value!r}", "Write {'$not': {'field': value}}.")
            return Not(self.object(cast(Mapping[str, Any], value), depth + 1))
        if not isinstance(value, list | tuple) or not value:
            raise _error(f"`{key}` takes a non-empty list, got {value!r}", f"Write {{'{key}': [{{...}}, {{...}}]}}.")
        terms: list[Filter] = []
        for item in cast(Sequence[Any], value):
            if not isinstance(item, Mapping):
                raise _error(f"`{key}` takes a list of objects, got {item!r} in it", "Each item is a filter itself.")
            terms.append(self.object(cast(Mapping[str, Any], item), depth + 1))
        return And(tuple(terms)) if key == "$and" else Or(tuple(terms))

    def field(self, field: str, value: Any, depth: int) -> list[Filter]:
        if not isinstance(value, Mapping):
            return [Compare(field, "$eq", self.scalar(field, "$eq", value))]
        if not value:
            raise _error(f"`{field}` has an empty condition", "Give a value or an operator such as {'$gte': 3}.")
        terms: list[Filter] = []
        for op, operand in value.items():
            if op == "$not":
                if not isinstance(operand, Mapping):
                    raise _error(f"`{field}: $not` takes an object", "Write {'field': {'$not': {'$gt': 3}}}.")
                if depth >= MAX_DEPTH:
                    raise _error(f"it nests deeper than {MAX_DEPTH}", "Flatten it.")
                inner = self.field(field, operand, depth + 1)
                terms.append(Not(inner[0] if len(inner) == 1 else And(tuple(inner))))
            elif op in OPERATORS:
                terms.append(self.compare(field, cast(Operator, op), operand))
            else:
                close = get_close_matches(f"${str(op).lstrip('$')}", (*OPERATORS, "$not"), n=1)
                guess = f"Did you mean `{close[0]}`? " if close else ""
                raise _error(
                    f"unknown operator `{op}` on field `{field}`",
                    f"{guess}Known operators: {', '.join(OPERATORS)}, $not.",
                )
        return terms

    def compare(self, field: str, op: Operator, operand: Any) -> Compare:
        if op in ("$in", "$nin"):
            if isinstance(operand, set | frozenset):
                operand = sorted(cast("set[Any]", operand), key=repr)
            if not isinstance(operand, list | tuple):
                raise _error(f"`{field}: {op}` takes a list, got {operand!r}", f"Write {{'{op}': ['a', 'b']}}.")
            return Compare(field, op, tuple(self.scalar(field, op, item) for item in cast(Sequence[Any], operand)))
        if op == "$exists":
            if not isinstance(operand, bool):
                raise _error(f"`{field}: $exists` takes true or false, got {operand!r}", "Write {'$exists': True}.")
            return Compare(field, op, operand)
        value = self.scalar(field, op, operand)
        if op in ("$gt", "$gte", "$lt", "$lte") and (value is None or isinstance(value, bool)):
            raise _error(f"`{field}: {op}` takes a number or a string, got {operand!r}", "Use $eq for it.")
        return Compare(field, op, value)

    def scalar(self, field: str, op: str, value: Any) -> Scalar:
        self.values += 1
        if self.values > MAX_VALUES:
            raise _error(f"it holds more than {MAX_VALUES} values", "Split it into several queries.")
        if isinstance(value, datetime.datetime | datetime.date):
            return value.isoformat()
        if value is None or isinstance(value, str | bool):
            return value
        if isinstance(value, int):
            if abs(value) >= 2**63:
                raise _error(f"`{field}: {op}` has an integer beyond 63 bits", "Store such numbers as strings.")
            return value
        if isinstance(value, float) and math.isfinite(value):
            return value
        raise _error(
            f"`{field}: {op}` takes a string, a finite number, a boolean or None, got {value!r}",
            "For several values use {'$in': [...]}.",
        )


def _error(problem: str, hint: str) -> GenkitError:
    return GenkitError(
        "INVALID_ARGUMENT", f"`filter` is not valid: {problem}.", hint=hint, details={"argument": "filter"}
    )


MISSING: Any = object()
"""What `get_field` gives for a field that is not there."""


def get_field(metadata: Mapping[str, Any], field: str) -> Any:
    """Return the value of a field (dots reach into nested objects), or `MISSING`."""
    if field in metadata:
        return metadata[field]
    if "." not in field:
        return MISSING
    value: Any = metadata
    for step in field.split("."):
        if not isinstance(value, Mapping) or step not in value:
            return MISSING
        value = cast(Mapping[str, Any], value)[step]
    return value


def matches(tree: Filter | None, metadata: Mapping[str, Any]) -> bool:
    """Return whether metadata matches a filter. This is the reference implementation for all stores."""
    match tree:
        case None:
            return True
        case Compare(field, op, value):
            return matches_value(op, value, get_field(metadata, field))
        case And(terms):
            return all(matches(term, metadata) for term in terms)
        case Or(terms):
            return any(matches(term, metadata) for term in terms)
        case Not(term):
            return not matches(term, metadata)


_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}


def matches_value(op: str, wanted: Any, found: Any) -> bool:
    """Return whether the value of one field (or `MISSING`) satisfies one comparison."""
    match op:
        case "$exists":
            return (found is not MISSING) is wanted
        case "$ne":
            return not matches_value("$eq", wanted, found)
        case "$nin":
            return not matches_value("$in", wanted, found)
        case "$contains":
            if isinstance(found, str):
                return isinstance(wanted, str) and wanted in found
            return isinstance(found, list | tuple) and any(same(item, wanted) for item in cast("list[Any]", found))
        case _:
            pass
    if found is MISSING:
        return False
    items: Sequence[Any] = cast("list[Any]", found) if isinstance(found, list | tuple) else (found,)
    if op == "$eq":
        return any(same(item, wanted) for item in items)
    if op == "$in":
        return any(same(item, one) for item in items for one in wanted)
    return any(_type(item) == _type(wanted) and _ORDER[op](item, wanted) for item in items)


def same(a: Any, b: Any) -> bool:
    """Return whether two scalars are equal without mixing types; `1` equals `1.0`, `True` does not equal `1`."""
    return _type(a) == _type(b) and bool(a == b)


def _type(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "other"
