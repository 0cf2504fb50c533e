from __future__ import annotations

import asyncio
from typing import Any, Literal

import pytest

from genkit_rag import Document, Genkit, GenkitError, RetrieverResponse
from genkit_rag.testing import FakeEmbedder
from genkit_rag_hybrid import Hybrid, HybridConfig
from genkit_rag_memory import Memory

CATS = [Document("cats purr", {"kind": "animal"}, id="cats"), Document("cars drive", {"kind": "thing"}, id="cars")]


def made(on_error: Literal["raise", "degrade"] = "raise") -> Genkit:
    hybrid = Hybrid({"both": ["memory/left", "memory/right"], "own": ["memory/left", "flaky"]}, on_error=on_error)  # type: ignore[arg-type]
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
    assert found.notices == ["SUB_RETRIEVER_FAILED: `flaky` gave nothing: the search service is down"]


def test_legs_must_be_different_and_there() -> None:
    with pytest.raises(GenkitError, match="retrievers"):
        Hybrid({"x": ["a", "a"]})
    with pytest.raises(GenkitError, match="retrievers"):
        Hybrid({"x": []})


def joined(legs: Any, **settings: Any) -> Genkit:
    return Genkit(
        plugins=[FakeEmbedder(), Memory(["left", "right"], embedder="fake/words"), Hybrid({"it": legs}, **settings)]
    )


async def test_legs_with_fixed_modes_rank_as_the_stores_own_hybrid_does() -> None:
    modes = {"vector": ("memory/left", {"mode": "vector"}), "text": ("memory/left", {"mode": "text"})}
    ai = joined(HybridConfig(modes, candidates=150))
    texts = ["paper tray", "the tray is empty", "toner", "fill paper paper", "a floor plan", "the second tray"]
    await ai.index("memory/left", [Document(text, id=text) for text in texts])
    for fusion, even in (("convex", {"vector_weight": 0.5}), ("rrf", {})):
        for query in ("paper tray", "the second toner", "empty floor"):
            own = await ai.retrieve("memory/left", query, {"mode": "hybrid", "fusion": fusion, **even})
            named = await ai.retrieve("hybrid/it", query, {"fusion": fusion})
            assert [(d.id, d.score) for d in named] == [(d.id, pytest.approx(d.score)) for d in own]
            assert {"vector", "text"} >= set((named[0].scores or {}).keys()) - {"vector/rank", "text/rank"}


async def test_a_floor_may_be_given_for_a_leg() -> None:
    ai = Genkit(plugins=[Hybrid({"plain": ["lexical"], "floor": HybridConfig(["lexical"], floors={"lexical": 0.0})})])

    @ai.retriever("lexical")
    async def lexical(query: Document) -> list[Document]:
        return [Document("a", id="a", score=10.0), Document("b", id="b", score=8.0)]

    assert [d.score for d in await ai.retrieve("hybrid/plain", "x")] == [1.0, 0.0]
    assert [d.score for d in await ai.retrieve("hybrid/floor", "x")] == [1.0, 0.8]


async def test_a_leg_in_a_list_is_called_by_its_name_and_options_and_keeps_them() -> None:
    ai = joined(["memory/left", ("memory/left", {"mode": "text", "filter": {"kind": "animal"}})])
    await ai.index("memory/left", CATS)
    leg = "memory/left?mode=text&filter=%7B%27kind%27%3A+%27animal%27%7D"
    found = await ai.retrieve("hybrid/it", "cats cars", {"mode": "vector", "filter": {"kind": {"$exists": True}}})
    assert {d.id: leg in (d.scores or {}) for d in found} == {"cats": True, "cars": False}
    only = await ai.retrieve("hybrid/it", "cats cars", {"filter": {"kind": "thing"}, "weights": {"memory/left": 0.0}})
    assert [d.id for d in only] == ["cars"]


async def test_the_stages_of_nested_retrievers_stay_in_the_scores() -> None:
    ai = Genkit(
        plugins=[
            FakeEmbedder(),
            Memory(["left"], embedder="fake/words"),
            Hybrid({"inner": ["memory/left"], "outer": HybridConfig(["hybrid/inner"], fusion="rrf")}),
        ],
    )
    await ai.index("memory/left", CATS)
    found = await ai.retrieve("hybrid/outer", "cats", {"mode": "hybrid"})
    assert set(found[0].scores or {}) == {
        "hybrid/inner",
        "hybrid/inner/rank",
        "hybrid/inner/memory/left",
        "hybrid/inner/memory/left/vector",
        "hybrid/inner/memory/left/text",
    }
    assert [(d.scores or {})["hybrid/inner/rank"] for d in found] == [0.0, 1.0]


async def test_notices_of_a_leg_come_behind_its_name() -> None:
    ai = Genkit(plugins=[Hybrid({"it": ["noisy"]})])

    @ai.retriever("noisy")
    async def noisy(query: Document) -> RetrieverResponse:
        return RetrieverResponse([Document("x")], ["STALE: an hour old"])

    assert (await ai.retrieve("hybrid/it", "x")).notices == ["noisy: STALE: an hour old"]


