"""What may be asked of the traces: typed conditions, compiled to constant SQL with bound values."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from genkit_rag._core.errors import GenkitError, invalid

Operator = Literal["eq", "neq", "gt", "gte", "lt", "lte", "contains"]
Value = str | float

_COMPARE: dict[str, str] = {"eq": "IS", "neq": "IS NOT", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
TRACE_FIELDS = {
    "id": "trace_id",
    "name": "name",
    "type": "kind",
    "kind": "kind",
    "status": "status",
    "start": "start",
    "end": "end",
    "latency": "latency",
    "spans": "spans",
    "errors": "errors",
}
SPAN_FIELDS = {name: name for name in ("name", "kind", "status", "start", "end", "latency")} | {"type": "kind"}
LABELS = ("genkitx:", "batchRun", "genkit:metadata:agent:sessionId")
"""Attributes of a root span that start so can be filtered by."""

MAX_LIMIT, MAX_VALUES = 1000, 100


@dataclass(frozen=True)
class Condition:
    """One field compared with a value, or with any of several."""

    field: str
    operator: Operator
    value: Value | Sequence[Value]


@dataclass(frozen=True)
class TraceQuery:
    """Which traces a list has, newest first.

    Attributes:
        limit: At most this many, from 1 to 1000.
        after: The `next` of the page before.
        where: Conditions that all hold: on the trace, which has its root span's name, kind, status (`running`, `ok`,
            `error`), start, end and latency in milliseconds, or on one of its spans.
        any_span: Whether the conditions are asked of each span instead of the root; they must hold for one span.
        text: Words that a span has, each as the beginning of a word; every string is valid.
    """

    limit: int = 50
    after: str | None = None
    where: tuple[Condition, ...] = ()
    any_span: bool = False
    text: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.limit, int) or not 1 <= self.limit <= MAX_LIMIT:
            raise invalid("limit", self.limit, f"must be from 1 to {MAX_LIMIT}")
        if len(self.where) > MAX_VALUES:
            raise invalid("where", len(self.where), f"must have at most {MAX_VALUES} conditions")


def parse_filter(raw: str) -> tuple[Condition, ...]:
    """Parse Genkit's filter, `{"eq": {"type": "flow"}, "gte": {"start": 0}}` as JSON text, to conditions."""
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        raise invalid("filter", raw, "is not valid JSON") from None
    if not isinstance(found, dict) or not all(isinstance(one, dict) for one in found.values()):
        raise invalid("filter", raw, 'must look like {"eq": {"type": "flow"}}')
    conditions: list[Condition] = []
    for operator, fields in found.items():
        if operator not in ("eq", "neq", "gt", "gte", "lt", "lte", "contains"):
            raise invalid("filter", operator, "is no operator", hint="Use eq, neq, gt, gte, lt, lte or contains.")
        conditions += [Condition(name, operator, _status(name, value)) for name, value in fields.items()]
    return tuple(conditions)


def _status(name: str, value: Any) -> Any:
    """Convert a status to our name: Genkit's tools use OpenTelemetry's numbers."""
    if isinstance(value, list):
        return [_status(name, one) for one in value]
    by_number: dict[Any, str] = {0: "ok", 1: "ok", 2: "error", "0": "ok", "1": "ok", "2": "error", "UNKNOWN": "running"}
    return by_number.get(value, value) if name == "status" and isinstance(value, int | str) else value


def compile_query(query: TraceQuery) -> tuple[str, list[Any]]:
    """Compile the SQL statement that lists one trace more than the limit, and its values."""
    clauses: list[str] = []
    values: list[Any] = []
    if query.where:
        fields = SPAN_FIELDS if query.any_span else TRACE_FIELDS
        parts = [_clause(one, fields) for one in query.where]
        inner = " AND ".join(sql for sql, _ in parts)
        # A span's id begins with the row of its trace.
        clauses.append(f"id IN (SELECT id >> 20 FROM spans WHERE {inner})" if query.any_span else inner)  # noqa: S608
        values += [value for _, given in parts for value in given]
    if query.text.strip():
        clauses.append("id IN (SELECT rowid >> 20 FROM words WHERE words MATCH ?)")
        values.append(match_expression(query.text))
    if query.after is not None:
        clauses.append("(start, id) < (?, ?)")
        values += parse_token(query.after)
    where = f"WHERE {' AND '.join(clauses)} " if clauses else ""
    values.append(query.limit + 1)
    return f"SELECT * FROM traces {where}ORDER BY start DESC, id DESC LIMIT ?", values  # noqa: S608


def match_expression(text: str) -> str:
    """Build a full-text expression that treats all of `text` as words, never as syntax."""
    words = text.replace("\0", " ").encode("utf-8", "replace").decode().split()[:32]
    # Tokens without letters or digits never match; if none remain, return no traces.
    quoted = ['"' + word.replace('"', '""') + '"*' for word in words if any(map(str.isalnum, word))]
    return " ".join(quoted) or '""'


def token_of(start: float, row: int) -> str:
    """Return the continuation token after a trace."""
    return f"{start!r}:{row}"


def parse_token(token: str) -> list[float]:
    """Parse a continuation token."""
    start, _, row = token.partition(":")
    try:
        found = [float(start), int(row)]
    except ValueError:
        found = []
    if not found or not math.isfinite(found[0]) or not 0 <= found[1] < 2**43:
        raise GenkitError("INVALID_ARGUMENT", "The continuation token is not one of ours.", hint="Start without one.")
    return found


def _clause(condition: Condition, fields: Mapping[str, str]) -> tuple[str, list[Any]]:
    given = condition.value
    values: list[Any] = list(given) if isinstance(given, list | tuple) else [given]
    if not values or len(values) > MAX_VALUES or not all(map(_is_plain, values)):
        raise invalid(condition.field, given, "must be compared with texts or finite numbers")
    name = fields.get(condition.field)
    prefix: list[Any] = []
    column = f'"{name}"'
    if name is None:
        if fields is not TRACE_FIELDS or not condition.field.startswith(LABELS):
            raise invalid("filter", condition.field, "is no field", hint=f"Fields are {', '.join(sorted(fields))}.")
        column, prefix = "(SELECT value FROM json_each(labels) WHERE key = ?)", [condition.field]
    if condition.operator == "contains":
        test = f"instr(lower({column}), lower(?)) > 0"
        values = [str(value) for value in values]
    else:
        test = f"{column} {_COMPARE[condition.operator]} ?"
    joint = " AND " if condition.operator == "neq" else " OR "
    bound = [value for one in values for value in (*prefix, one)]
    return "(" + joint.join([test] * len(values)) + ")", bound


def _is_plain(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= 10_000 and not any("\ud800" <= char <= "\udfff" for char in value)
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53
