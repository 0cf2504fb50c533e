"""Converting Picoschema, the short notation for schemas in front matter, to JSON Schema.

Source: https://google.github.io/dotprompt/reference/picoschema/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, cast

from genkit_rag._core.errors import GenkitError

SCALARS = ("any", "boolean", "integer", "null", "number", "string")
Schema = dict[str, Any]
FindSchema = Callable[[str], Schema | None]
"""Returns the JSON Schema of a name; None for an unknown name."""

_WILDCARD = "(*)"
_KEY = re.compile(r"(?P<name>[^(]*?)(?P<optional>\?)?\s*(?:\((?P<info>.*)\))?\s*", re.DOTALL)
MAX_DEPTH = 50
"""The maximum nesting of a schema."""


def to_json_schema(source: Any, find: FindSchema) -> Schema:
    """Convert a picoschema to a JSON Schema; a JSON Schema is returned unchanged.

    Args:
        source: A text such as `string, a description`, or an object of fields; an object with a JSON type as its
            `type`, or with an object as its `properties`, is a JSON Schema.
        find: Looks up the schemas that the source refers to.

    Raises:
        GenkitError: INVALID_ARGUMENT with the field.
    """
    if isinstance(source, Mapping):
        given = dict(cast("Mapping[str, Any]", source))
        if isinstance(given.get("type"), str) and given["type"] in (*SCALARS, "object", "array"):
            return {key: value for key, value in given.items() if (key, value) != ("type", "any")}
        if isinstance(given.get("properties"), Mapping):
            return {**given, "type": "object"}
    return _Reader(find).read(source, "$")


def named_schema(source: Any) -> str | None:
    """Return the name if the schema is just a name; None otherwise."""
    return source if isinstance(source, str) and source not in SCALARS and "," not in source else None


class _Reader:
    def __init__(self, find: FindSchema) -> None:
        self._find = find

    def read(self, source: Any, path: str) -> Schema:
        if path.count(".") > MAX_DEPTH:
            raise _invalid("$", f"is nested more than {MAX_DEPTH} deep")
        if source is None:  # YAML `field: null`
            return {"type": "null"}
        if isinstance(source, str):
            return self._scalar(source, path)
        if isinstance(source, Mapping):
            return self._object(cast("Mapping[str, Any]", source), path)
        raise _invalid(path, f"must be a type's name or an object of fields, got {source!r:.80}")

    def _scalar(self, source: str, path: str) -> Schema:
        name, description = _described(source)
        if name in SCALARS:
            schema: Schema = {} if name == "any" else {"type": name}
        else:
            found = self._find(name)
            if found is None:
                raise GenkitError(
                    "INVALID_ARGUMENT",
                    f"The schema is invalid: {path} has the unknown type `{name}`.",
                    hint=f"Use {', '.join(SCALARS)}, or define it with ai.define_schema({name!r}, ...) first.",
                    details={"path": path, "name": name},
                )
            schema = dict(found)
        return {**schema, "description": description} if description else schema

    def _object(self, fields: Mapping[str, Any], path: str) -> Schema:
        schema: Schema = {"type": "object", "properties": {}, "additionalProperties": False}
        required: list[str] = []
        for key, value in fields.items():
            if key == _WILDCARD:
                schema["additionalProperties"] = self.read(value, f"{path}.{key}")
                continue
            match = _KEY.fullmatch(key)
            if match is None or not match["name"]:
                raise _invalid(f"{path}.{key}", "must be `name`, `name?` or `name(array, description)`")
            optional = match["optional"] is not None
            if not optional:
                required.append(match["name"])
            schema["properties"][match["name"]] = self._field(value, match["info"], optional, f"{path}.{key}")
        return {**schema, "required": required} if required else schema

    def _field(self, value: Any, info: str | None, optional: bool, path: str) -> Schema:
        kind, description = _described(info or "")
        if not info:
            schema: Schema = dict(self.read(value, path))
        elif kind == "array":
            schema = {"type": "array", "items": self.read(value, path)}
        elif kind == "object":
            schema = dict(self.read(value, path))
        elif kind == "enum":
            if not isinstance(value, list):
                raise _invalid(path, f"must be a list of values, got {value!r:.80}")
            choices: list[Any] = value
            schema = {"enum": [*choices, None] if optional and None not in choices else list(choices)}
        else:
            raise _invalid(path, f"has the kind {kind!r}, must be `object`, `array` or `enum`")
        if optional and isinstance(schema.get("type"), str):
            schema["type"] = [schema["type"], "null"]
        return {**schema, "description": description} if description else schema


def _described(source: str) -> tuple[str, str | None]:
    """Split into the name of the type and the description after the first comma."""
    name, _, description = source.partition(",")
    return name.strip(), description.strip() or None


def _invalid(path: str, problem: str) -> GenkitError:
    hint = "Write Picoschema as `field: type, description`, or JSON Schema with `type: object` and `properties:`."
    return GenkitError(
        "INVALID_ARGUMENT", f"The schema is invalid: {path} {problem}.", hint=hint, details={"path": path}
    )
