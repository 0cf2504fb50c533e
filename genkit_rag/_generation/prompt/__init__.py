"""Prompts: templates with values, and everything that belongs to the call of a model with them."""

from genkit_rag._generation.prompt.contents import ContentLike
from genkit_rag._generation.prompt.definition import define_prompt, define_prompt_function
from genkit_rag._generation.prompt.helpers import Helper, HelperBlock
from genkit_rag._generation.prompt.library import PromptLibrary, library_of, load_prompt_dir
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
