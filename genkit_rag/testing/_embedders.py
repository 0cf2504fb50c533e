"""The contract of embedders: subclass it, give one fixture, and the embedder is tested."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np
import pytest

from genkit_rag._documents.document import Document
from genkit_rag._rag.embedding import EmbedderAction, EmbedRequest
from genkit_rag._rag.options import EmbedderOptions
from genkit_rag._rag.vector_store import Vectors

TEXTS = [
    "The cat sleeps on the warm stove.",
    "Interest rates rose by a quarter point.",
    "A kitten is a young cat.",
    "To merge two branches, run git merge in the one that shall get the changes.",
    "Yes.",
    "Mount Everest is 8,849 metres high; its top is the border of Nepal and China, and the air there holds a third "
    "of the oxygen of the air at the sea. " * 4,
]
ODD_TEXTS = {
    "empty": "",
    "blank": " \n\t ",
    "one letter": "a",
    "accents": "Zażółć gęślą jaźń, naïve façade",
    "Chinese": "猫在温暖的炉子上睡觉。",
    "Arabic": "القطة نائمة على الموقد الدافئ",
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈",
    "control characters": "a\x00b\x07c\u200b\ufeff",
    "lone surrogate": "half of a pair: \ud83d",
    "one endless word": "x" * 20_000,
    "very long": "All work and no play makes Jack a dull boy. " * 5_000,
}


async def embed(embedder: EmbedderAction, texts: list[str], task: Any = "document") -> Vectors:
    """Embed texts in one call."""
    documents = [Document(text) for text in texts]
    response = await embedder(EmbedRequest(input=documents, options=EmbedderOptions(task=task)))
    assert response.owners is None
    return response.vectors


@pytest.mark.asyncio
class EmbedderContract:
    """What holds for every embedder of text, local or remote.

    A subclass gives the fixture `embedder`: the action. `tolerance` is the most that a component of a vector may differ
    when the same text is embedded again in other company; models that quantise their activations need more.
    """

    tolerance = 1e-4

    @pytest.fixture
    async def embedder(self) -> Any:
        """Provide the embedder under test; the subclass overrides it."""
        raise NotImplementedError

    async def test_there_is_one_finite_float32_vector_for_each_input(self, embedder: EmbedderAction) -> None:
        vectors = await embed(embedder, TEXTS)
        assert vectors.shape[0] == len(TEXTS)
        assert vectors.dtype == np.float32
        assert np.isfinite(vectors).all()
        assert len({vector.tobytes() for vector in vectors}) == len(TEXTS)

    async def test_vectors_stand_in_the_order_of_their_inputs(self, embedder: EmbedderAction) -> None:
        vectors = await embed(embedder, TEXTS)
        np.testing.assert_allclose(await embed(embedder, TEXTS[::-1]), vectors[::-1], rtol=0, atol=self.tolerance)

    async def test_the_company_of_a_text_does_not_change_its_vector(self, embedder: EmbedderAction) -> None:
        together = await embed(embedder, TEXTS * 7)
        alone = np.concatenate([await embed(embedder, [text]) for text in TEXTS])
        np.testing.assert_allclose(together, np.tile(alone, (7, 1)), rtol=0, atol=self.tolerance)

    async def test_the_same_call_gives_the_same_vectors(self, embedder: EmbedderAction) -> None:
        for task in ("document", "query"):
            first, second = await embed(embedder, TEXTS, task), await embed(embedder, TEXTS, task)
            np.testing.assert_allclose(first, second, rtol=0, atol=self.tolerance)

    async def test_nothing_in_gives_nothing_out(self, embedder: EmbedderAction) -> None:
        assert len(await embed(embedder, [])) == 0

    @pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=ODD_TEXTS.keys())
    async def test_any_text_has_a_vector(self, embedder: EmbedderAction, text: str) -> None:
        vectors = await embed(embedder, [text, TEXTS[0]])
        assert vectors.shape[0] == 2
        np.testing.assert_allclose(vectors[1:], await embed(embedder, [TEXTS[0]]), rtol=0, atol=self.tolerance)

    async def test_vectors_are_as_the_embedder_says(self, embedder: EmbedderAction) -> None:
        vectors = await embed(embedder, TEXTS)
        info = embedder.info  # read afterwards: some know it only when the model is loaded
        assert info.dimensions in (None, vectors.shape[1])
        if info.normalized:
            np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
        assert embedder.fingerprint(vectors.shape[1]) == embedder.fingerprint(vectors.shape[1])

    async def test_tokens_are_counted_where_the_embedder_counts(self, embedder: EmbedderAction) -> None:
        if embedder.count_tokens is None:
            return
        short, long = embedder.count_tokens("cat"), embedder.count_tokens("cat " * 3000)
        assert 1 <= short < 10
        assert long >= 3000  # of the whole text, not of what the model keeps

    async def test_concurrent_calls_give_what_each_gives_alone(self, embedder: EmbedderAction) -> None:
        found = await asyncio.gather(*(embed(embedder, [text, TEXTS[0]]) for text in TEXTS * 3))
        alone = await embed(embedder, TEXTS)
        for position, vectors in enumerate(found):
            expected = alone[[position % len(TEXTS), 0]]
            np.testing.assert_allclose(vectors, expected, rtol=0, atol=self.tolerance)

    async def test_the_event_loop_goes_on_meanwhile(self, embedder: EmbedderAction) -> None:
        await embed(embedder, TEXTS)
        started, turns = time.perf_counter(), 0
        task = asyncio.ensure_future(embed(embedder, TEXTS * 10))
        while not task.done():
            turns += 1
            await asyncio.sleep(0.001)
        # A call that is over at once cannot have held up anybody.
        assert turns > 5 or time.perf_counter() - started < 0.05
        assert len(await task) == 10 * len(TEXTS)
