"""Contract test suites for vector stores, embedders, rerankers and models; a plugin's tests subclass them."""

from importlib.util import find_spec as _find_spec

from genkit_rag._core.errors import MissingExtra as _MissingExtra

for _package in ("pytest", "pytest_asyncio"):
    if _find_spec(_package) is None:
        raise _MissingExtra("testing", _package.replace("_", "-"))

from genkit_rag.testing._embedders import EmbedderContract
from genkit_rag.testing._models import ModelContract, ModelUnderTest
from genkit_rag.testing._rerankers import RerankerContract
from genkit_rag.testing._stores import VectorStoreContract

__all__ = ["EmbedderContract", "ModelContract", "ModelUnderTest", "RerankerContract", "VectorStoreContract"]
