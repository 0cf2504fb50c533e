"""A retriever that asks in several ways: a model rewrites the query, and all rankings are joined."""

from genkit_rag_multi_query._parse import parse_queries
from genkit_rag_multi_query._plugin import MULTI_QUERY_PROMPT, MultiQuery, MultiQueryOptions

__all__ = ["MULTI_QUERY_PROMPT", "MultiQuery", "MultiQueryOptions", "parse_queries"]
