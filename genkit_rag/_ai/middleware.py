"""Middleware by name: defining it, and saying what there is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, overload

from genkit_rag._core.registry import Registry
from genkit_rag._generation.middleware import (
    Middleware,
    MiddlewareDefinition,
    ModelMiddlewareFn,
    define_middleware,
    middleware_descriptions,
)

M = TypeVar("M")
Definable = Middleware | type[Middleware] | ModelMiddlewareFn | Callable[..., Middleware]


class MiddlewareDefinitions:
    """The part of `Genkit` that knows middleware by name."""

    registry: Registry

    def define_middleware(
        self,
        middleware: Definable,
        *,
        name: str | None = None,
        description: str | None = None,
        config_schema: Any = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> MiddlewareDefinition:
        """Register a middleware definition, which `use=["name"]` and `/util/generate` find by its name.

        One object serves all uses of a name with the same config. Genkit's own have their functions' names: `retry`,
        `fallback`, `cache` and so on.

        Args:
            middleware: A class, or a function that makes middleware: the config's settings are its keyword arguments.
                Or a Middleware object, or an async function around model calls, which have no settings.
            name: By default the function's, or the class's in small letters: `PoliteTone` is `polite_tone`.
            description: The docstring's first line by default.
            config_schema: A type or JSON Schema of the config. By default the class's `wire_config`, else every
                parameter whose type has a JSON Schema; paths and functions are left out. Names are camelCase on the
                wire.
            metadata: Further facts for the listing.

        Raises:
            GenkitError: ALREADY_EXISTS for a name that is taken; INVALID_ARGUMENT for a parameter without a default
                that no config can give.
        """
        return define_middleware(
            self.registry,
            middleware,
            name=name,
            description=description,
            config_schema=config_schema,
            metadata=metadata,
        )

    @overload
    def middleware(self, made: M, /) -> M: ...
    @overload
    def middleware(
        self,
        made: None = None,
        /,
        *,
        name: str | None = None,
        description: str | None = None,
        config_schema: Any = None,
    ) -> Callable[[M], M]: ...
    def middleware(
        self, made: Any = None, /, *, name: str | None = None, description: str | None = None, config_schema: Any = None
    ) -> Any:
        """Register a class or function as middleware by name, and return it unchanged. See `define_middleware`."""

        def define(given: Any) -> Any:
            self.define_middleware(given, name=name, description=description, config_schema=config_schema)
            return given

        return define if made is None else define(made)

    def list_middleware(self) -> dict[str, dict[str, Any]]:
        """List the registered middleware as JSON: `name`, `description`, `configSchema` and `metadata`."""
        return middleware_descriptions(self.registry)
