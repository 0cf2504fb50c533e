from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genkit_rag import Document, Genkit, GenkitError, RetrieverResponse
from genkit_rag.plugin_api import Media, ModelRequest, Part
from genkit_rag.testing import FakeEmbedder, ScriptedModel
from genkit_rag_hybrid import Hybrid
from genkit_rag_memory import Memory
from genkit_rag_multi_query import MultiQuery, MultiQueryOptions, parse_queries

DOCS = [
    Document("reset your password on the account page", {"kind": "guide"}, id="reset"),
    Document("sign in with a security key", {"kind": "guide"}, id="key"),
    Document("the canteen opens at noon", {"kind": "news"}, id="canteen"),
]


async def made(*answers: Any, **settings: Any) -> tuple[Genkit, ScriptedModel]:
    model = ScriptedModel("writer", answers)
    ai = Genkit(
        plugins=[
            FakeEmbedder(),
            Memory(["docs"], embedder="fake/words"),
            Hybrid({"docs": ["memory/docs"]}),
            MultiQuery(
                {"docs": "memory/docs", "deep": "hybrid/docs", "broken": "sometimes"}, model="writer", **settings
            ),
        ]
    )
    ai.registry.register(model.action)

    @ai.retriever("sometimes")
    async def sometimes(query: Document) -> list[Document]:
        if query.text == "first":
            raise RuntimeError("no answer")
        return [Document(f"found by {query.text}", id=query.text, score=1.0)]

    await ai.index("memory/docs", DOCS)
    return ai, model


async def test_what_another_wording_finds_is_found() -> None:
    ai, model = await made("1. reset password\n2. security key")
    alone = await ai.retrieve("memory/docs", "locked out", {"k": 3, "score_threshold": 0.3})
    assert alone == []
    found = await ai.retrieve("multi-query/docs", "locked out", {"k": 3, "score_threshold": 0.3})
    assert {d.id for d in found} == {"reset", "key"}
    assert found.notices == ["QUERIES: query-1 'reset password'; query-2 'security key'"]
    assert "locked out" in model.requests[0].messages[0].text
    assert all(d.retriever == "multi-query/docs" and d.metadata == {"kind": "guide"} for d in found)


async def test_the_query_itself_is_always_among_them_and_every_ranking_is_kept() -> None:
    ai, _ = await made("canteen noon")
    found = await ai.retrieve("multi-query/docs", "security key", {"k": 1, "candidates": 3})
    assert set(found[0].scores or {}) == {"query", "query/rank", "query-1", "query-1/rank"}
    convex = (await made("canteen noon"))[0]
    by_score = await convex.retrieve("multi-query/docs", "security key", {"fusion": "convex"})
    assert set(by_score[0].scores or {}) == {"query", "query-1"}


async def test_it_stands_over_any_retriever_and_passes_the_filter_on() -> None:
    ai, _ = await made("canteen\nreset")
    found = await ai.retrieve("multi-query/deep", "key", {"filter": {"kind": "guide"}, "mode": "text"})
    assert {d.id for d in found} == {"reset", "key"}
    assert "query/memory/docs" in next(d for d in found if d.id == "key").scores  # type: ignore[operator]


async def test_the_number_of_queries_is_the_callers_and_zero_asks_no_model() -> None:
    ai, model = await made('["a", "b", "c", "d"]', "a\nb\nc")
    found = await ai.retrieve("multi-query/docs", "key", {"queries": 2})
    assert found.notices == ["QUERIES: query-1 'a'; query-2 'b'"]
    assert "Write 2 search queries" in model.requests[0].messages[0].text
    assert (await ai.retrieve("multi-query/docs", "key", {"queries": 0}))[0].id == "key"
    assert await ai.retrieve("multi-query/docs", "key", {"k": 0}) == []
    assert (await ai.retrieve("multi-query/docs", "  ")).notices[0].startswith("EMPTY_QUERY")
    assert len(model.requests) == 1


@pytest.mark.parametrize("answer", ["", "???", "KEY", "```\n```", "<think>what could they mean"])
async def test_with_nothing_usable_the_query_alone_is_asked_and_it_is_said(answer: str) -> None:
    ai, _ = await made(answer)
    found = await ai.retrieve("multi-query/docs", "key")
    assert found[0].id == "key"
    assert found.notices[0].startswith("NOT_REWRITTEN: `writer` wrote no other query")


async def test_a_failing_model_raises_unless_it_may_degrade() -> None:
    ai, _ = await made(RuntimeError("the model is down"))
    with pytest.raises(RuntimeError, match="model is down"):
        await ai.retrieve("multi-query/docs", "key")
    ai, _ = await made(RuntimeError("the model is down"), on_error="degrade")
    found = await ai.retrieve("multi-query/docs", "key")
    assert found[0].id == "key"
    assert found.notices == ["MODEL_FAILED: only the query itself was asked: the model is down"]


async def test_a_query_that_fails_is_left_out_when_it_may_degrade() -> None:
    ai, _ = await made("first\nsecond", on_error="degrade")
    found = await ai.retrieve("multi-query/broken", "zero")
    assert {d.id for d in found} == {"zero", "second"}
    assert found.notices[1:] == ["SUB_RETRIEVER_FAILED: `query-1` gave nothing: no answer"]
    ai, _ = await made("first\nsecond")
    with pytest.raises(RuntimeError, match="no answer"):
        await ai.retrieve("multi-query/broken", "zero")


async def test_all_queries_are_asked_at_once() -> None:
    ai, _ = await made("a\nb")
    ai.registry.add_plugin(MultiQuery({"x": "meeting"}, model="writer", name="second"))
    everybody = asyncio.Barrier(3)

    @ai.retriever("meeting")
    async def meeting(query: Document) -> list[Document]:
        await everybody.wait()
        return [Document(query.text)]

    assert len(await asyncio.wait_for(ai.retrieve("second/x", "zero"), 10)) == 3


