"""Creates plugins from their tables in `genkit_rag.toml`."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from genkit_rag._config.file import ProjectConfig, resolve
from genkit_rag._core.action import Action, ActionKind
from genkit_rag._core.errors import GenkitError
from genkit_rag._core.installed import installed_plugins, plugin_class
from genkit_rag._core.registry import Plugin
from genkit_rag._core.schema import hints
from genkit_rag._rag.stores.actions import StorePlugin

_VALIDATION = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


class ConfiguredPlugins(Plugin):
    """Adds plugins to the registry when one of their actions is first looked up.

    A plugin with a table in the configuration is created from it; any other installed plugin with its defaults.
    """

    name = "genkit_rag.toml"
    kinds = (
        ActionKind.MODEL,
        ActionKind.BACKGROUND_MODEL,
        ActionKind.EMBEDDER,
        ActionKind.INDEXER,
        ActionKind.RETRIEVER,
        ActionKind.RERANKER,
    )

    def __init__(self, config: ProjectConfig) -> None:
        self.config = config

    async def resolve(self, kind: str, name: str) -> Action[Any, Any, Any] | None:
        """Add the plugin that owns the name, and return its action."""
        owner = name.partition("/")[0]
        if not is_available(self.config, owner) or any(plugin.name == owner for plugin in self.registry.plugins):
            return None
        self.registry.add_plugin(make_plugin(self.config, owner))
        return await self.registry.resolve(kind, name)


def is_available(config: ProjectConfig, name: str) -> bool:
    """Return whether a plugin of this name is configured or installed."""
    return name in config.plugins or name in installed_plugins()


def class_of(config: ProjectConfig, name: str) -> type[Any]:
    """Import the class of a configured or installed plugin; the table `[plugins.NAME]` may name it as `plugin`."""
    return plugin_class(str(config.plugins.get(name, {}).get("plugin", name)))


def make_plugin(config: ProjectConfig, name: str, **overrides: Any) -> Plugin:
    """Create a plugin from its table, or with its defaults if it has none.

    An embedding model or a language model that the constructor requires, and the embedding model of a store, come from
    `[defaults]` if the table does not name them.

    Args:
        config: The configuration.
        name: The name of the table, which becomes the name of the plugin.
        overrides: Constructor arguments that replace those of the table.

    Raises:
        GenkitError: INVALID_ARGUMENT names the key that is wrong, and the allowed ones.
        MissingExtra: The library of the plugin is not installed.
    """
    cls = class_of(config, name)
    label = f"plugins.{name}"
    table = {key: value for key, value in config.plugins.get(name, {}).items() if key != "plugin"}
    table = {key: value for key, value in table.items() if key not in overrides}
    arguments = _convert(cls, label, resolve(table, label, config.path), config) | overrides
    parameters = inspect.signature(cls).parameters
    if "name" in parameters:
        arguments["name"] = name
    for key in ("embedder", "model"):
        default = getattr(config.defaults, key)
        parameter = parameters.get(key)
        if parameter is None or key in arguments or default is None:
            continue
        if parameter.default is parameter.empty or (key == "embedder" and issubclass(cls, StorePlugin)):
            arguments[key] = default
    _check_complete(cls, label, arguments)
    try:
        made: Plugin = cls(**arguments)
    except GenkitError as error:
        raise GenkitError(
            error.status, f"`{label}`: {error.message}", hint=error.hint, details=error.details, cause=error
        ) from error
    return made


def _check_complete(cls: type[Any], label: str, arguments: Mapping[str, Any]) -> None:
    missing = [
        key
        for key, parameter in inspect.signature(cls).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and key not in arguments
    ]
    if missing:
        raise GenkitError(
            "INVALID_ARGUMENT",
            f"`{label}` needs {', '.join(f'`{key}`' for key in missing)}.",
            hint=f"Add to genkit_rag.toml: [{label}] {missing[0]} = ...",
            details={"missing": missing},
        )


def _convert(cls: type[Any], label: str, table: Mapping[str, Any], config: ProjectConfig) -> dict[str, Any]:
    """Validate the values of a table against the annotations of the constructor, such as a mapping of `*Config`s."""
    parameters = inspect.signature(cls).parameters
    takes_options = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    annotations = hints(cls.__init__)
    converted: dict[str, Any] = {}
    for key, value in table.items():
        if key not in parameters or key == "name":
            if key == "name" or not takes_options:
                allowed = ["plugin", *(name for name in parameters if name != "name")]
                raise _unknown(f"{label}.{key}", allowed, config)
            converted[key] = value  # the constructor checks its own options
            continue
        converted[key] = _validated(annotations.get(key, Any), value, f"{label}.{key}", config)
    return converted


def _validated(annotation: Any, value: Any, label: str, config: ProjectConfig) -> Any:
    try:
        return TypeAdapter(annotation, config=_VALIDATION).validate_python(value)
    except GenkitError as error:  # raised by a `__post_init__`
        raise GenkitError(error.status, f"`{label}`: {error.message}", hint=error.hint, cause=error) from error
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        for problem in problems:
            if problem["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
                keys = [str(key) for key in problem["loc"] if "[" not in str(key)]  # without the tags of unions
                raise _unknown(".".join([label, *keys]), _fields_in(annotation), config) from error
        raise GenkitError(
            "INVALID_ARGUMENT",
            f"`{config.path}`: `{label}` is not valid: {problems[0]['msg']}.",
            hint=f"Its type is {inspect.formatannotation(annotation)}.",
            details={"key": label},
        ) from error


def _unknown(label: str, allowed: list[str], config: ProjectConfig) -> GenkitError:
    return GenkitError(
        "INVALID_ARGUMENT",
        f"`{config.path}`: unknown key `{label}`.",
        hint=f"Allowed keys: {', '.join(allowed)}.",
        details={"key": label},
    )


def _fields_in(annotation: Any) -> list[str]:
    """Return the field names of all dataclasses and models in an annotation."""
    if dataclasses.is_dataclass(annotation):
        return [one.name for one in dataclasses.fields(annotation) if one.init and not one.name.startswith("_")]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return list(annotation.model_fields)
    return [name for inner in get_args(annotation) for name in _fields_in(inner)]
