"""Retrievers that search small chunks and give what stands around them."""

from genkit_rag_parents._group import POSITION_FIELDS
from genkit_rag_parents._plugin import Parents, ParentsConfig, ParentsOptions

__all__ = ["POSITION_FIELDS", "Parents", "ParentsConfig", "ParentsOptions"]
