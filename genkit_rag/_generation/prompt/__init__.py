"""Prompts: templates with inputs, and the model calls that they configure."""

from genkit_rag._generation.prompt.contents import ContentLike
from genkit_rag._generation.prompt.helpers import Helper, HelperBlock
from genkit_rag._generation.prompt.library import (
    PromptLibrary,
    define_prompt,
    define_prompt_function,
    library_of,
    load_prompt_dir,
)
from genkit_rag._generation.prompt.options import PromptKwargs, RunKwargs
from genkit_rag._generation.prompt.prompt import ExecutablePrompt

__all__ = [
    "ContentLike",
    "ExecutablePrompt",
    "Helper",
    "HelperBlock",
    "PromptKwargs",
    "PromptLibrary",
    "RunKwargs",
    "define_prompt",
    "define_prompt_function",
    "library_of",
    "load_prompt_dir",
]
