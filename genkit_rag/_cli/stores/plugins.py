"""Resolves the names of actions that the options of the command line take."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Literal

from genkit_rag._cli.failures import WrongUsage
from genkit_rag._core.installed import installed_plugins

if TYPE_CHECKING:
    from genkit_rag._config import ProjectConfig

Provides = Literal["embedder", "indexer", "reranker", "model"]


def action_name(config: ProjectConfig, given: str, kind: Provides, option: str) -> str:
    """Resolve the value of an option to the full name of an action, `<plugin>/<name>`.

    The name of a plugin alone selects its default action.

    Raises:
        WrongUsage: No such plugin, the plugin has no actions of this kind, or it has no default action.
        MissingExtra: The library of the plugin is not installed.
    """
    from genkit_rag._config.plugins import class_of, is_available

    plugin, _, rest = given.partition("/")
    if not is_available(config, plugin):
        names = [*config.plugins, *(name for name in installed_plugins() if name not in config.plugins)]
        close = difflib.get_close_matches(plugin, names, n=1)
        guess = f"Did you mean `{close[0]}`? " if close else ""
        raise WrongUsage(
            f"`{option}`: no plugin is called `{plugin}`, got {given!r}.",
            hint=f"{guess}Write PLUGIN/NAME with one of: {', '.join(names)}.",
        )
    found = class_of(config, plugin)
    if found.provides and kind not in found.provides:
        kinds = " and ".join(f"{one}s" for one in found.provides)
        raise WrongUsage(
            f"`{option}`: the plugin `{plugin}` has no {kind}s, got {given!r}.",
            hint=f"It has {kinds}; `genkit-rag doctor` lists the plugins with their kinds of actions.",
        )
    default = found.default_action
    if rest and default != "":
        return given
    if default is None:
        raise WrongUsage(f"`{option}`: {given!r} names no {kind}.", hint=f"Write {plugin}/NAME.")
    return f"{plugin}/{default}".rstrip("/")
