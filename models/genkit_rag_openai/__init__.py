"""Models and embedders of OpenAI and of every server that speaks its protocol."""

from genkit_rag.plugin_api import MissingExtra

try:
    from genkit_rag_openai._plugin import OpenAI
except ModuleNotFoundError as error:
    if error.name != "httpx":
        raise
    raise MissingExtra("openai", "httpx") from error

__all__ = ["OpenAI"]
