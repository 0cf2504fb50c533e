"""Hypothesis strategies: JSON that a JSON Schema allows, and instances of our wire types."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Mapping
from typing import Any, Literal, Union, get_args, get_origin

from hypothesis import strategies as st

from genkit_rag._documents.part import Part
from genkit_rag._generation.middleware.base import MiddlewareRef
from genkit_rag._generation.tools.interrupts import Resume
from genkit_rag.plugin_api import Document, Media, Resource, ToolRequest, ToolResponse, WireModel

NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
ANY_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)
OBJECTS = st.dictionaries(st.text(max_size=5), ANY_JSON, max_size=3)
PLAIN: Mapping[str, st.SearchStrategy[Any]] = {
    "string": st.text(max_size=8),
    "number": NUMBERS,
    "integer": st.integers(-(2**53), 2**53),
    "boolean": st.booleans(),
    "null": st.none(),
}


class Schemas:
    """Strategies for the definitions of a schema file.

    Args:
        document: The file.
        narrower: By `Definition.property` what is generated in place of what the schema allows.
    """

    def __init__(self, document: Mapping[str, Any], narrower: Mapping[str, st.SearchStrategy[Any] | None]) -> None:
        self._document = document
        self._narrower = narrower
        self.definition = functools.cache(self._definition)

    def _definition(self, name: str) -> st.SearchStrategy[Any]:
        return self._of({"$ref": f"#/$defs/{name}"}, name)

    def _of(self, schema: Mapping[str, Any], name: str) -> st.SearchStrategy[Any]:
        """Returns what the schema allows; `name` is that of the definition we are in."""
        if "$ref" in schema:
            steps = schema["$ref"].removeprefix("#/").split("/")
            found: Any = self._document
            for step in steps:
                found = found[int(step)] if isinstance(found, list) else found[step]
            if steps[-1] in found.get("properties", {}) or len(steps) > 2:
                return self._of(found, name)
            return self.definition(steps[-1]) if name != steps[-1] else self._of(found, name)
        if "anyOf" in schema:
            return st.one_of([self._of(one, name) for one in schema["anyOf"]])
        if "enum" in schema or "const" in schema:
            return st.sampled_from(schema.get("enum") or [schema["const"]])
        kind = schema.get("type")
        if isinstance(kind, list):
            return st.one_of([self._of({"type": one}, name) for one in kind])
        if kind == "array":
            return st.lists(self._of(schema.get("items", {}), name), max_size=3)
        if kind == "object":
            return self._object(schema, name)
        return ANY_JSON if kind is None else PLAIN[kind]

    def _object(self, schema: Mapping[str, Any], name: str) -> st.SearchStrategy[Any]:
        properties: dict[str, st.SearchStrategy[Any]] = {}
        for key, value in schema.get("properties", {}).items():
            narrower = self._narrower.get(f"{name}.{key}", ANY_JSON)
            if narrower is None or self._forbids(value):
                continue
            properties[key] = self._of(value, name) if narrower is ANY_JSON else narrower
        required = set(schema.get("required", ()))
        fixed = st.fixed_dictionaries(
            {key: value for key, value in properties.items() if key in required},
            optional={key: value for key, value in properties.items() if key not in required},
        )
        more = schema.get("additionalProperties", {})
        if more is False:
            return fixed
        other = st.dictionaries(st.text(max_size=5), self._of({} if more is True else more, name), max_size=3)
        return st.builds(lambda extra, own: {**extra, **own}, other, fixed) if properties else other

    def _forbids(self, schema: Mapping[str, Any]) -> bool:
        """Whether no value is allowed: the schema is `{"not": {}}`, or points to it."""
        if "$ref" in schema:
            steps = schema["$ref"].removeprefix("#/").split("/")
            return self._forbids(functools.reduce(lambda found, step: found[step], steps, self._document))
        return schema.get("not") == {}


def instances(kind: Any) -> st.SearchStrategy[Any]:
    """Returns values of an annotation of ours: every field is left out, None, or set."""
    origin = get_origin(kind)
    if kind in _SPECIAL:
        return _SPECIAL[kind]()
    if kind is Any:
        return ANY_JSON
    if origin is Literal:
        return st.sampled_from(get_args(kind))
    if origin in (Union, types.UnionType):
        return st.one_of([instances(one) for one in get_args(kind)])
    if origin is list:
        return st.lists(instances(get_args(kind)[0]), max_size=2)
    if origin is dict:
        return st.dictionaries(st.text(max_size=5), instances(get_args(kind)[1]), max_size=2)
    return _model(kind)


@functools.cache
def _model(kind: type[WireModel]) -> st.SearchStrategy[Any]:
    fields = {(field.alias or name): instances(field.annotation) for name, field in kind.model_fields.items()}
    required = {(field.alias or name) for name, field in kind.model_fields.items() if field.is_required()}
    return st.fixed_dictionaries(
        {name: value for name, value in fields.items() if name in required},
        optional={name: value for name, value in fields.items() if name not in required},
    ).map(lambda given: kind(**given))


def _parts(kinds: Mapping[str, Any] | None = None) -> st.SearchStrategy[Part]:
    kinds = kinds or {
        "text": str,
        "media": Media,
        "tool_request": ToolRequest,
        "tool_response": ToolResponse,
        "reasoning": str,
        "resource": Resource,
    }
    beside: Any = {"data": ANY_JSON, "custom": OBJECTS, "metadata": st.none() | OBJECTS}
    options = [st.fixed_dictionaries({name: instances(kind)}, optional=beside) for name, kind in kinds.items()]
    if len(kinds) > 2:
        options.append(st.fixed_dictionaries({}, optional=beside))
    return st.one_of(options).map(lambda given: Part(**given))


def _documents() -> st.SearchStrategy[Document]:
    content = st.text(max_size=8) | st.lists(_parts({"text": str, "media": Media}), max_size=2)
    return st.builds(Document, content, st.none() | OBJECTS, id=st.none() | st.text(max_size=5), score=SCORES)


SCORES = st.floats(allow_nan=False, allow_infinity=False)
_SPECIAL: dict[Any, Callable[[], st.SearchStrategy[Any]]] = {
    str: lambda: PLAIN["string"],
    int: lambda: st.integers(1, 1000),
    float: lambda: NUMBERS,
    bool: st.booleans,
    type(None): st.none,
    Part: lambda: _parts(),
    Document: _documents,
    Resume: lambda: st.builds(
        Resume,
        respond=st.none() | st.lists(_parts({"tool_response": ToolResponse}), max_size=2),
        restart=st.none() | st.lists(_parts({"tool_request": ToolRequest}), max_size=2),
        metadata=st.none() | OBJECTS,
    ),
    MiddlewareRef: lambda: st.builds(MiddlewareRef, PLAIN["string"], ANY_JSON),
}
__all__ = ["ANY_JSON", "NUMBERS", "OBJECTS", "Schemas", "instances"]
