"""The config of a middleware as a type: the settings that JSON may contain."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, cast

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, create_model
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError

from genkit_rag._core import schema
from genkit_rag._core.errors import invalid
from genkit_rag._documents.wire import WireModel
from genkit_rag._generation.middleware.base import Middleware


class _Config(WireModel):
    model_config = ConfigDict(protected_namespaces=())


def config_type(factory: Callable[..., Any]) -> type[WireModel] | None:
    """Create a pydantic model of the settings of a class or function that creates middleware; None without settings.

    The settings are the class's `wire_config`, else every parameter whose type has a JSON Schema. A config never sets
    functions and paths, because it may come from a remote client. Raises INVALID_ARGUMENT for such a parameter without
    a default.
    """
    wired: Mapping[str, Any] | None = getattr(factory, "wire_config", None)
    types = _from_signature(factory) if wired is None else wired
    defaults = {name: parameter.default for name, parameter in inspect.signature(factory).parameters.items()}
    fields: dict[str, Any] = {name: (tp, _default(defaults.get(name))) for name, tp in types.items()}
    if not fields:
        return None
    made = create_model(f"{getattr(factory, '__name__', 'Middleware')}Config", __base__=_Config, **fields)
    return cast(type[WireModel], made)


def _from_signature(factory: Callable[..., Any]) -> dict[str, Any]:
    hints = schema.hints(factory)
    if isinstance(factory, type):
        hints |= schema.hints(vars(factory).get("__init__", object.__init__))
    types: dict[str, Any] = {}
    for name, parameter in inspect.signature(factory).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        tp = hints.get(name, Any)
        if _is_safe(tp):
            types[name] = tp
        elif parameter.default is parameter.empty:
            raise invalid(
                name,
                tp,
                "has no default and cannot be set from JSON",
                hint="Define a function that creates the middleware from JSON-compatible settings.",
            )
    return types


def _is_safe(tp: Any) -> bool:
    if isinstance(tp, type) and issubclass(tp, Middleware):
        return False
    try:
        made = str(TypeAdapter(tp).json_schema())
    except (PydanticUserError, PydanticSchemaGenerationError, PydanticInvalidForJsonSchema):
        return False
    return not any(f"'format': '{kind}'" in made for kind in ("path", "file-path", "directory-path"))


def _default(value: Any) -> Any:
    """Return a default for the listing; `...` for a required parameter."""
    if value is inspect.Parameter.empty:
        return ...
    plain = value is None or isinstance(value, str | int | float | bool | tuple | list)
    return value if plain else None
