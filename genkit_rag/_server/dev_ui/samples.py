"""Sample inputs for actions, by the kind of the action or by its schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

Schema = Mapping[str, Any]

MAX_DEPTH = 6
_SCALARS: dict[str, Any] = {"string": "", "integer": 0, "number": 0, "boolean": False, "null": None}


def _text(text: str) -> dict[str, Any]:
    return {"content": [{"text": text}]}


_BY_KIND: dict[str, Any] = {
    "retriever": {"query": _text("How does it work?"), "options": {"k": 5}},
    "reranker": {
        "query": _text("How does it work?"),
        "documents": [_text("This is how it works."), _text("Something else.")],
        "options": {"k": 2},
    },
    "indexer": {"documents": [_text("A first document.")]},
    "embedder": {"input": [_text("A text to embed.")]},
    "model": {"messages": [{"role": "user", **_text("Hello!")}]},
    "background-model": {"messages": [{"role": "user", **_text("Hello!")}]},
    "evaluator": {
        "dataset": [{"testCaseId": "1", "input": "a question", "output": "an answer", "context": [], "reference": ""}],
        "evalRunId": "try",
    },
}


def sample_input(kind: str, schema: Schema | None) -> Any:
    """Return a sample input; None if the schema says nothing."""
    if kind in _BY_KIND:
        return _BY_KIND[kind]
    return None if not schema else _of_schema(schema, schema, 0)


def form_schema(kind: str, facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the input's schema for a form, with the schema of the options from the metadata."""
    given = facts.get("inputSchema")
    if not isinstance(given, dict):
        return None
    schema = cast(dict[str, Any], given)
    about = facts.get("metadata", {}).get(kind) if isinstance(facts.get("metadata"), dict) else None
    options = about.get("customOptions") if isinstance(about, Mapping) else None
    field = "config" if "model" in kind else "options"
    properties = schema.get("properties")
    if not isinstance(options, Mapping) or not isinstance(properties, dict) or field not in properties:
        return schema
    own = {name: value for name, value in options.items() if name != "$defs"}
    definitions = {**(schema.get("$defs") or {}), **(options.get("$defs") or {})}
    return {**schema, "properties": {**properties, field: own}, **({"$defs": definitions} if definitions else {})}


def _of_schema(schema: Schema, root: Schema, depth: int) -> Any:
    schema = _resolved(schema, root)
    for name in ("default", "const"):
        if name in schema:
            return schema[name]
    for name in ("examples", "enum"):
        if isinstance(schema.get(name), list) and schema[name]:
            return schema[name][0]
    branches: Any = schema.get("anyOf") or schema.get("oneOf")
    if branches and depth < MAX_DEPTH:
        return _of_schema(branches[0], root, depth + 1)
    kind = schema.get("type")
    kind = cast(Any, kind)[0] if isinstance(kind, list) and kind else kind
    if kind == "object" and depth < MAX_DEPTH:
        properties = cast(Mapping[str, Schema], schema.get("properties") or {})
        required = cast(list[str], schema.get("required") or [])
        return {
            name: _of_schema(one, root, depth + 1)
            for name, one in properties.items()
            if name in required or isinstance(one.get("default"), str | int | float)
        }
    if kind == "array":
        return []
    return _SCALARS.get(str(kind), {} if kind == "object" else None)


def _resolved(schema: Schema, root: Schema) -> Schema:
    for _ in range(MAX_DEPTH):
        target = schema.get("$ref")
        if not isinstance(target, str) or not target.startswith("#/"):
            break
        found: Any = root
        for step in target[2:].split("/"):
            found = found.get(step, {}) if isinstance(found, Mapping) else {}
        schema = found if isinstance(found, Mapping) else {}
    return schema
