"""Contract test suites for vector stores, embedders, rerankers and models; a plugin's tests subclass them."""

from genkit_rag._core.errors import MissingExtra

try:
    import pytest  # noqa: F401 - its plugins run the suites
    import pytest_asyncio  # noqa: F401
except ModuleNotFoundError as error:
    raise MissingExtra("testing", error.name or "pytest") from error

from genkit_rag.testing._embedders import EmbedderContract
from genkit_rag.testing._models import ModelContract, ModelUnderTest
from genkit_rag.testing._rerankers import RerankerContract
from genkit_rag.testing._stores import VectorStoreContract

__all__ = ["EmbedderContract", "ModelContract", "ModelUnderTest", "RerankerContract", "VectorStoreContract"]
