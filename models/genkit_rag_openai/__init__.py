"""Models and embedders of OpenAI and of every server that speaks its protocol."""

from genkit_rag.plugin_api import require_extra

with require_extra("openai", "httpx"):
    from genkit_rag_openai._plugin import OpenAI

__all__ = ["OpenAI"]
