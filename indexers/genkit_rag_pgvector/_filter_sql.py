"""Filters as SQL over the column `facts`: the answers of `genkit_rag.plugin_api.matches`, every value a parameter."""

from __future__ import annotations

import json
from typing import Any

from genkit_rag.plugin_api import And, Compare, Filter, Not, Or
from genkit_rag_pgvector._psycopg import Params, Query, raw, sql
from genkit_rag_pgvector._rows import scalar

_INDEXED_VALUES = 20
"""Up to so many values of `$in` the index on `facts` is asked for each."""
_INDEXED_TERMS = 8
"""Of so many terms that must all hold it is asked; the others are only checked."""
_ORDER = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}


def condition(tree: Filter | None, params: Params) -> sql.Composed:
    """Compile a filter to a condition that is true or false, never null; add its values to the parameters."""
    compiler = _Compiler(params)
    if tree is None:
        return sql.SQL("TRUE").format()
    return _all([*compiler.hints(tree), compiler.tree(tree)])


class _Compiler:
    """Compiles filters. Each operand is a jsonb expression of one field; SQL NULL is a missing field."""

    def __init__(self, params: Params) -> None:
        self.params = params
        self.names: dict[Any, sql.Placeholder] = {}

    def bind(self, value: Any) -> sql.Placeholder:
        """Return the placeholder of a value; equal values share it."""
        key = (type(value), tuple(value) if isinstance(value, list) else value)
        if key not in self.names:
            name = f"f{len(self.names)}"
            self.params[name] = value
            self.names[key] = sql.Placeholder(name)
        return self.names[key]

    def json(self, value: Any) -> sql.Composed:
        """Return a scalar as jsonb."""
        return sql.SQL("{}::jsonb").format(self.bind(_json(value)))

    def field(self, name: str) -> Query:
        """Return the value of a field; a key that contains the dot takes precedence over the path."""
        whole = self.step(sql.SQL("facts"), name)
        if "." not in name:
            return whole
        path: Query = sql.SQL("facts")
        for part in name.split("."):
            path = self.step(path, part)
        return sql.SQL("COALESCE({}, {})").format(whole, path)

    def step(self, value: Query, key: str) -> sql.Composed:
        """Return the member of an object; NULL for other values or a missing member."""
        return sql.SQL("({} -> {}::text)").format(value, self.bind(scalar(key)))

    def tree(self, tree: Filter) -> Query:
        """Return the condition of a tree."""
        match tree:
            case Compare(field, op, value):
                return self.compare(self.field(field), op, value)
            case And(terms):
                return _all([self.tree(term) for term in terms])
            case Or(terms):
                return sql.SQL("({})").format(sql.SQL(" OR ").join([*map(self.tree, terms), sql.SQL("FALSE")]))
            case Not(term):
                return sql.SQL("(NOT {})").format(self.tree(term))

    def compare(self, found: Query, op: str, value: Any) -> sql.Composed:
        """Return the condition of one comparison."""
        match op:
            case "$exists":
                return sql.SQL("({} IS NOT NULL)" if value else "({} IS NULL)").format(found)
            case "$ne" | "$nin":
                return sql.SQL("(NOT {})").format(self.compare(found, "$eq" if op == "$ne" else "$in", value))
            case "$eq":
                # jsonb's containment of a scalar: that scalar, or a list with it on its first level.
                return sql.SQL("COALESCE({} @> {}, FALSE)").format(found, self.json(value))
            case "$in":
                values = self.bind([_json(item) for item in value])
                return sql.SQL("COALESCE({} @> ANY ({}::text[]::jsonb[]), FALSE)").format(found, values)
            case "$contains":
                return self.contains(found, value)
            case _:
                return self.order(found, _ORDER[op], value)

    def contains(self, found: Query, value: Any) -> sql.Composed:
        """Return the condition for a list with the element, or a string with the substring."""
        in_text: Query = sql.SQL("FALSE")
        if isinstance(value, str):
            in_text = sql.SQL("strpos(({} #>> '{{}}') COLLATE \"C\", {}::text) > 0").format(
                found, self.bind(scalar(value))
            )
        return sql.SQL(
            "(CASE jsonb_typeof({}) WHEN 'array' THEN {} @> {} WHEN 'string' THEN {} ELSE FALSE END)"
        ).format(found, found, self.json(value), in_text)

    def order(self, found: Query, operator: str, value: Any) -> sql.Composed:
        """Return the condition for a value, or an element of a list, with the type and the order."""
        kind = sql.Literal("string" if isinstance(value, str) else "number")
        return sql.SQL(
            "(CASE jsonb_typeof({found}) WHEN {kind} THEN {passes} WHEN 'array' THEN EXISTS "
            "(SELECT FROM jsonb_array_elements({found}) AS item WHERE jsonb_typeof(item) = {kind} AND {item}) "
            "ELSE FALSE END)"
        ).format(
            found=found,
            kind=kind,
            passes=self.ordered(found, operator, value),
            item=self.ordered(sql.SQL("item"), operator, value),
        )

    def ordered(self, found: Query, operator: str, value: Any) -> sql.Composed:
        """Return the comparison of two values of one type: numbers exactly, strings by code points."""
        if not isinstance(value, str):
            return sql.SQL("{} {} {}").format(found, raw(operator), self.json(value))
        return sql.SQL("({} #>> '{{}}') COLLATE \"C\" {} {}::text").format(
            found, raw(operator), self.bind(scalar(value))
        )

    # Conditions for the index.

    def hints(self, tree: Filter) -> list[Query]:
        """Return conditions that follow from the filter and that the index on `facts` supports."""
        terms = tree.terms if isinstance(tree, And) else (tree,)
        return [hint for term in terms[:_INDEXED_TERMS] for hint in self.hint(term)]

    def hint(self, tree: Filter) -> list[Query]:
        """Return the condition of one term for the index, if there is one."""
        if isinstance(tree, And):
            return self.hints(tree)
        if not isinstance(tree, Compare) or tree.op not in ("$eq", "$in"):
            return []
        values = [tree.value] if tree.op == "$eq" else list(tree.value)
        if not 0 < len(values) <= _INDEXED_VALUES:
            return []
        shapes = [shape for value in values for one in (value, [value]) for shape in _shapes(tree.field, one)]
        found = [sql.SQL("facts @> {}").format(self.json(shape)) for shape in shapes]
        return [sql.SQL("({})").format(sql.SQL(" OR ").join(found))]


def is_indexed(tree: Filter | None) -> bool:
    """Return whether the index on `facts` narrows the filter down."""
    return tree is not None and bool(_Compiler({}).hints(tree))


def _shapes(field: str, value: Any) -> list[Any]:
    shapes: list[Any] = [{field: value}]
    if "." in field:
        nested = value
        for part in reversed(field.split(".")):
            nested = {part: nested}
        shapes.append(nested)
    return shapes


def _json(value: Any) -> str:
    return json.dumps(_scalars(value), ensure_ascii=False)


def _scalars(value: Any) -> Any:
    if isinstance(value, dict):
        return {scalar(key): _scalars(item) for key, item in value.items()}
    return [_scalars(item) for item in value] if isinstance(value, list) else scalar(value)


def _all(terms: list[Query]) -> sql.Composed:
    return sql.SQL("({})").format(sql.SQL(" AND ").join([*terms, sql.SQL("TRUE")]))
