"""The generate loop."""

from genkit_rag._blocks.generate.action import GenerateAction, generate_action
from genkit_rag._blocks.generate.loop import DEFAULT_MODEL, generate, generate_stream
from genkit_rag._blocks.generate.options import MAX_TURNS, GenerateActionOptions, GenerateOptions

__all__ = [
    "DEFAULT_MODEL",
    "MAX_TURNS",
    "GenerateAction",
    "GenerateActionOptions",
    "GenerateOptions",
    "generate",
    "generate_action",
    "generate_stream",
]
