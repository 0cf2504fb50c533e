"""A retriever that boosts recent documents, or documents with given metadata."""

from genkit_rag_boost._decay import Decay
from genkit_rag_boost._plugin import Boost, BoostConfig

__all__ = ["Boost", "BoostConfig", "Decay"]
