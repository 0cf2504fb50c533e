"""Maximal marginal relevance: what is relevant, but not the same thing twice. Needs nothing but an embedder."""

from genkit_rag_mmr._plugin import MMR, MMROptions

__all__ = ["MMR", "MMROptions"]
