"""Models and embedders of a local Ollama server, by its own API."""

from genkit_rag.plugin_api import require_extra

with require_extra("ollama", "httpx"):
    from genkit_rag_ollama._plugin import Ollama

__all__ = ["Ollama"]
