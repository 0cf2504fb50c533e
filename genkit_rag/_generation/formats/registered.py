"""The look-up of built-in and registered formats by name."""

from __future__ import annotations

import difflib

from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._core.registry import Registry
from genkit_rag._generation.formats.base import Format
from genkit_rag._generation.formats.built_in import BUILT_IN

_KEY = "format/"
"""The prefix of the names of formats in `registry.values`."""


def register_format(registry: Registry, fmt: Format) -> Format:
    """Register and return a format; raises ALREADY_EXISTS for a name in use."""
    if not isinstance(fmt, Format):
        raise invalid(
            "fmt",
            fmt,
            "must be an object of a subclass of `Format`",
            hint="Pass an object instead of the class: define_format(MyFormat()).",
        )
    name = getattr(fmt, "name", None)
    if not name or not isinstance(name, str):
        raise invalid("fmt", fmt, "must have a name", hint="Set `name` in the class.")
    if name in BUILT_IN or _KEY + name in registry.values:
        raise GenkitError("ALREADY_EXISTS", f"The format `{name}` is already registered.", hint="Choose another name.")
    registry.values[_KEY + name] = fmt
    return fmt


def find_format(registry: Registry | None, name: str) -> Format:
    """Return a format of the registry or its parents; raises INVALID_ARGUMENT for an unknown name."""
    found = BUILT_IN.get(name)
    names = set(BUILT_IN)
    while found is None and registry is not None:
        found = registry.values.get(_KEY + name)
        names |= {key.removeprefix(_KEY) for key in registry.values if key.startswith(_KEY)}
        registry = registry.parent
    if found is None:
        close = difflib.get_close_matches(name, sorted(names), n=1)
        said = f"Did you mean `{close[0]}`? " if close else ""
        raise invalid(
            "output_format",
            name,
            "must be a registered format",
            hint=f"{said}Registered formats: {', '.join(sorted(names))}.",
        )
    return found
