"""Reads `genkit_rag.toml`: the default actions, and a table of constructor arguments for each plugin."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn, cast

from genkit_rag._core.errors import GenkitError

CONFIG_FILE = "genkit_rag.toml"
CONFIG_VARIABLE = "GENKIT_RAG_CONFIG"
REFERENCE = "env:"
"""The prefix of a reference: `env:NAME` is replaced by the environment variable `NAME`."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """The defaults of commands and calls.

    Attributes:
        model: The model of `ask` and of `ai.generate`.
        embedder: The embedding model of new stores.
        store: The store of the commands, such as `pgvector/docs`.
        reranker: The reranker of `query` and `ask`.
    """

    model: str | None = None
    embedder: str | None = None
    store: str | None = None
    reranker: str | None = None


@dataclass(frozen=True, slots=True)
class ProjectConfig:
    """The contents of `genkit_rag.toml`; empty if there is no such file.

    Attributes:
        path: The file, or None.
        defaults: The table `[defaults]`.
        plugins: The tables `[plugins.NAME]` by name. References to environment variables are not resolved yet.
    """

    path: Path | None = None
    defaults: Defaults = Defaults()
    plugins: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])


def load_config(path: str | os.PathLike[str] | None = None, *, required: bool = False) -> ProjectConfig:
    """Read the configuration file.

    Args:
        path: The file. By default `$GENKIT_RAG_CONFIG`, or else `genkit_rag.toml` in the working directory.
        required: Raise if no file is named and the working directory has none.

    Raises:
        GenkitError: NOT_FOUND for a missing file; INVALID_ARGUMENT for invalid TOML or an unknown key.
    """
    named = path or os.environ.get(CONFIG_VARIABLE)
    file = Path(named or CONFIG_FILE)
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        if not named and not required:
            return ProjectConfig()
        raise GenkitError(
            "NOT_FOUND",
            f"There is no configuration file `{file}` in {Path.cwd()}.",
            hint="Create it, or set GENKIT_RAG_CONFIG to its path.",
            cause=error,
        ) from None
    except (OSError, ValueError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise GenkitError("INVALID_ARGUMENT", f"`{file}` cannot be read: {error}.", hint="Correct the file.") from error
    return _checked(file, raw)


def _checked(file: Path, raw: dict[str, Any]) -> ProjectConfig:
    _check_keys(file, "", raw, ("defaults", "plugins"))
    defaults, plugins = _table(file, "defaults", raw), _table(file, "plugins", raw)
    _check_keys(file, "defaults.", defaults, tuple(one.name for one in fields(Defaults)))
    for key, value in defaults.items():
        if not isinstance(value, str) or not value:
            _fail(file, f"`defaults.{key}` must be the name of an action, got {value!r}", f'{key} = "PLUGIN/NAME"')
    for name in plugins:
        table = _table(file, f"plugins.{name}", plugins, name)
        if not isinstance(table.get("plugin", name), str):
            _fail(file, f"`plugins.{name}.plugin` must be the name of a plugin", 'plugin = "openai"')
        if not name or "/" in name or any(ord(character) < 33 for character in name):
            _fail(file, f"`plugins.{name}`: {name!r} must be a name without spaces and slashes", "[plugins.openai]")
    resolved = {key: str(resolve(value, f"defaults.{key}", file)) for key, value in defaults.items()}
    return ProjectConfig(file, Defaults(**resolved), plugins)


def _table(file: Path, label: str, raw: Mapping[str, Any], key: str | None = None) -> dict[str, Any]:
    value = raw.get(key or label, {})
    if not isinstance(value, dict):
        _fail(file, f"`{label}` must be a table, got {value!r}", f"[{label}]")
    return cast("dict[str, Any]", value)


def _check_keys(file: Path, prefix: str, raw: Mapping[str, Any], allowed: tuple[str, ...]) -> None:
    for key in raw:
        if key not in allowed:
            raise GenkitError(
                "INVALID_ARGUMENT",
                f"`{file}`: unknown key `{prefix}{key}`.",
                hint=f"Allowed keys: {', '.join(allowed)}.",
                details={"key": f"{prefix}{key}"},
            )


def _fail(file: Path, problem: str, example: str) -> NoReturn:
    raise GenkitError("INVALID_ARGUMENT", f"`{file}`: {problem}.", hint=f"For example: {example}")


def resolve(value: Any, label: str, file: Path | None) -> Any:
    """Replace every string `env:NAME` in a value by the environment variable.

    Raises:
        GenkitError: FAILED_PRECONDITION for a variable that is not set.
    """
    if isinstance(value, Mapping):
        return {key: resolve(one, f"{label}.{key}", file) for key, one in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, list):
        return [resolve(one, f"{label}[{row}]", file) for row, one in enumerate(value)]
    if not isinstance(value, str) or not value.startswith(REFERENCE):
        return value
    variable = value.removeprefix(REFERENCE)
    found = os.environ.get(variable)
    if found is None:
        raise GenkitError(
            "FAILED_PRECONDITION",
            f"`{file}`: `{label}` is `{value}`, but the environment variable {variable} is not set.",
            hint=f"Set it: export {variable}=...",
        )
    return found
