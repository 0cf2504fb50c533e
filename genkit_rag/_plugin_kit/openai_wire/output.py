"""Structured output: `response_format`, and unwrapping of answers that had to be wrapped in an object.

Rules of `strict` schemas: https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
"""

from __future__ import annotations

import re
from typing import Any, cast

from genkit_rag._generation.model import ModelRequest, OutputConfig

Json = dict[str, Any]

_VALUE = "value"
_NOT_STRICT = (
    "allOf",
    "not",
    "if",
    "then",
    "else",
    "dependentRequired",
    "dependentSchemas",
    "patternProperties",
    "propertyNames",
    "unevaluatedProperties",
    "unevaluatedItems",
    "prefixItems",
    "contains",
)
_SCHEMAS_BY_NAME = ("properties", "$defs", "definitions")


class NotStrict(Exception):
    """The schema has no strict form with the same meaning."""


def is_held(output: OutputConfig | None) -> bool:
    """Return whether the provider must constrain the answer to a schema."""
    if output is None or not output.schema_:
        return False
    return bool(output.constrained or (output.constrained is None and output.format in (None, "json")))


def wants_json(output: OutputConfig | None) -> bool:
    """Return whether the answer must be JSON of any kind."""
    if output is None:
        return False
    return output.format == "json" or (output.format is None and output.content_type == "application/json")


def response_format(request: ModelRequest) -> Json | None:
    """Return the `response_format` of a request; None for text.

    The root must be an object there: a schema of another kind (an array, an enum) becomes the one property of an
    object, which `Unwrapper` takes off the answer again. `strict` is set where the schema keeps its meaning under
    its rules: closed objects, all properties required. A property that may be left out and cannot be null is not made
    required, since the model would have to invent it.
    """
    output = request.output
    if output is not None and output.schema_ and is_held(output):
        schema = _wrapped(output.schema_) if is_wrapped(output) else output.schema_
        try:
            named: Json = {"name": "output", "schema": _strict(schema), "strict": True}
        except NotStrict:
            named = {"name": "output", "schema": schema}
        return {"type": "json_schema", "json_schema": named}
    return {"type": "json_object"} if wants_json(output) else None


def is_wrapped(output: OutputConfig | None) -> bool:
    """Return whether the answer is the only property of a wrapping object."""
    return is_held(output) and output is not None and not _is_object(output.schema_ or {})


def _wrapped(schema: Json) -> Json:
    inner = {key: _moved(value) for key, value in schema.items() if key not in ("$defs", "$schema")}
    found: Json = {
        "type": "object",
        "properties": {_VALUE: inner},
        "required": [_VALUE],
        "additionalProperties": False,
    }
    return {**found, "$defs": _moved(schema["$defs"])} if "$defs" in schema else found


def _moved(node: Any) -> Any:
    """Return the schema with references to its root redirected to the new place of the root."""
    if isinstance(node, list):
        return [_moved(item) for item in node]
    if not isinstance(node, dict):
        return node
    found = {key: _moved(value) for key, value in cast(Json, node).items()}
    ref = found.get("$ref")
    if isinstance(ref, str) and ref.startswith("#") and not ref.startswith("#/$defs/"):
        found["$ref"] = f"#/properties/{_VALUE}{ref[1:]}"
    return found


def _strict(node: Any) -> Any:
    """Convert a schema to its `strict` form; NotStrict if that would change which answers are valid."""
    if not isinstance(node, dict):
        return node
    schema = cast(Json, node)
    if any(name in schema for name in _NOT_STRICT):
        raise NotStrict
    found: Json = {}
    for key, value in schema.items():
        if key in ("default", "discriminator", "$schema"):  # say nothing of which values are good, and are refused
            continue
        if key in _SCHEMAS_BY_NAME:
            found[key] = {name: _strict(inner) for name, inner in value.items()}
        elif key in ("anyOf", "oneOf"):
            found["anyOf"] = [_strict(inner) for inner in value]
        else:
            found[key] = _strict(value) if key in ("items", "additionalProperties") else value
    if "$ref" in found and len(found) > 1 + ("$defs" in found):  # nothing may stand beside a reference
        found["anyOf"] = [{"$ref": found.pop("$ref")}]
    kinds = schema.get("type")
    return _closed(schema, found) if _is_object(schema) or (isinstance(kinds, list) and "object" in kinds) else found


def _is_object(schema: Json) -> bool:
    return schema.get("type") == "object" or ("properties" in schema and "type" not in schema)


def _closed(schema: Json, found: Json) -> Json:
    properties: Json = schema.get("properties") or {}
    if schema.get("additionalProperties") not in (None, False) or not properties:
        raise NotStrict  # any names may stand in it, which is its point
    optional = properties.keys() - set(schema.get("required") or ())
    if any(not _can_be_filled(properties[name]) for name in optional):
        raise NotStrict
    return {"type": "object", **found, "required": list(properties), "additionalProperties": False}


def _can_be_filled(schema: Any) -> bool:
    """Return whether the schema has a value for "unknown": null, or a default."""
    node = cast(Json, schema) if isinstance(schema, dict) else {}
    kinds = node.get("type")
    return (
        "default" in node
        or kinds == "null"
        or (isinstance(kinds, list) and "null" in kinds)
        or any(_can_be_filled(inner) for inner in node.get("anyOf") or ())
    )


_HEAD = re.compile(rf'\s*\{{\s*"{_VALUE}"\s*:\s*')
_BARE_HEAD = f'{{"{_VALUE}":'


class Unwrapper:
    """Takes `{"value": ...}` off a text that comes in pieces; a text of another form passes as it is."""

    def __init__(self) -> None:
        self._held = ""
        self._inside: bool | None = None

    def feed(self, piece: str) -> str:
        """Add a piece of text and return what certainly belongs to the value."""
        text = self._held + piece
        if self._inside is None:
            head = _HEAD.match(text)
            if head is not None and head.end() < len(text):
                self._inside, text = True, text[head.end() :]
            elif _BARE_HEAD.startswith("".join(text.split())):
                self._held = text
                return ""
            else:
                self._inside = False
        value = _without_end(text) if self._inside else text
        self._held = text[len(value) :]
        return value

    def end(self) -> str:
        """Return held-back text that belongs to the value after all."""
        held, self._held = self._held, ""
        is_frame = "}" in held if self._inside else _HEAD.match(held) is not None
        return "" if is_frame else held


def _without_end(text: str) -> str:
    bare = text.rstrip()
    return bare[:-1].rstrip() if bare.endswith("}") else bare
