from __future__ import annotations

from typing import Literal

import pytest

from genkit_rag import Document, Genkit, GenkitError, RetrieverResponse
from genkit_rag.testing import FakeEmbedder
from genkit_rag_hybrid import Hybrid
from genkit_rag_memory import Memory

CATS = [Document("cats purr", {"kind": "animal"}, id="cats"), Document("cars drive", {"kind": "thing"}, id="cars")]


def made(on_leg_error: Literal["raise", "degrade"] = "raise") -> Genkit:
    hybrid = Hybrid(
        {"both": ["memory/left", "memory/right"], "own": ["memory/left", "flaky"]}, on_leg_error=on_leg_error
    )  # type: ignore[arg-type]
    ai = Genkit(plugins=[FakeEmbedder(), Memory(["left", "right"], embedder="fake/words"), hybrid])

    @ai.retriever("flaky")
    async def flaky(query: Document) -> list[Document]:
        raise RuntimeError("the search service is down")

    return ai


async def indexed(ai: Genkit) -> Genkit:
    await ai.index("memory/left", CATS)
    await ai.index("memory/right", [CATS[0], Document("dogs bark", {"kind": "animal"}, id="dogs")])
    return ai


async def test_a_document_of_both_legs_comes_once_with_the_score_of_each() -> None:
    ai = await indexed(made())
    found = await ai.retrieve("hybrid/both", "cats purr", {"k": 3})
    assert [d.id for d in found].count("cats") == 1
    assert found[0].id == "cats"
    assert set(found[0].scores or {}) == {"memory/left", "memory/right"}
    assert found[0].retriever == "hybrid/both"
    assert found[0].score == pytest.approx(1.0)


async def test_filters_reach_every_leg_and_k_is_the_hybrids() -> None:
    ai = await indexed(made())
    found = await ai.retrieve("hybrid/both", "anything", {"k": 5, "filter": {"kind": "animal"}})
    assert {d.id for d in found} == {"cats", "dogs"}
    assert len(await ai.retrieve("hybrid/both", "anything", {"k": 1})) == 1


async def test_weights_decide_which_leg_counts() -> None:
    ai = await indexed(made())
    weights = {"memory/left": 0.0, "memory/right": 1.0}
    found = await ai.retrieve("hybrid/both", "dogs bark", {"weights": weights})
    assert found[0].id == "dogs"
    with pytest.raises(GenkitError, match="memory/left"):
        await ai.retrieve("hybrid/both", "x", {"weights": {"other": 1}})


async def test_a_failing_leg_raises_unless_it_may_degrade() -> None:
    with pytest.raises(RuntimeError, match="service is down"):
        await (await indexed(made())).retrieve("hybrid/own", "cats")
    found = await (await indexed(made("degrade"))).retrieve("hybrid/own", "cats purr")
    assert found[0].id == "cats"
    assert isinstance(found, RetrieverResponse)
    assert found.notices == ["LEG_FAILED: `flaky` gave nothing: the search service is down"]


def test_legs_must_be_different_and_there() -> None:
    with pytest.raises(GenkitError, match="retrievers"):
        Hybrid({"x": ["a", "a"]})
    with pytest.raises(GenkitError, match="retrievers"):
        Hybrid({"x": []})
