from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genkit_rag import Document, Genkit, GenkitError
from genkit_rag.testing import FakeEmbedder, RerankerContract
from genkit_rag_faiss import Faiss
from genkit_rag_rrf import RRF


class TestContract(RerankerContract):
    @pytest.fixture
    async def reranker(self) -> Any:
        (reranker,) = await RRF().init()
        return reranker


class TestContractOfConvex(RerankerContract):
    @pytest.fixture
    async def reranker(self) -> Any:
        (reranker,) = await RRF(fusion="convex").init()
        return reranker


def staged(name: str, score: float | None = None, **scores: float) -> Document:
    document = Document(name, id=name, score=score)
    document.scores = scores or None
    return document


async def fused(documents: list[Document], **options: Any) -> list[tuple[str, float]]:
    async with Genkit(plugins=[RRF()]) as ai:
        return [(document.id, document.score) for document in await ai.rerank("rrf", "any", documents, options)]  # type: ignore[misc]


STAGES = [staged("a", vector=0.9, text=1.0), staged("b", vector=0.8, text=3.0), staged("c", text=2.0)]


async def test_the_score_is_the_sum_of_reciprocal_ranks() -> None:
    found = dict(await fused(STAGES))
    # Without scores of their own, the order they came in counts as one more stage.
    assert found["a"] == pytest.approx(1 / 61 + 1 / 63 + 1 / 61)
    assert found["b"] == pytest.approx(1 / 62 + 1 / 61 + 1 / 62)
    assert found["c"] == pytest.approx(1 / 62 + 1 / 63)


async def test_a_weight_of_zero_leaves_a_stage_out() -> None:
    assert [name for name, _ in await fused(STAGES, weights={"current": 0, "vector": 0})] == ["b", "c", "a"]
    assert [name for name, _ in await fused(STAGES, weights={"current": 0, "text": 0})] == ["a", "b", "c"]


async def test_convex_adds_scaled_scores() -> None:
    found = dict(await fused(STAGES, fusion="convex", weights={"current": 0, "vector": 1, "text": 3}))
    assert found == {"a": pytest.approx(1 / 4), "b": pytest.approx(3 / 4), "c": pytest.approx(3 / 8)}


async def test_the_current_ranking_does_not_count_twice() -> None:
    reranked = [staged("a", 0.5, cross=0.5, store=0.1), staged("b", 0.4, cross=0.4, store=0.2)]
    assert dict(await fused(reranked)) == {"a": pytest.approx(1 / 61 + 1 / 62), "b": pytest.approx(1 / 62 + 1 / 61)}
    assert [name for name, _ in await fused(reranked)] == ["a", "b"]


async def test_documents_without_any_score_stay_in_their_order() -> None:
    assert [name for name, _ in await fused([staged("b"), staged("a"), staged("c")])] == ["b", "a", "c"]


async def test_the_legs_of_a_hybrid_search_can_be_fused_anew(tmp_path: Any) -> None:
    async with Genkit(plugins=[FakeEmbedder(), Faiss(["docs"], path=tmp_path, embedder="fake/words"), RRF()]) as ai:
        await ai.index("faiss/docs", [Document("cats sleep", id="both"), Document("dogs", id="none")])
        found = await ai.retrieve("faiss/docs", "cats sleep", {"mode": "hybrid", "k": 2})
        (best, *_) = await ai.rerank("rrf", "cats sleep", found, {"weights": {"current": 0}})
    assert best.id == "both"
    assert best.score == pytest.approx(2 / 61)
    assert set(best.scores or {}) == {"vector", "text", "faiss/docs", "rrf"}


SCORES = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.floats(-5, 5), max_size=3)


@settings(deadline=None)
@given(scores=st.lists(SCORES, max_size=8), fusion=st.sampled_from(["rrf", "convex"]))
async def test_no_document_is_lost_and_every_one_has_a_score(scores: list[dict[str, float]], fusion: str) -> None:
    documents = [staged(str(i), **item) for i, item in enumerate(scores)]
    found = await fused(documents, fusion=fusion)
    assert sorted(name for name, _ in found) == sorted(document.id for document in documents)
    assert all(score >= 0 for _, score in found)


@settings(deadline=None)
@given(order=st.permutations(range(6)))
async def test_stages_that_agree_decide(order: list[int]) -> None:
    documents = [staged(str(i), one=i, two=i, three=10 * i) for i in order]
    assert [name for name, _ in await fused(documents, weights={"current": 0})] == ["5", "4", "3", "2", "1", "0"]


@pytest.mark.parametrize("weight", [-1, float("nan"), float("inf")])
async def test_a_weight_that_is_no_share_is_refused(weight: float) -> None:
    with pytest.raises(GenkitError) as made:
        RRF(weights={"text": weight})
    assert made.value.status == "INVALID_ARGUMENT"
    with pytest.raises(GenkitError) as caught:
        await fused(STAGES, weights={"text": weight})
    assert caught.value.status == "INVALID_ARGUMENT"


async def test_a_fusion_that_there_is_not_is_refused() -> None:
    with pytest.raises(GenkitError):
        RRF(fusion="borda")  # type: ignore[arg-type]
    with pytest.raises(GenkitError):
        await fused(STAGES, fusion="borda")


async def test_a_stage_score_that_is_no_number_is_named() -> None:
    with pytest.raises(GenkitError, match="scores") as caught:
        await fused([staged("a", text=float("nan"))])
    assert caught.value.status == "INVALID_ARGUMENT"
