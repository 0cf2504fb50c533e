"""Models and embedders of a local Ollama server, by its own API."""

from genkit_rag.plugin_api import MissingExtra

try:
    from genkit_rag_ollama._plugin import Ollama
except ModuleNotFoundError as error:
    if error.name != "httpx":
        raise
    raise MissingExtra("ollama", "httpx") from error

__all__ = ["Ollama"]
