"""The door for tests: doubles that are real, and contract suites that a plugin's tests subclass. Imports pytest."""

from genkit_rag.testing._embedder import FakeEmbedder
from genkit_rag.testing._stores import VectorStoreContract

__all__ = ["FakeEmbedder", "VectorStoreContract"]
