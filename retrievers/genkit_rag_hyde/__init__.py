"""Hypothetical document embeddings: a model writes an answer, and what is like it is retrieved."""

from genkit_rag_hyde._plugin import HYDE_PROMPT, Hyde, HydeOptions

__all__ = ["HYDE_PROMPT", "Hyde", "HydeOptions"]
