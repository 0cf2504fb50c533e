"""Rerankers over functions of users."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from genkit_rag import Genkit
from genkit_rag.plugin_api import ActionContext, Document, GenkitError, RerankerOptions, RerankerResponse


@pytest.fixture
def ai() -> Genkit:
    return Genkit()


@pytest.fixture
def retrieved() -> list[Document]:
    documents = [Document(text, {"n": n}, id=f"d{n}", score=1.0 - n / 10) for n, text in enumerate(["a", "bbb", "cc"])]
    for rank, document in enumerate(documents):
        document.rank, document.retriever = rank, "memory/docs"
    return documents


async def by_length(query: Document, documents: list[Document], options: RerankerOptions, ctx: ActionContext) -> Any:
    return [len(document.text) for document in documents]


@pytest.mark.parametrize(
    "fn",
    [
        by_length,
        lambda query, documents: [len(document.text) for document in documents],
        lambda query, documents, options: np.array([1.0, 3.0, 2.0], dtype=np.float32),
        lambda query, documents: (score for score in (1, 3, 2)),
        lambda query, documents: [
            documents[1].copy(score=3.0),
            documents[2].copy(score=2.0),
            documents[0].copy(score=1.0),
        ],
        lambda query, documents: RerankerResponse(
            documents=[documents[1].copy(score=3.0), documents[2].copy(score=2.0), documents[0].copy(score=1.0)]
        ),
    ],
)
async def test_a_reranker_gives_scores_or_documents(ai: Genkit, retrieved: list[Document], fn: Any) -> None:
    ai.define_reranker("len/len", fn)
    ranked = await ai.rerank("len/len", "q", retrieved)
    assert [document.id for document in ranked] == ["d1", "d2", "d0"]
    assert [document.score for document in ranked] == [3, 2, 1]
    assert [document.rank for document in ranked] == [0, 1, 2]
    assert [document.metadata for document in ranked] == [{"n": 1}, {"n": 2}, {"n": 0}]


async def test_scores_given_with_documents_keep_the_earlier_ones_too(ai: Genkit, retrieved: list[Document]) -> None:
    ai.define_reranker("len/len", by_length)
    ai.define_reranker("back/back", lambda query, documents: [document.rank for document in documents])
    ranked = await ai.rerank("back/back", "q", await ai.rerank("len/len", "q", retrieved))
    assert {document.id: document.scores for document in ranked} == {
        "d0": {"memory/docs": 1.0, "len/len": 1.0, "back/back": 2.0},
        "d2": {"memory/docs": 0.8, "len/len": 2.0, "back/back": 1.0},
        "d1": {"memory/docs": 0.9, "len/len": 3.0, "back/back": 0.0},
    }
    assert retrieved[0].scores is None, "the caller's documents were changed"
    assert [document.score for document in retrieved] == [1.0, 0.9, 0.8]


async def test_equal_scores_keep_the_earlier_order(ai: Genkit, retrieved: list[Document]) -> None:
    ai.define_reranker("same", lambda query, documents: [0.5] * len(documents))
    assert [document.id for document in await ai.rerank("same", "q", retrieved)] == ["d0", "d1", "d2"]


@pytest.mark.parametrize(("k", "count"), [(0, 0), (1, 1), (3, 3), (9, 3), (None, 3)])
async def test_k_says_how_many_are_kept(ai: Genkit, retrieved: list[Document], k: int | None, count: int) -> None:
    ai.define_reranker("len", by_length)
    ranked = await ai.rerank("len", "q", retrieved, {} if k is None else {"k": k})
    assert [document.id for document in ranked] == ["d1", "d2", "d0"][:count]


async def test_a_reranker_is_not_asked_about_nothing(ai: Genkit) -> None:
    ai.define_reranker("never", lambda query, documents: 1 / 0)
    assert await ai.rerank("never", "q", []) == []


async def test_a_reranker_may_find_nothing_worth_keeping(ai: Genkit, retrieved: list[Document]) -> None:
    ai.define_reranker("strict", lambda query, documents: RerankerResponse())
    assert await ai.rerank("strict", "q", retrieved) == []


@pytest.mark.parametrize("scores", [[], [1.0], [1.0] * 4])
async def test_another_number_of_scores_than_documents_is_refused(
    ai: Genkit, retrieved: list[Document], scores: list[float]
) -> None:
    ai.define_reranker("odd", lambda query, documents: scores)
    with pytest.raises(GenkitError, match=f"returned {len(scores)} scores for 3 documents") as caught:
        await ai.rerank("odd", "q", retrieved)
    assert caught.value.status == "INTERNAL"


@pytest.mark.parametrize(("options", "message"), [({"k": -1}, "options.k"), ({"kk": 1}, "`kk`"), ("x", "an object")])
async def test_wrong_options_are_refused(ai: Genkit, retrieved: list[Document], options: Any, message: str) -> None:
    ai.define_reranker("len", by_length)
    with pytest.raises(GenkitError, match=message) as caught:
        await ai.rerank("len", "q", retrieved, options)
    assert caught.value.status == "INVALID_ARGUMENT"


async def test_a_score_that_is_not_a_number_is_refused(ai: Genkit, retrieved: list[Document]) -> None:
    ai.define_reranker("nan", lambda query, documents: [1.0, float("nan"), 2.0])
    with pytest.raises(GenkitError, match=r"NaN.*'d1'") as caught:
        await ai.rerank("nan", "q", retrieved)
    assert caught.value.status == "INTERNAL"


async def test_a_reranker_speaks_json(ai: Genkit) -> None:
    action = ai.define_reranker("len", by_length)
    wire = {
        "query": {"content": [{"text": "q"}]},
        "documents": [{"content": [{"text": "abc"}], "metadata": {"id": "x", "score": 0.5, "retriever": "r"}}],
        "options": {"topN": 1},
    }
    (document,) = (await action.run_json(wire))["documents"]
    assert document["metadata"]["score"] == 3
    assert document["metadata"]["scores"] == {"r": 0.5, "len": 3}


async def test_a_reranker_that_sets_scores_on_documents_changes_nothing_of_the_callers(ai: Genkit) -> None:
    @ai.reranker("backwards")
    async def backwards(query: Document, documents: list[Document]) -> list[Document]:
        for number, document in enumerate(reversed(documents)):
            document.score = 10.0 - number
        return documents[::-1]

    given = [Document("a", id="a", score=0.9), Document("b", id="b", score=0.8)]
    for document in given:
        document.retriever, document.scores = "store/docs", {"text": 3.0}
    ranked = await ai.rerank("backwards", "q", given)
    assert [document.id for document in ranked] == ["b", "a"]
    assert ranked[0].scores == {"text": 3.0, "store/docs": 0.8, "backwards": 10.0}
    assert [document.score for document in given] == [0.9, 0.8]
    again = await ai.rerank("backwards", "q", ranked)
    assert (again[0].scores or {})["store/docs"] == 0.9
