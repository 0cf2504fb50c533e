"""An embedder without a model: deterministic, fast, and close texts get close vectors."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np

from genkit_rag._core.registry import Plugin
from genkit_rag._documents.document import Document
from genkit_rag._rag.embedding import Batching, EmbedderAction, EmbedderInfo, embedder_action
from genkit_rag._rag.vector_store import Vectors

_WORD = re.compile(r"\w+")


class FakeEmbedder(Plugin):
    """Registers the embedder `fake/words`: each word adds a fixed random direction, so shared words mean nearness.

    Args:
        dimensions: The length of a vector.
        name: The plugin's name.
        batching: How the framework feeds it.

    Attributes:
        calls: The texts of every call, in order.
    """

    def __init__(self, dimensions: int = 64, *, name: str = "fake", batching: Batching | None = None) -> None:
        self.name = name
        self.dimensions = dimensions
        self.calls: list[list[str]] = []
        self._batching = batching
        self._directions: dict[str, Vectors] = {}

    @property
    def embedder(self) -> str:
        """The name of its action."""
        return f"{self.name}/words"

    def action(self) -> EmbedderAction:
        """Return the embedder action."""
        info = EmbedderInfo(label="Words as directions", dimensions=self.dimensions)
        return embedder_action(self.embedder, self._embed, info=info, batching=self._batching)

    async def init(self) -> Sequence[EmbedderAction]:
        """Return the single embedder action."""
        return [self.action()]

    def vector(self, text: str) -> Vectors:
        """Return the vector of a text: unit length, float32."""
        total = np.full(self.dimensions, 1e-3, dtype=np.float32)
        for word in _WORD.findall(text.lower()):
            total += self._direction(word)
        return np.asarray(total / np.linalg.norm(total), dtype=np.float32)

    async def _embed(self, documents: list[Document]) -> Vectors:
        self.calls.append([document.text for document in documents])
        return np.stack([self.vector(document.text) for document in documents])

    def _direction(self, word: str) -> Vectors:
        found = self._directions.get(word)
        if found is None:
            seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
            found = np.random.default_rng(seed).standard_normal(self.dimensions).astype(np.float32)
            self._directions[word] = found
        return found
