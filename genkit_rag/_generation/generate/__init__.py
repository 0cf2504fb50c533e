"""The generate loop."""

from genkit_rag._generation.generate.actions import (
    GenerateAction,
    GenerateActionOptions,
    generate_action,
    render_action,
)
from genkit_rag._generation.generate.loop import generate, generate_stream
from genkit_rag._generation.generate.models import DEFAULT_MODEL, resolve_model
from genkit_rag._generation.generate.options import MAX_TURNS, GenerateKwargs, GenerateOptions
from genkit_rag._generation.generate.render import render

__all__ = [
    "DEFAULT_MODEL",
    "MAX_TURNS",
    "GenerateAction",
    "GenerateActionOptions",
    "GenerateKwargs",
    "GenerateOptions",
    "generate",
    "generate_action",
    "generate_stream",
    "render",
    "render_action",
    "resolve_model",
]
