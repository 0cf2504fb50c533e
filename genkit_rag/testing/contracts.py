"""Contract test suites for vector stores, embedders, rerankers and models; a plugin's tests subclass them."""

from genkit_rag._core.errors import require_extra

with require_extra("testing", "pytest", "pytest_asyncio"):
    from genkit_rag.testing._embedders import EmbedderContract
    from genkit_rag.testing._models import ModelContract, ModelUnderTest
    from genkit_rag.testing._rerankers import RerankerContract
    from genkit_rag.testing._stores import VectorStoreContract

__all__ = ["EmbedderContract", "ModelContract", "ModelUnderTest", "RerankerContract", "VectorStoreContract"]
