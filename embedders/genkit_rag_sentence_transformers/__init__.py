"""Embedders of the sentence-transformers library: any model of the hub or of a local folder."""

from genkit_rag.plugin_api import require_extra

with require_extra("sentence-transformers", "sentence_transformers"):  # checked here, imported at the first use
    from genkit_rag_sentence_transformers._plugin import SentenceTransformers

__all__ = ["SentenceTransformers"]
