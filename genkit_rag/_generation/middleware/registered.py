"""The look-up of built-in and defined middleware by name."""

from __future__ import annotations

import difflib
import importlib
import inspect
import json
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, is_dataclass
from functools import lru_cache
from typing import Any, cast

from pydantic import BaseModel

from genkit_rag._core import schema
from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._core.registry import Registry
from genkit_rag._generation.middleware.base import Middleware, MiddlewareRef, Use, as_middleware
from genkit_rag._generation.middleware.wire_config import config_type

DEFINED = "middleware"
"""The key of the defined middleware in `Registry.values`."""

_OBJECTS = "middlewareObjects"
_MOST_OBJECTS = 128

_HERE = "genkit_rag._generation.middleware"
_BUILT_IN = {
    "retry": f"{_HERE}.retry:Retry",
    "fallback": f"{_HERE}.fallback:Fallback",
    "augment_with_context": "genkit_rag._generation.augmentation:AugmentWithContext",
    "simulate_system_prompt": f"{_HERE}.system_prompt:SimulateSystemPrompt",
    "simulate_constrained_generation": f"{_HERE}.constrained:SimulateConstrainedGeneration",
    "validate_support": f"{_HERE}.validate_support:ValidateSupport",
    "download_request_media": f"{_HERE}.media:DownloadRequestMedia",
    "tool_approval": f"{_HERE}.approval:ToolApproval",
    "cache": f"{_HERE}.cache:Cache",
    "rate_limit": f"{_HERE}.rate_limit:RateLimit",
    "redact": f"{_HERE}.redact:Redact",
}
"""The built-in middleware, imported at its first use."""

_lock = threading.RLock()


@dataclass(frozen=True)
class MiddlewareDefinition:
    """The definition of a middleware.

    Attributes:
        name: The name.
        make: Creates a middleware from the settings as keyword arguments.
        config: The type or JSON Schema of the config; None for a middleware without settings.
        description: One sentence for the listing.
        metadata: Further metadata for the listing.
    """

    name: str
    make: Callable[..., Any]
    config: Any = None
    description: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def build(self, config: Any) -> Middleware:
        """Create a middleware; raises INVALID_ARGUMENT, with the path, for an invalid config."""
        what = f"The config of the middleware `{self.name}`"
        if self.config is None and config:
            raise GenkitError("INVALID_ARGUMENT", f"{what} must be empty: it has no settings.", hint="Omit the config.")
        settings = _arguments(schema.parse(self.config, {} if config is None else config, what))
        try:
            made = self.make(**settings)
        except GenkitError as error:
            if argument := error.details.get("argument"):
                error.message = f"{what} does not match: $.{_camel(str(argument))}: {error.message}"
                error.args = (error.message,)
            raise
        except TypeError as error:
            hint = "The settings are the parameters of the middleware, in camelCase on the wire."
            raise GenkitError("INVALID_ARGUMENT", f"{what} does not match: {error}.", hint=hint) from error
        return as_middleware(made)

    def to_wire(self) -> dict[str, Any]:
        """Convert to Genkit's MiddlewareDesc: `{name, description, configSchema, metadata}`."""
        facts = {
            "name": self.name,
            "description": self.description,
            "configSchema": schema.json_schema(self.config),
            "metadata": dict(self.metadata) or None,
        }
        return {name: value for name, value in facts.items() if value is not None}


def define_middleware(
    registry: Registry,
    middleware: Any,
    *,
    name: str | None = None,
    description: str | None = None,
    config_schema: Any = None,
    metadata: Mapping[str, Any] | None = None,
) -> MiddlewareDefinition:
    """Register and return a definition; see `Genkit.define_middleware`."""
    if isinstance(middleware, Middleware) or inspect.iscoroutinefunction(middleware):
        if config_schema is not None:
            raise invalid(
                "config_schema", config_schema, "is only allowed with a class or a function that creates middleware"
            )
        make: Callable[..., Any] = lambda: middleware  # noqa: E731
    elif callable(middleware):
        make = middleware
        config_schema = config_schema if config_schema is not None else config_type(middleware)
    else:
        raise invalid("middleware", middleware, "must be a Middleware, its class or a function")
    name = name or _name_of(middleware)
    if not name or any(ord(c) < 33 for c in name):
        raise invalid("name", name, "must be a non-empty name without spaces", hint="Pass `name=`.")
    made = MiddlewareDefinition(
        name, make, config_schema, description or _first_with_parents(middleware), metadata or {}
    )
    with _lock:
        defined: dict[str, Any] = registry.values.setdefault(DEFINED, {})
        if name in defined or name in _BUILT_IN:
            raise GenkitError(
                "ALREADY_EXISTS",
                f"The middleware `{name}` is already registered.",
                hint="Rename one of the two.",
            )
        defined[name] = made
    return made


