"""Rerankers behind an HTTP endpoint: Cohere, Jina, vLLM, llama.cpp, Text Embeddings Inference and what speaks alike."""

from genkit_rag.plugin_api import require_extra

with require_extra("http-rerank", "httpx"):
    from genkit_rag_http_rerank._options import HttpRerankOptions
    from genkit_rag_http_rerank._plugin import HttpRerank

__all__ = ["HttpRerank", "HttpRerankOptions"]
