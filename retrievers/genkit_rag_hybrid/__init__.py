"""Retrievers that join the rankings of other retrievers."""

from genkit_rag_hybrid._plugin import Hybrid, HybridConfig, HybridOptions

__all__ = ["Hybrid", "HybridConfig", "HybridOptions"]
