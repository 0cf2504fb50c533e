"""The generate loop."""

from genkit_rag._blocks.generate.action import GenerateAction, generate_action
from genkit_rag._blocks.generate.loop import generate, generate_stream
from genkit_rag._blocks.generate.models import DEFAULT_MODEL, resolve_model
from genkit_rag._blocks.generate.options import MAX_TURNS, GenerateKwargs, GenerateOptions
from genkit_rag._blocks.generate.render import render
from genkit_rag._blocks.generate.wire_options import GenerateActionOptions

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
