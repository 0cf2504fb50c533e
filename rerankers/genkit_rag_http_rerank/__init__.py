"""Rerankers behind an HTTP endpoint: Cohere, Jina, vLLM, llama.cpp, Text Embeddings Inference and what speaks alike."""

from importlib.util import find_spec

from genkit_rag.plugin_api import MissingExtra

if find_spec("httpx") is None:
    raise MissingExtra("http-rerank", "httpx")

from genkit_rag_http_rerank._options import HttpRerankOptions
from genkit_rag_http_rerank._plugin import HttpRerank

__all__ = ["HttpRerank", "HttpRerankOptions"]