async def test_values_never_become_templates() -> None:
    ai, model = await made("a", prompt="Rewrite {query} in {count} ways; {{braces}} stay.")
    await ai.retrieve("multi-query/docs", "{count} {query.__class__} {0}")
    assert model.requests[0].messages[0].text == "Rewrite {count} {query.__class__} {0} in 3 ways; {braces} stay."


async def test_a_query_with_media_is_asked_as_it_is() -> None:
    ai, model = await made("a")
    ai.registry.add_plugin(MultiQuery({"x": "media"}, model="writer", name="second"))

    @ai.retriever("media")
    async def media(query: Document) -> list[Document]:
        return [Document(query.media[0].url)]

    query = [Part(text="like this"), Part(media=Media(url="data:image/png;base64,AA=="))]
    found = await ai.retrieve("second/x", query)
    assert (found[0].text, found.notices) == (
        "data:image/png;base64,AA==",
        ["NOT_REWRITTEN: a query with media is asked as it is."],
    )
    assert model.requests == []


async def test_the_config_reaches_the_model() -> None:
    ai, model = await made("a", config={"temperature": 0.7})
    await ai.retrieve("multi-query/docs", "key")
    request: ModelRequest = model.requests[0]
    assert request.typed_config().temperature == 0.7


async def test_model_and_queries_are_traced_under_the_retriever(spans: Any) -> None:
    ai, _ = await made("a")
    spans.clear()
    await ai.retrieve("multi-query/docs", "key")
    ended = {span.name: span for span in spans.get_finished_spans()}
    outer = next(span for name, span in ended.items() if "multi-query/docs" in name)
    inner = [span for name, span in ended.items() if name.endswith(("writer", "memory/docs"))]
    assert len(inner) == 2
    assert all(span.parent.span_id == outer.context.span_id for span in inner)


@pytest.mark.parametrize(
    "wrong",
    [
        {"queries": 0},
        {"queries": 99},
        {"prompt": "no field"},
        {"prompt": "{query} {other}"},
        {"prompt": "{query!r}"},
        {"prompt": "{query"},
        {"prompt": "{query.text}"},
        {"on_error": "ignore"},
        {"retrievers": {"x": "multi-query/x"}},
    ],
)
def test_wrong_settings_are_refused_when_the_plugin_is_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(GenkitError) as caught:
        MultiQuery(**{"retrievers": {"x": "memory/docs"}, "model": "m", **wrong})
    assert caught.value.status == "INVALID_ARGUMENT"


async def test_options_that_it_cannot_keep_are_refused() -> None:
    ai, _ = await made("a")
    with pytest.raises(GenkitError, match="mmr_lambda"):
        await ai.retrieve("multi-query/docs", "key", {"mmr_lambda": 0.5})
    with pytest.raises(GenkitError, match="weights"):
        await ai.retrieve("multi-query/docs", "key", {"weights": {}})
    assert MultiQueryOptions(queries=2).queries == 2


@pytest.mark.parametrize(
    "text",
    [
        "one way\nanother way",
        "1. one way\n2. another way",
        "Here are two:\n\n1) one way\n2) another way\n\nI hope that this helps!",
        "- **one way**\n- **another way**",
        '["one way", "another way"]',
        'Sure!\n```json\n["one way", "another way"]\n```',
        '{"queries": ["one way", "another way"]}',
        '[{"query": "one way"}, {"query": "another way"}]',
        '"one way",\n"another way"',
        "Query 1: one way\nQuery 2: another way",
        "[1] one way\n[2] another way",
        "• one   way\n• another way\n• ONE WAY",
    ],
)
def test_queries_are_read_in_whatever_form_they_come(text: str) -> None:
    assert parse_queries(text, 5) == ["one way", "another way"]


def test_a_number_that_belongs_to_a_query_stays() -> None:
    assert parse_queries("3.5 inch drive\n.5 litre", 5) == ["3.5 inch drive", ".5 litre"]


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
MODEL_TEXT = st.text() | st.text(alphabet='[]{}",:\n 1.)-*`ab\\u', max_size=60) | JSON.map(json.dumps)


@given(text=MODEL_TEXT, most=st.integers(0, 5))
def test_reading_never_fails_and_gives_usable_queries(text: str, most: int) -> None:
    queries = parse_queries(text, most)
    assert len(queries) <= most
    assert len({query.casefold() for query in queries}) == len(queries)
    for query in queries:
        assert query == " ".join(query.split())
        assert any(char.isalnum() or char == "_" for char in query)
        query.encode()


@given(queries=st.lists(st.from_regex(r"[a-z]{3,8}( [a-z]{3,8}){0,3}", fullmatch=True), unique=True, max_size=6))
def test_a_numbered_list_comes_back_as_it_was(queries: list[str]) -> None:
    text = "\n".join(f"{number}. {query}" for number, query in enumerate(queries, 1))
    assert parse_queries(f"Here they are:\n{text}\n", 10) == queries


def test_deep_nesting_and_lone_surrogates_do_no_harm() -> None:
    assert parse_queries("[" * 100_000, 3) == []
    assert parse_queries('["a \\ud800 b"]', 3) == ["a ? b"]


def test_json_without_strings_is_no_query() -> None:
    assert parse_queries('{"queries": [1, null]}', 3) == []


async def test_the_result_is_a_response_with_notices() -> None:
    ai, _ = await made("a")
    assert isinstance(await ai.retrieve("multi-query/docs", "key"), RetrieverResponse)
