from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from genkit_rag import Document, Genkit, GenkitError
from genkit_rag.plugin_api import mmr_select
from genkit_rag.testing import FakeEmbedder, RerankerContract
from genkit_rag_mmr import MMR

QUERY = "cat sleep"
DOCUMENTS = [
    Document("cat sleep stove", id="best"),
    Document("cat sleep stove warm", id="again"),
    Document("cat food", id="other"),
    Document("interest rates", id="off"),
]


class TestContract(RerankerContract):
    @pytest.fixture
    async def reranker(self) -> Any:
        async with Genkit(plugins=[FakeEmbedder(), MMR("fake/words")]) as ai:
            yield await ai.registry.get("reranker", "mmr")


@pytest.fixture
async def ai() -> AsyncIterator[Genkit]:
    async with Genkit(plugins=[FakeEmbedder(256), MMR("fake/words")]) as made:
        yield made


async def order(ai: Genkit, **options: Any) -> list[str]:
    return [document.id for document in await ai.rerank("mmr", QUERY, DOCUMENTS, options)]


async def test_relevance_alone_keeps_repetitions(ai: Genkit) -> None:
    assert await order(ai, mmr_lambda=1) == ["best", "again", "other", "off"]


async def test_diversity_puts_repetitions_back(ai: Genkit) -> None:
    assert await order(ai, mmr_lambda=0.5) == ["best", "other", "off", "again"]
    assert (await order(ai, mmr_lambda=0))[0] == "best"
    assert (await order(ai, mmr_lambda=0))[-1] == "again"


@pytest.mark.parametrize("name", ["mmr_lambda", "mmrLambda", "lambda", "lambda_"])
async def test_lambda_has_the_usual_names(ai: Genkit, name: str) -> None:
    assert await order(ai, **{name: 1.0}) == ["best", "again", "other", "off"]


@pytest.mark.parametrize("value", [-0.1, 1.1, "much"])
async def test_lambda_out_of_range_is_refused(ai: Genkit, value: Any) -> None:
    with pytest.raises(GenkitError) as caught:
        await order(ai, mmr_lambda=value)
    assert caught.value.status == "INVALID_ARGUMENT"


def test_a_default_lambda_out_of_range_is_refused() -> None:
    with pytest.raises(GenkitError):
        MMR("fake/words", mmr_lambda=2)


async def test_an_embedder_that_is_not_there_is_named() -> None:
    async with Genkit(plugins=[FakeEmbedder(), MMR("fake/wordz")]) as ai:
        with pytest.raises(GenkitError) as caught:
            await ai.rerank("mmr", QUERY, DOCUMENTS)
    assert caught.value.status == "NOT_FOUND"
    assert "fake/words" in str(caught.value)


VECTORS = arrays(np.float32, st.tuples(st.integers(1, 12), st.just(4)), elements=st.integers(-3, 3).map(float))


def by_the_formula(query: Any, vectors: Any, k: int, lambda_: float) -> list[float]:
    """The gains of a greedy selection, spelled out; gains and not rows, as ties may be broken either way."""

    def cos(a: Any, b: Any) -> float:
        length = float(np.linalg.norm(a) * np.linalg.norm(b))
        return float(a @ b) / length if length else 0.0

    left, taken, gains = list(vectors), [], []
    while left and len(taken) < k:
        if taken:
            values = [lambda_ * cos(row, query) - (1 - lambda_) * max(cos(row, t) for t in taken) for row in left]
        else:
            values = [cos(row, query) for row in left]
        best = int(np.argmax(np.round(values, 5)))
        gains.append(values[best] if taken else lambda_ * values[best])
        taken.append(left.pop(best))
    return gains


@given(vectors=VECTORS, seed=st.integers(0, 99), k=st.integers(0, 15), lambda_=st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_the_selection_is_a_permutation_without_repetitions(vectors: Any, seed: int, k: int, lambda_: float) -> None:
    query = np.random.default_rng(seed).standard_normal(4).astype(np.float32)
    rows = [row for row, _ in mmr_select(query, vectors, k, lambda_)]
    assert len(rows) == len(set(rows)) == min(k, len(vectors))
    assert set(rows) <= set(range(len(vectors)))


@given(count=st.integers(1, 12), seed=st.integers(0, 999), k=st.integers(1, 15), lambda_=st.floats(0, 1))
def test_every_step_takes_what_the_formula_says(count: int, seed: int, k: int, lambda_: float) -> None:
    random = np.random.default_rng(seed)
    query, vectors = random.standard_normal(4), 3 * random.standard_normal((count, 4))
    gains = [gain for _, gain in mmr_select(query, vectors, k, lambda_)]
    assert gains == pytest.approx(by_the_formula(query, vectors, k, lambda_), abs=1e-4)


@given(count=st.integers(1, 12), seed=st.integers(0, 999), lambda_=st.floats(0, 1))
async def test_the_reranker_keeps_the_order_of_selection(count: int, seed: int, lambda_: float) -> None:
    embedder = FakeEmbedder(8)
    random = np.random.default_rng(seed)
    texts = [" ".join(random.choice(list("abcd"), size=3)) for _ in range(count)]
    rows = mmr_select(embedder.vector("a b"), np.stack([embedder.vector(text) for text in texts]), count, lambda_)
    async with Genkit(plugins=[embedder, MMR("fake/words")]) as ai:
        documents = [Document(text, id=str(number)) for number, text in enumerate(texts)]
        found = await ai.rerank("mmr", "a b", documents, {"mmr_lambda": lambda_})
    assert [document.id for document in found] == [str(row) for row, _ in rows]


async def test_what_was_found_out_before_is_kept_as_the_relevance(ai: Genkit) -> None:
    """By its vector `off` has nothing to do with the query; an earlier stage knew better."""
    scores = {"off": 9.0, "best": 5.0, "again": 4.9, "other": 1.0}
    documents = [document.copy(score=scores[document.id]) for document in DOCUMENTS]
    kept = await ai.rerank("mmr", QUERY, documents, {"mmr_lambda": 1})
    assert [document.id for document in kept] == ["off", "best", "again", "other"]
    for mmr_lambda in (0, 0.7):
        (first, *_) = await ai.rerank("mmr", QUERY, documents, {"mmr_lambda": mmr_lambda})
        assert first.id == "off"


async def test_a_repetition_falls_behind_what_scored_a_little_less(ai: Genkit) -> None:
    scores = {"best": 9.0, "again": 8.0, "other": 7.0, "off": 0.0}
    documents = [document.copy(score=scores[document.id]) for document in DOCUMENTS]
    diverse = [document.id for document in await ai.rerank("mmr", QUERY, documents)]
    assert diverse.index("other") < diverse.index("again")


async def test_where_a_score_is_missing_the_query_decides(ai: Genkit) -> None:
    documents = [document.copy(score=None if document.id == "off" else 1.0) for document in DOCUMENTS]
    (first, *_) = await ai.rerank("mmr", QUERY, documents)
    assert first.id == "best"
