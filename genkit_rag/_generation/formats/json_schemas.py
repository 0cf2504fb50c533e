"""The types that a JSON Schema allows, as far as formats need them."""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType
from typing import Any, cast

from genkit_rag._core.schema import JsonSchema

_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int, float),
    "number": (int, float),
    "null": (NoneType,),
}
_MAX_REFERENCES = 32
"""A longer chain of references is treated as a cycle."""


def types_of(schema: JsonSchema | None, root: JsonSchema | None = None) -> set[str] | None:
    """Return the JSON types that a schema allows; None when it does not restrict them.

    References are followed into `root`, by default the schema, and `anyOf` and `oneOf` are searched.
    """
    return _types(schema, schema if root is None else root, _MAX_REFERENCES)


def _types(schema: Any, root: Any, depth: int) -> set[str] | None:
    if not isinstance(schema, Mapping) or not depth:
        return None
    node = cast(JsonSchema, schema)
    said = node.get("type")
    if isinstance(said, str):
        return {said}
    if isinstance(said, list):
        return {str(name) for name in said}
    if isinstance(reference := node.get("$ref"), str):
        return _types(_at(reference, root), root, depth - 1)
    options = node.get("anyOf") or node.get("oneOf")
    if isinstance(options, list):
        found = [_types(option, root, depth - 1) for option in options]
        return None if None in found else {name for names in found for name in names or ()}
    values = allowed_values(node)
    return {"string"} if values and all(isinstance(value, str) for value in values) else None


def _at(reference: str, root: Any) -> Any:
    found = root
    for step in reference.removeprefix("#").strip("/").split("/") if reference != "#" else ():
        name = step.replace("~1", "/").replace("~0", "~")
        found = cast(JsonSchema, found).get(name) if isinstance(found, Mapping) else None
    return found


def has_type(value: Any, types: set[str] | None) -> bool:
    """Return whether a JSON value has one of the types; None allows any type."""
    if types is None:
        return True
    if isinstance(value, bool):
        return "boolean" in types
    return any(isinstance(value, _TYPES.get(name, ())) for name in types)


def allowed_values(schema: JsonSchema | None) -> list[Any]:
    """Return the values of `enum` or `const`; empty without either."""
    node = schema or {}
    if isinstance(reference := node.get("$ref"), str):
        node = _at(reference, schema) or {}
    values = node.get("enum")
    if isinstance(values, list):
        return values
    return [node["const"]] if "const" in node else []


def items_of(schema: JsonSchema | None) -> JsonSchema | None:
    """Return the schema of an array's items, with its definitions; None if the schema has no `items`."""
    items = (schema or {}).get("items")
    if not isinstance(items, Mapping):
        return None
    shared = {name: schema[name] for name in ("$defs", "definitions") if schema and name in schema}
    return {**cast(JsonSchema, items), **shared}
