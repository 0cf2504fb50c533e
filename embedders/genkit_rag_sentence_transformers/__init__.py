"""Embedders of the sentence-transformers library: any model of the hub or of a local folder."""

from importlib.util import find_spec

from genkit_rag.plugin_api import MissingExtra
from genkit_rag_sentence_transformers._plugin import SentenceTransformers

if find_spec("sentence_transformers") is None:
    raise MissingExtra("sentence-transformers", "sentence-transformers")

__all__ = ["SentenceTransformers"]
