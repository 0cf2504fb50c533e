"""The installed plugins, found by their Python entry points."""

from __future__ import annotations

import difflib
from functools import cache
from typing import TYPE_CHECKING, Any

from genkit_rag._core.errors import GenkitError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "genkit_rag.plugins"
"""The entry-point group: `faiss = "genkit_rag_faiss:Faiss"`. The name is the default first part of action names."""


@cache
def installed_plugins() -> dict[str, EntryPoint]:
    """Return the entry points of all installed plugins by name, sorted; imports none of them."""
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)}


def plugin_class(name: str) -> type[Any]:
    """Import the class of an installed plugin.

    Raises:
        GenkitError: NOT_FOUND for a name without an entry point; the hint lists the installed plugins.
        MissingExtra: The library of the plugin is not installed.
    """
    entry = installed_plugins().get(name)
    if entry is None:
        close = difflib.get_close_matches(name, installed_plugins(), n=1)
        guess = f"Did you mean `{close[0]}`? " if close else ""
        raise GenkitError(
            "NOT_FOUND",
            f"No plugin named `{name}` is installed.",
            hint=f"{guess}Installed plugins: {', '.join(installed_plugins()) or 'none; reinstall genkit-rag'}.",
            details={"name": name, "names": list(installed_plugins())},
        )
    found: type[Any] = entry.load()
    return found
