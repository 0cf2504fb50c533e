"""Output formats: the instructions for a model, and the parsing of its answer."""

from genkit_rag._generation.formats.base import Format, Wanted
from genkit_rag._generation.formats.built_in import BUILT_IN
from genkit_rag._generation.formats.instructions import (
    constrains,
    inject_instructions,
    resolve_instructions,
    simulate_constrained,
)
from genkit_rag._generation.formats.registered import find_format, register_format

__all__ = [
    "BUILT_IN",
    "Format",
    "Wanted",
    "constrains",
    "find_format",
    "inject_instructions",
    "register_format",
    "resolve_instructions",
    "simulate_constrained",
]
