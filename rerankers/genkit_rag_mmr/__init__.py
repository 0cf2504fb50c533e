"""Maximal marginal relevance (MMR): relevant results without repetition. Needs only an embedder."""

from genkit_rag_mmr._plugin import MMR, MMROptions

__all__ = ["MMR", "MMROptions"]
