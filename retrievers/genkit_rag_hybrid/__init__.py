"""Retrievers that join the rankings of other retrievers."""

from genkit_rag_hybrid._plugin import Hybrid, HybridOptions

__all__ = ["Hybrid", "HybridOptions"]
