"""Filters as Chroma's `where`: exact where it can be, else a condition that lets through what passes and more.

Chroma has no `$not`, so negations go down to the leaves; a leaf is a fact that is there or not, or a number's bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from genkit_rag.plugin_api import And, Compare, Filter, Not, Or
from genkit_rag_chroma import _facts

FACTS = "facts"
"""The metadata key of a row's facts."""
MAX_LEAVES = 200
"""SQLite limits conditions to a depth of 1000; longer filters are evaluated in Python."""

Clause = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Where:
    """A condition.

    Attributes:
        clause: Chroma's `where`; None lets everything through.
        exact: Whether it lets through nothing else than what passes the filter.
    """

    clause: Clause | None
    exact: bool


EVERYTHING = Where(None, True)
_UNKNOWN = Where(None, False)
NOTHING: Clause = {FACTS: {"$contains": "nothing"}}
"""No fact has this name."""


def where_of(tree: Filter | None) -> Where:
    """Return the condition for a filter."""
    return EVERYTHING if tree is None else _Compiler().compiled(tree, False)


def both(*clauses: Clause | None) -> Clause | None:
    """Return the conjunction of conditions, without those that are always true."""
    terms = [clause for clause in clauses if clause is not None]
    return {"$and": terms} if len(terms) > 1 else terms[0] if terms else None


class _Compiler:
    def __init__(self) -> None:
        self._leaves = 0

    def compiled(self, tree: Filter, negated: bool) -> Where:
        match tree:
            case Not(term):
                return self.compiled(term, not negated)
            case And(terms) | Or(terms):
                parts = [self.compiled(term, negated) for term in terms]
                return _all(parts) if isinstance(tree, And) is not negated else _any(parts)
            case Compare(field, op, value):
                return self.compare(field, op, value, negated)

    def compare(self, field: str, op: str, value: Any, negated: bool) -> Where:
        self._leaves += len(value) if isinstance(value, tuple) else 1
        if self._leaves > MAX_LEAVES:
            return _UNKNOWN
        if op == "$exists":
            absent = value is negated
            kinds = [_fact(kind, absent) for kind in _facts.kinds(field)]
            return _all(kinds) if absent else _any(kinds)
        if op in ("$eq", "$ne"):
            return _fact(_facts.equal(field, value), (op == "$ne") is not negated)
        if op in ("$in", "$nin"):
            absent = (op == "$nin") is not negated
            parts = [_fact(_facts.equal(field, one), absent) for one in value]
            return _all(parts) if absent else _any(parts)
        if op == "$contains":
            return _contains(field, value, negated)
        return _order(field, op, value, negated)


def _fact(name: str, absent: bool) -> Where:
    return Where({FACTS: {"$not_contains" if absent else "$contains": name}}, True)


def _contains(field: str, value: Any, negated: bool) -> Where:
    # A string may contain it and a list may have it; only the second is a fact, and only a list has several.
    if negated:
        return _UNKNOWN
    has = _fact(_facts.equal(field, value), False)
    return Where((_any([has, _fact(_facts.plain(field), False)]) if isinstance(value, str) else has).clause, False)


def _order(field: str, op: str, value: Any, negated: bool) -> Where:
    if isinstance(value, str):
        return _UNKNOWN if negated else _textual(field)
    upward = op in ("$gt", "$gte")
    key = _facts.highest(field) if upward else _facts.lowest(field)
    exact = abs(value) < _facts.EXACT
    if not exact:
        if negated:
            return _UNKNOWN
        op = "$gte" if upward else "$lte"  # a number beside it may have been rounded to it
    if negated:
        opposite = {"$gt": "$lte", "$gte": "$lt", "$lt": "$gte", "$lte": "$gt"}[op]
        return _any([_fact(_facts.numeric(field), True), _bound(key, opposite, value)])
    return Where(both(_fact(_facts.numeric(field), False).clause, _bound(key, op, value).clause), exact)


def _textual(field: str) -> Where:
    # Chroma orders numbers only.
    return Where(_any([_fact(_facts.plain(field), False), _fact(_facts.listed(field), False)]).clause, False)


def _bound(key: str, op: str, value: float) -> Where:
    return Where({key: {op: _facts.nearest(value)}}, True)


def _all(parts: Sequence[Where]) -> Where:
    return Where(both(*(part.clause for part in parts)), all(part.exact for part in parts))


def _any(parts: Sequence[Where]) -> Where:
    if not parts:
        return Where(NOTHING, True)
    exact = all(part.exact for part in parts)
    clauses = [part.clause for part in parts]
    if any(clause is None for clause in clauses):
        return Where(None, exact)
    return Where({"$or": clauses} if len(clauses) > 1 else clauses[0], exact)
