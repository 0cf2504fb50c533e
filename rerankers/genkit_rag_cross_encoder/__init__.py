"""Cross-encoder rerankers of the sentence-transformers library: query and document are read together."""

from importlib.util import find_spec

from genkit_rag.plugin_api import MissingExtra
from genkit_rag_cross_encoder._plugin import CrossEncoder

if find_spec("sentence_transformers") is None:
    raise MissingExtra("cross-encoder", "sentence-transformers")

__all__ = ["CrossEncoder"]
