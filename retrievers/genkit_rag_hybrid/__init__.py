"""Retrievers that join the rankings of other retrievers."""

from genkit_rag_hybrid._plugin import Hybrid, HybridOptions, Legs

__all__ = ["Hybrid", "HybridOptions", "Legs"]
