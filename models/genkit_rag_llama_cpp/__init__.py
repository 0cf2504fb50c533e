"""Small language models in this process: llama.cpp, no server to start and no key."""

from genkit_rag.plugin_api import MissingExtra

try:
    from genkit_rag_llama_cpp._plugin import LlamaCpp
except ModuleNotFoundError as error:
    if error.name != "xllamacpp":
        raise
    raise MissingExtra("llama-cpp", "xllamacpp") from error

__all__ = ["LlamaCpp"]
