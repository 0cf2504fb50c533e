"""Defining output formats."""

from __future__ import annotations

from typing import TypeVar

from genkit_rag._core.registry import Registry
from genkit_rag._generation.formats import Format, register_format

F = TypeVar("F", bound=Format)


class Formats:
    """The part of `Genkit` that registers output formats."""

    registry: Registry

    def define_format(self, fmt: F) -> F:
        """Returns the format after registering it: `generate(output_format=fmt.name)` finds it.

        Args:
            fmt: An object of a subclass of `Format`.

        Raises:
            GenkitError: INVALID_ARGUMENT for what is no format, ALREADY_EXISTS when its name is taken.
        """
        register_format(self.registry, fmt)
        return fmt
