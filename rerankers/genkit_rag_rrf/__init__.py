"""Fuses the scores that documents carry from several stages into one ranking. Needs nothing."""

from genkit_rag_rrf._plugin import RRF, RRFOptions

__all__ = ["RRF", "RRFOptions"]
