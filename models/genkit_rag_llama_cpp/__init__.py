"""Small language models in this process: llama.cpp, no server to start and no key."""

from genkit_rag.plugin_api import require_extra

with require_extra("llama-cpp", "xllamacpp"):
    from genkit_rag_llama_cpp._plugin import LlamaCpp

__all__ = ["LlamaCpp"]
