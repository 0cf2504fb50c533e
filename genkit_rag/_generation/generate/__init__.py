"""The generate loop."""

from genkit_rag._generation.generate.action import GenerateAction, generate_action
from genkit_rag._generation.generate.loop import generate, generate_stream
from genkit_rag._generation.generate.models import DEFAULT_MODEL, resolve_model
from genkit_rag._generation.generate.options import MAX_TURNS, GenerateKwargs, GenerateOptions
from genkit_rag._generation.generate.render import render
from genkit_rag._generation.generate.wire_options import GenerateActionOptions

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
    "resolve_model",
]
