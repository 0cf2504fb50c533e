"""Parent-document retrievers: they search small chunks and return the surrounding context."""

from genkit_rag_parents._group import POSITION_FIELDS
from genkit_rag_parents._plugin import Parents, ParentsConfig, ParentsOptions

__all__ = ["POSITION_FIELDS", "Parents", "ParentsConfig", "ParentsOptions"]
