from __future__ import annotations

from typing import Any

import pytest

from genkit_rag import Document, Genkit, GenkitError
from genkit_rag.testing import FakeEmbedder, ScriptedModel
from genkit_rag_hyde import Hyde
from genkit_rag_memory import Memory

DOCS = [
    Document("hold the power button for ten seconds until the lamp blinks", {"kind": "guide"}, id="button"),
    Document("my device does not answer, what now", {"kind": "question"}, id="question"),
]
QUERY = "my device does not answer"
ANSWER = "Hold the power button until the lamp blinks."


async def made(*answers: Any, **settings: Any) -> tuple[Genkit, ScriptedModel]:
    model = ScriptedModel("writer", answers)
    ai = Genkit(
        plugins=[
            FakeEmbedder(),
            Memory(["docs"], embedder="fake/words"),
            Hyde({"docs": "memory/docs"}, model="writer", **settings),
        ]
    )
    ai.registry.register(model.action)
    await ai.index("memory/docs", DOCS)
    return ai, model


async def test_the_passage_finds_the_answer_where_the_query_finds_the_question() -> None:
    ai, model = await made(ANSWER, include_query=False)
    assert (await ai.retrieve("memory/docs", QUERY))[0].id == "question"
    found = await ai.retrieve("hyde/docs", QUERY)
    assert found[0].id == "button"
    assert QUERY in model.requests[0].messages[0].text
    assert set(found[0].scores or {}) == {"passage-1", "passage-1/rank"}
    assert found[0].retriever == "hyde/docs"
    assert all(ANSWER not in str(d.to_wire()) for d in found)


async def test_query_and_passages_are_joined_and_the_caller_may_change_it() -> None:
    ai, model = await made(ANSWER, ANSWER, "The lamp blinks.", passages=1)
    both = await ai.retrieve("hyde/docs", QUERY)
    assert {stage for d in both for stage in d.scores or {}} >= {"query", "passage-1"}
    two = await ai.retrieve("hyde/docs", QUERY, {"passages": 2, "include_query": False, "fusion": "convex"})
    assert set(two[0].scores or {}) == {"passage-1", "passage-2"}
    assert len(model.requests) == 3
    none = await ai.retrieve("hyde/docs", QUERY, {"passages": 0, "include_query": False})
    assert none[0].id == "question"
    assert len(model.requests) == 3


async def test_a_passage_that_comes_twice_counts_once() -> None:
    ai, _ = await made(ANSWER, f"<think>hm</think>\n{ANSWER}\n", passages=2, include_query=False)
    assert set((await ai.retrieve("hyde/docs", QUERY))[0].scores or {}) == {"passage-1", "passage-1/rank"}


async def test_filter_and_threshold_go_to_the_inner_retriever() -> None:
    ai, _ = await made(ANSWER, ANSWER)
    assert [d.id for d in await ai.retrieve("hyde/docs", QUERY, {"filter": {"kind": "question"}})] == ["question"]
    assert await ai.retrieve("hyde/docs", "zzz", {"score_threshold": 0.99}) == []


@pytest.mark.parametrize("answer", ["", " ... \n", "<think>no end"])
async def test_without_a_passage_the_query_alone_is_asked_and_it_is_said(answer: str) -> None:
    ai, _ = await made(answer, include_query=False)
    found = await ai.retrieve("hyde/docs", QUERY)
    assert found[0].id == "question"
    assert found.notices == ["NOT_WRITTEN: `writer` wrote no passage; only the query itself was asked."]


async def test_a_failing_model_raises_unless_it_may_degrade() -> None:
    ai, _ = await made(RuntimeError("the model is down"))
    with pytest.raises(RuntimeError, match="model is down"):
        await ai.retrieve("hyde/docs", QUERY)
    ai, _ = await made(RuntimeError("the model is down"), ANSWER, passages=2, on_error="degrade")
    found = await ai.retrieve("hyde/docs", QUERY, {"include_query": False})
    assert found[0].id == "button"
    assert found.notices == ["MODEL_FAILED: a passage is missing: the model is down"]
    ai, _ = await made(GenkitError("UNAVAILABLE", "busy"), on_error="degrade")
    assert [notice.partition(":")[0] for notice in (await ai.retrieve("hyde/docs", QUERY)).notices] == [
        "MODEL_FAILED",
        "NOT_WRITTEN",
    ]


async def test_nobody_is_asked_for_nothing() -> None:
    ai, model = await made()
    assert await ai.retrieve("hyde/docs", QUERY, {"k": 0}) == []
    assert (await ai.retrieve("hyde/docs", "")).notices[0].startswith("EMPTY_QUERY")
    assert model.requests == []


async def test_an_unknown_model_is_an_error_even_when_it_may_degrade() -> None:
    ai = Genkit(
        plugins=[
            FakeEmbedder(),
            Memory(["docs"], embedder="fake/words"),
            Hyde({"docs": "memory/docs"}, model="nobody", on_error="degrade"),
        ]
    )
    with pytest.raises(GenkitError, match="Unknown model `nobody`"):
        await ai.retrieve("hyde/docs", QUERY)


@pytest.mark.parametrize(
    "wrong",
    [
        {"passages": 0},
        {"passages": 9},
        {"prompt": "{count} {query}"},
        {"on_error": "x"},
        {"retrievers": {"x": "hyde/x"}},
    ],
)
def test_wrong_settings_are_refused_when_the_plugin_is_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(GenkitError) as caught:
        Hyde(**{"retrievers": {"x": "memory/docs"}, "model": "m", **wrong})
    assert caught.value.status == "INVALID_ARGUMENT"


async def test_options_that_it_cannot_keep_are_refused() -> None:
    ai, _ = await made(ANSWER)
    with pytest.raises(GenkitError, match="mmr_lambda"):
        await ai.retrieve("hyde/docs", QUERY, {"mmr_lambda": 0.5})