def to_middleware(use: Use, registry: Registry) -> list[Middleware]:
    """Convert the items of `use=` to middleware objects; names are looked up.

    Raises INVALID_ARGUMENT for an invalid item or config, NOT_FOUND for an unknown name.
    """
    if isinstance(use, str | Middleware | MiddlewareRef):
        raise invalid("use", use, "must be a list", hint="Put a single middleware into a list.")
    return [_to_middleware(item, registry) for item in use]


def _to_middleware(item: Any, registry: Registry) -> Middleware:
    if isinstance(item, str):
        return resolve_middleware(registry, MiddlewareRef(item))
    return resolve_middleware(registry, item) if isinstance(item, MiddlewareRef) else as_middleware(item)


def resolve_middleware(registry: Registry, ref: MiddlewareRef) -> Middleware:
    """Return the middleware of a name and a config, the same object each time, so that limits and caches are shared.

    The objects belong to the registry with the definition; beyond a maximum number of configs the oldest are dropped.
    """
    owner, found = _find(registry, ref.name)
    if found is None:
        raise _not_found(registry, ref.name)
    try:
        key = (ref.name, json.dumps(ref.config, sort_keys=True))
    except (TypeError, ValueError, RecursionError):
        return found.build(ref.config)
    with _lock:
        objects: OrderedDict[Any, Middleware] = owner.values.setdefault(_OBJECTS, OrderedDict())
        made = objects.get(key)
        if made is None:
            made = objects[key] = found.build(ref.config)
            if len(objects) > _MOST_OBJECTS:
                objects.popitem(last=False)
        objects.move_to_end(key)
        return made


def middleware_descriptions(registry: Registry) -> dict[str, dict[str, Any]]:
    """Return the descriptions of all middleware by name, as Genkit's MiddlewareDesc."""
    found = {name: _built_in(name) for name in _BUILT_IN}
    for known in reversed(_with_parents(registry)):
        found |= known.values.get(DEFINED, {})
    return {name: found[name].to_wire() for name in sorted(found)}


def _with_parents(registry: Registry) -> list[Registry]:
    """Return the registry and its parents."""
    return [registry] if registry.parent is None else [registry, *_with_parents(registry.parent)]


def _find(registry: Registry, name: str) -> tuple[Registry, MiddlewareDefinition | None]:
    line = _with_parents(registry)
    for known in line:
        found = known.values.get(DEFINED, {}).get(name)
        if found is not None:
            return known, found
    return line[-1], _built_in(name) if name in _BUILT_IN else None


@lru_cache(maxsize=len(_BUILT_IN))
def _built_in(name: str) -> MiddlewareDefinition:
    module, _, attribute = _BUILT_IN[name].partition(":")
    made = getattr(importlib.import_module(module), attribute)
    return MiddlewareDefinition(name, made, config_type(made), _first_with_parents(made))


def _not_found(registry: Registry, name: str) -> GenkitError:
    names = sorted({*_BUILT_IN, *(n for known in _with_parents(registry) for n in known.values.get(DEFINED, {}))})
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"Registered middleware: {', '.join(names)}."
    return GenkitError(
        "NOT_FOUND",
        f"Unknown middleware `{name}`.",
        hint=f"Did you mean `{close[0]}`? {hint}" if close else hint,
        details={"kind": "middleware", "name": name, "names": names},
    )


def _arguments(value: Any) -> dict[str, Any]:
    """Convert a config to keyword arguments, without unset values."""
    if isinstance(value, BaseModel):
        return {name: getattr(value, name) for name in value.model_fields_set}
    if is_dataclass(value) and not isinstance(value, type):
        return dict(vars(value))
    return {_snake(str(name)): item for name, item in cast(Mapping[Any, Any], value or {}).items()}


def _name_of(middleware: Any) -> str:
    if isinstance(middleware, Middleware):
        return ""  # several objects may have the same class, so an object needs an explicit name
    name = getattr(middleware, "__name__", "")
    return _snake(name) if isinstance(middleware, type) else name.strip("<>")


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)


def _first_with_parents(middleware: Any) -> str | None:
    doc = inspect.getdoc(middleware)
    return doc.strip().splitlines()[0].replace("`", "") if doc and doc.strip() else None
