"""The door for tests: doubles that are real, and contract suites that a plugin's tests subclass. Imports pytest."""

from genkit_rag.testing._embedder import FakeEmbedder
from genkit_rag.testing._embedders import EmbedderContract
from genkit_rag.testing._models import ModelContract, ModelUnderTest
from genkit_rag.testing._rerankers import RerankerContract
from genkit_rag.testing._scripted_model import ScriptedModel
from genkit_rag.testing._stores import VectorStoreContract

__all__ = [
    "EmbedderContract",
    "FakeEmbedder",
    "ModelContract",
    "ModelUnderTest",
    "RerankerContract",
    "ScriptedModel",
    "VectorStoreContract",
]
