"""A retriever that picks, for each query, the retrievers to ask."""

from genkit_rag_router._choose import ROUTER_PROMPT, ByEmbedding, ByModel
from genkit_rag_router._plugin import Router, RouterOptions
from genkit_rag_router._route import Route

__all__ = ["ROUTER_PROMPT", "ByEmbedding", "ByModel", "Route", "Router", "RouterOptions"]
