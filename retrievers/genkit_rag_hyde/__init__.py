"""Hypothetical document embeddings (HyDE): retrieval with an answer that a model writes."""

from genkit_rag_hyde._plugin import HYDE_PROMPT, Hyde, HydeOptions

__all__ = ["HYDE_PROMPT", "Hyde", "HydeOptions"]
