"""Output formats: how a model is asked for data, and how its text becomes data."""

from genkit_rag._generation.formats.base import Format, Wanted
from genkit_rag._generation.formats.built_in import BUILT_IN
from genkit_rag._generation.formats.instructions import (
    constrains,
    inject_instructions,
    simulate_constrained,
    wished_words,
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
    "simulate_constrained",
    "wished_words",
]
