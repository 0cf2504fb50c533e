"""Formats by name: the built-in ones and those that were registered."""

from __future__ import annotations

import difflib

from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._core.registry import Registry
from genkit_rag._generation.formats.base import Format
from genkit_rag._generation.formats.built_in import BUILT_IN

_KEY = "format/"
"""What stands before a format's name in `registry.values`."""


def register_format(registry: Registry, fmt: Format) -> Format:
    """Returns the format after adding it to the registry; ALREADY_EXISTS when its name is taken."""
    if not isinstance(fmt, Format):
        raise invalid(
            "fmt",
            fmt,
            "must be an object of a subclass of `Format`",
            hint="Pass an object, not the class: define_format(MyFormat()).",
        )
    name = getattr(fmt, "name", None)
    if not name or not isinstance(name, str):
        raise invalid("fmt", fmt, "has no name", hint="Set `name` in the class.")
    if name in BUILT_IN or _KEY + name in registry.values:
        raise GenkitError("ALREADY_EXISTS", f"There is a format `{name}` already.", hint="Give it another name.")
    registry.values[_KEY + name] = fmt
    return fmt


def find_format(registry: Registry | None, name: str) -> Format:
    """Returns the format of that name, of the registry or its parents; raises INVALID_ARGUMENT if there is none."""
    found = BUILT_IN.get(name)
    names = set(BUILT_IN)
    while found is None and registry is not None:
        found = registry.values.get(_KEY + name)
        names |= {key.removeprefix(_KEY) for key in registry.values if key.startswith(_KEY)}
        registry = registry.parent
    if found is None:
        close = difflib.get_close_matches(name, sorted(names), n=1)
        said = f"Did you mean `{close[0]}`? " if close else ""
        raise invalid("output_format", name, "is not known", hint=f"{said}Formats: {', '.join(sorted(names))}.")
    return found
