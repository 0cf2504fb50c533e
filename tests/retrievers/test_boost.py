from __future__ import annotations

import datetime
import math
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genkit_rag import Document, Genkit, GenkitError
from genkit_rag.testing import FakeEmbedder
from genkit_rag_boost import Boost, BoostConfig, Decay
from genkit_rag_hybrid import Hybrid
from genkit_rag_memory import Memory

NOW = datetime.datetime(2026, 1, 31, tzinfo=datetime.UTC).timestamp()
DAY = 86_400.0
SHAPES: list[Literal["exponential", "gaussian", "linear"]] = ["exponential", "gaussian", "linear"]


def made(documents: list[Document], boosted: BoostConfig) -> Genkit:
    ai = Genkit(plugins=[Boost({"docs": boosted}, now=lambda: NOW)])

    @ai.retriever("own")
    async def own(query: Document) -> list[Document]:
        return documents

    return ai


def scored(*pairs: tuple[str, float | None], **facts: Any) -> list[Document]:
    return [Document(name, facts.get(name), id=name, score=score) for name, score in pairs]


@pytest.mark.parametrize("shape", SHAPES)
async def test_at_the_half_life_half_remains(shape: Any) -> None:
    documents = scored(("old", 1.0), ("new", 0.8), old={"at": "2026-01-21"}, new={"at": "2026-01-31T00:00:00Z"})
    ai = made(documents, BoostConfig("own", Decay("at", datetime.timedelta(days=10), shape)))
    found = await ai.retrieve("boost/docs", "x")
    assert [(d.id, d.score) for d in found] == [("new", pytest.approx(0.8)), ("old", pytest.approx(0.5))]
    assert found[1].scores == {"own": 1.0, "decay": pytest.approx(0.5)}
    assert (found[0].rank, found[0].retriever) == (0, "boost/docs")
    assert (documents[0].score, documents[0].scores) == (1.0, None)


async def test_weight_bounds_what_age_takes_away() -> None:
    documents = scored(("old", 1.0), old={"at": "1990-01-01"})
    found = await made(documents, BoostConfig("own", Decay("at", 1, weight=0.3))).retrieve("boost/docs", "x")
    assert found[0].score == pytest.approx(0.7)


@pytest.mark.parametrize(
    "value",
    [
        "2026-01-30",
        "2026-01-30T00:00:00",
        "2026-01-30T02:00:00+02:00",
        NOW - DAY,
        int(NOW - DAY),
        (NOW - DAY) * 1000,
        datetime.date(2026, 1, 30),
        datetime.datetime(2026, 1, 30),
    ],
)
async def test_a_date_may_be_written_in_any_of_these_ways(value: Any) -> None:
    found = await made(scored(("a", 1.0), a={"at": value}), BoostConfig("own", Decay("at", 1))).retrieve(
        "boost/docs", "x"
    )
    assert found[0].score == pytest.approx(0.5)
    assert found.notices == []


async def test_the_future_is_new_and_what_is_no_date_counts_as_missing() -> None:
    dates = {
        "soon": "2030-01-01",
        "bad": "yesterday",
        "true": True,
        "none": None,
        "list": [],
        "inf": math.inf,
        "far": 1e300,
    }
    facts: dict[str, Any] = {name: {"at": value} for name, value in dates.items()}
    documents = scored(*((name, 1.0) for name in [*facts, "without"]), **facts)
    found = await made(documents, BoostConfig("own", Decay("at", 1, missing=0.25))).retrieve(
        "boost/docs", "x", {"k": 20}
    )
    assert {d.id: d.score for d in found} == {**dict.fromkeys([*facts, "without"], 0.25), "soon": 1.0}
    assert found.notices == ["BAD_DATE: `at` of 5 candidates is no date."]


async def test_values_of_the_metadata_multiply() -> None:
    facts: dict[str, Any] = {"guide": {"kind": "guide"}, "both": {"kind": "draft", "tags": ["good", "new", "x"]}}
    documents = scored(("guide", 0.5), ("both", 0.5), ("plain", 0.5), **facts)
    boosts = {"kind": {"guide": 3.0, "draft": 0.5}, "tags": {"good": 2.0, "new": 2.0}}
    found = await made(documents, BoostConfig("own", boosts=boosts)).retrieve("boost/docs", "x")
    assert [(d.id, d.score) for d in found] == [("guide", 3.0), ("both", 2.0), ("plain", 1.0)]
    assert found[0].scores == {"own": 0.5, "boost": 3.0}


