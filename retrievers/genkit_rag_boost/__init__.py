"""A retriever that puts what is recent, or marked in its metadata, before the rest."""

from genkit_rag_boost._decay import Decay
from genkit_rag_boost._plugin import Boost, BoostConfig

__all__ = ["Boost", "BoostConfig", "Decay"]
