"""A vector store in memory: for tests and tiny collections. Nothing is kept after the process."""

from genkit_rag_memory._plugin import Memory
from genkit_rag_memory._store import MemoryStore

__all__ = ["Memory", "MemoryStore"]