async def test_equal_ids_with_other_texts_are_two_documents() -> None:
    ai = joined(["memory/left", "memory/right"])
    await ai.index("memory/left", [Document("cats purr", id="1")])
    await ai.index("memory/right", [Document("cats sleep", id="1")])
    found = await ai.retrieve("hybrid/it", "cats")
    assert {(d.id, d.text) for d in found} == {("1", "cats purr"), ("1", "cats sleep")}


async def test_a_failing_leg_ends_the_others_before_it_is_raised() -> None:
    ai = Genkit(plugins=[Hybrid({"it": ["slow", "broken"]})])
    ended: list[str] = []

    @ai.retriever("slow")
    async def slow(query: Document) -> list[Document]:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("slow")
        return []

    @ai.retriever("broken")
    async def broken(query: Document) -> list[Document]:
        await asyncio.sleep(0)
        raise GenkitError("UNAVAILABLE", "down", cause=ValueError("why"))

    with pytest.raises(GenkitError, match="down") as caught:
        await ai.retrieve("hybrid/it", "x")
    assert isinstance(caught.value.__cause__, ValueError)
    assert ended == ["slow"]
    task = asyncio.create_task(ai.retrieve("hybrid/it", "x"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_when_every_leg_fails_it_is_unavailable_but_a_wrong_request_stays_one() -> None:
    ai = Genkit(
        plugins=[
            FakeEmbedder(),
            Memory(["left"], embedder="fake/words"),
            Hybrid(
                {"down": ["flaky"], "typo": ["memory/left", "memroy/left"], "wrong": ["memory/left"]},
                on_error="degrade",
            ),
        ]
    )

    @ai.retriever("flaky")
    async def flaky(query: Document) -> list[Document]:
        raise RuntimeError("the search service is down")

    with pytest.raises(GenkitError, match="service is down") as caught:
        await ai.retrieve("hybrid/down", "x")
    assert caught.value.status == "UNAVAILABLE"
    with pytest.raises(GenkitError, match="memroy/left"):
        await ai.retrieve("hybrid/typo", "x")
    with pytest.raises(GenkitError, match=r"\$near"):
        await ai.retrieve("hybrid/wrong", "x", {"filter": {"a": {"$near": 1}}})


async def test_no_documents_are_asked_of_nobody() -> None:
    ai = made()
    assert await ai.retrieve("hybrid/own", "cats", {"k": 0}) == []


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("mmr_lambda", 0.5),
        ("vector_weight", 0.5),
        ("weights", {"memory/left": -1}),
        ("weights", {"memory/left": 0, "memory/right": 0}),
        ("weights", {"memory/left": float("nan")}),
    ],
)
async def test_options_that_it_cannot_keep_are_refused(option: str, value: Any) -> None:
    with pytest.raises(GenkitError, match=option):
        await made().retrieve("hybrid/both", "cats", {option: value})


@pytest.mark.parametrize(
    "wrong",
    [
        "memory/left",
        {},
        [("memory/left", {"k": 3})],
        ["hybrid/it"],
        [3],
        HybridConfig(["a"], weights={"b": 1}),
        HybridConfig(["a"], weights={"a": -1}),
        HybridConfig(["a"], floors={"a": float("inf")}),
        HybridConfig(["a"], fusion="sum"),  # type: ignore[arg-type]
        HybridConfig(["a"], candidates=0),
        HybridConfig(["a", "b"], weights={"a": 0, "b": 0}),
    ],
)
def test_wrong_legs_are_refused_when_the_plugin_is_made(wrong: Any) -> None:
    with pytest.raises(GenkitError) as caught:
        Hybrid({"it": wrong})
    assert caught.value.status == "INVALID_ARGUMENT"


async def test_documents_of_legs_are_left_as_they_were() -> None:
    kept = Document("x", {"a": 1}, id="x", score=0.5)
    ai = Genkit(plugins=[Hybrid({"it": ["own"]})])

    @ai.retriever("own")
    async def own(query: Document) -> list[Document]:
        return [kept]

    found = await ai.retrieve("hybrid/it", "x")
    found[0].metadata["a"] = 2
    assert (kept.metadata, kept.score, kept.scores, kept.rank) == ({"a": 1}, 0.5, None, None)


@pytest.mark.parametrize("policy", ["raise", "degrade"])
async def test_retrievers_that_ask_each_other_in_a_circle_are_an_error(policy: Any) -> None:
    ai = Genkit(plugins=[Hybrid({"a": ["hybrid/b", "other"], "b": ["hybrid/a"]}, on_error=policy)])
    ai.define_retriever("other", lambda query: [Document("x")])
    with pytest.raises(GenkitError, match="hybrid/b -> hybrid/a -> hybrid/b") as caught:
        await ai.retrieve("hybrid/a", "x")
    assert caught.value.status == "INVALID_ARGUMENT"
    assert [d.text for d in await ai.retrieve("other", "x")] == ["x"]
