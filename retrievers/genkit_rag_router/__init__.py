"""A retriever that picks, for each query, the retrievers to ask."""

from genkit_rag_router._choose import ROUTER_PROMPT, ByEmbedding, ByModel
from genkit_rag_router._options import RouteConfig
from genkit_rag_router._plugin import Router, RouterOptions

__all__ = ["ROUTER_PROMPT", "ByEmbedding", "ByModel", "RouteConfig", "Router", "RouterOptions"]
