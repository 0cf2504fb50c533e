"""Cross-encoder rerankers of the sentence-transformers library: query and document are read together."""

from genkit_rag.plugin_api import require_extra

with require_extra("cross-encoder", "sentence_transformers"):  # checked here, imported at the first use
    from genkit_rag_cross_encoder._plugin import CrossEncoder

__all__ = ["CrossEncoder"]