async def test_a_function_may_give_the_factor_and_changes_nothing_of_the_document() -> None:
    def factor(document: Document) -> float:
        document.metadata["seen"] = True
        return len(document.text)

    found = await made(scored(("a", 1.0), ("bb", 1.0)), BoostConfig("own", boosts=factor)).retrieve("boost/docs", "x")
    assert [(d.id, d.metadata) for d in found] == [("bb", {}), ("a", {})]
    for wrong in (-1, math.nan, "much"):
        with pytest.raises(GenkitError, match="boosts"):
            await made(scored(("a", 1.0)), BoostConfig("own", boosts=lambda _, wrong=wrong: wrong)).retrieve(
                "boost/docs", "x"
            )


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([8.0, 4.0, 0.0], [1.0, 0.5, 0.0]),
        ([0.5, 0.0, -0.5], [1.0, 0.5, 0.0]),
        ([None, None], [1.0, 0.5]),
        ([0.0, 0.0], [1.0, 1.0]),
        ([math.nan, 1.0], [1.0, 0.5]),
        ([-1.0], [1.0]),
    ],
)
async def test_scores_are_scaled_by_one_rule(scores: list[float | None], expected: list[float]) -> None:
    documents = scored(*((str(n), score) for n, score in enumerate(scores)))
    found = await made(documents, BoostConfig("own")).retrieve("boost/docs", "x")
    assert [d.score for d in found] == expected


async def test_more_candidates_than_k_are_scored_and_options_go_on() -> None:
    ai = Genkit(
        plugins=[
            FakeEmbedder(),
            Memory(["docs"], embedder="fake/words"),
            Hybrid({"docs": ["memory/docs"]}),
            Boost({"docs": BoostConfig("hybrid/docs", boosts={"hot": {True: 9.0}})}),
        ]
    )
    await ai.index(
        "memory/docs",
        [
            Document("red fox", {"n": 1}, id="1"),
            Document("red hen", {"n": 2}, id="2"),
            Document("red", {"n": 3, "hot": True}, id="3"),
        ],
    )
    assert [d.id for d in await ai.retrieve("boost/docs", "red fox", {"k": 1, "mode": "text"})] == ["3"]
    few = await ai.retrieve("boost/docs", "red fox", {"k": 1, "candidates": 1, "mode": "text"})
    assert [d.id for d in few] == ["1"]
    assert set(few[0].scores or {}) == {"hybrid/docs", "hybrid/docs/memory/docs", "boost"}
    assert [d.id for d in await ai.retrieve("boost/docs", "red", {"filter": {"n": 2}})] == ["2"]
    assert await ai.retrieve("boost/docs", "red", {"k": 0}) == []
    with pytest.raises(GenkitError, match="mmr_lambda"):
        await ai.retrieve("boost/docs", "red", {"mmr_lambda": 0.5})


@given(
    ages=st.tuples(st.floats(0, 1e7), st.floats(0, 1e7)),
    half=st.floats(0.01, 1e4),
    shape=st.sampled_from(SHAPES),
    weight=st.floats(0, 1),
)
def test_the_older_never_counts_more(ages: tuple[float, float], half: float, shape: Any, weight: float) -> None:
    decay = Decay("at", half, shape, weight=weight)
    younger, older = (decay.factor({"at": NOW - age}, NOW)[0] for age in sorted(ages))
    assert 0.0 <= older <= younger <= 1.0 + 1e-12


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Decay("at", 0),
        lambda: Decay("at", math.nan),
        lambda: Decay("at", 1, "cubic"),  # type: ignore[arg-type]
        lambda: Decay("at", 1, weight=2),
        lambda: Decay("at", 1, missing=-1),
        lambda: BoostConfig("x", boosts={"a": {"b": -1}}),
        lambda: BoostConfig("x", boosts={"a": 2}),
        lambda: Boost({"x": "own"}),  # type: ignore[dict-item]
        lambda: Boost({"x": BoostConfig("boost/x")}),
    ],
)
def test_wrong_settings_are_refused_when_they_are_made(wrong: Any) -> None:
    with pytest.raises(GenkitError) as caught:
        wrong()
    assert caught.value.status == "INVALID_ARGUMENT"
