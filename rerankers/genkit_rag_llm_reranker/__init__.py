"""Listwise reranking by a model: it reads the passages side by side and says their order."""

from genkit_rag_llm_reranker._options import LlmRerankerOptions
from genkit_rag_llm_reranker._plugin import LlmReranker
from genkit_rag_llm_reranker._prompt import DEFAULT_PROMPT

__all__ = ["DEFAULT_PROMPT", "LlmReranker", "LlmRerankerOptions"]
