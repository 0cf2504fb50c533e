"""Retrievers and indexers over functions of users."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from genkit_rag import Genkit
from genkit_rag.plugin_api import (
    ActionContext,
    Document,
    GenkitError,
    IndexerOptions,
    IndexerResponse,
    Part,
    RetrieverOptions,
    RetrieverResponse,
)

FOUND = [Document(text) for text in ("one", "two", "three")]


@pytest.fixture
def ai() -> Genkit:
    return Genkit()


async def with_everything(query: Document, options: RetrieverOptions, ctx: ActionContext) -> list[Document]:
    return [Document(f"{query.text} {options.k} {ctx.context['user']}")]


async def _only_query(query: Document) -> list[Document]:
    return [Document(query.text)]


@pytest.mark.parametrize(
    ("fn", "text"),
    [
        (with_everything, "tea 10 ana"),
        (_only_query, "tea"),
        (lambda: [Document("none")], "none"),
        (lambda query: [Document(query.text)], "tea"),
        (lambda query, options: (Document(str(options.k)),), "10"),
        (lambda query, ctx: [Document(ctx.context["user"])], "ana"),
        (lambda query: (Document(word) for word in ["lazy"]), "lazy"),
        (lambda query: RetrieverResponse([Document("whole")], ["seen"]), "whole"),
        (lambda query: _only_query(query), "tea"),
    ],
)
async def test_a_retriever_takes_what_it_needs_sync_or_async(ai: Genkit, fn: Any, text: str) -> None:
    ai.define_retriever("mine", fn)
    found = await ai.retrieve("mine", "tea", context={"user": "ana"})
    assert [document.text for document in found] == [text]
    assert (found[0].rank, found[0].retriever) == (0, "mine")
    assert found.documents == list(found)
    assert found.notices == (["seen"] if text == "whole" else [])


async def test_k_cuts_what_a_retriever_gives_and_keeps_its_order(ai: Genkit) -> None:
    ai.define_retriever("mine", lambda query: FOUND)
    for k in (0, 1, 2, 3, 10):
        found = await ai.retrieve("mine", "q", {"k": k})
        assert [document.text for document in found] == ["one", "two", "three"][:k]
        assert [document.rank for document in found] == list(range(min(k, 3)))
    assert FOUND[0].rank is None, "the retriever's own documents were changed"


@pytest.mark.parametrize("query", ["", "  \n", Document(""), Part(text=" ")])
async def test_a_query_without_content_finds_nothing_and_says_so(ai: Genkit, query: Any) -> None:
    ai.define_retriever("mine", lambda query: FOUND)
    found = await ai.retrieve("mine", query)
    assert found == []
    assert found.notices[0].startswith("EMPTY_QUERY")


@pytest.mark.parametrize(
    ("name", "options", "message", "hint"),
    [
        ("min", None, "NOT_FOUND: Unknown retriever `min`", "Did you mean `mine`?"),
        ("mine", {"kk": 1}, "Unknown option `kk`", "score_threshold"),
        ("mine", {"k": -1}, "`options.k` must be from 0", "Leave it out"),
        ("mine", {"k": None}, r"\$\.k", "Correct"),
    ],
)
async def test_mistakes_of_the_caller_are_named(ai: Genkit, name: str, options: Any, message: str, hint: str) -> None:
    ai.define_retriever("mine", lambda query: FOUND)
    with pytest.raises(GenkitError, match=message) as caught:
        await ai.retrieve(name, "q", options)
    assert hint in (caught.value.hint or "")
    with pytest.raises(GenkitError, match="`query` has a wrong type"):
        await ai.retrieve("mine", None)  # type: ignore[arg-type]


class MyOptions(RetrieverOptions):
    language: str = "en"


class Free(BaseModel):
    depth: int = 1


async def test_a_retriever_may_have_its_own_options(ai: Genkit) -> None:
    ai.define_retriever("mine", lambda query, options: [Document(options.language)] * 3, options_type=MyOptions)
    ai.define_retriever("free", lambda query, options: [Document(str(options.depth))], options_type=Free)
    ai.define_retriever("raw", lambda query, options: [Document(str(options))], options_type=None)
    assert [d.text for d in await ai.retrieve("mine", "q", {"k": 1, "language": "pt"})] == ["pt"]
    assert [d.text for d in await ai.retrieve("free", "q")] == ["1"]
    assert [d.text for d in await ai.retrieve("free", "q", Free(depth=3))] == ["3"]
    assert [d.text for d in await ai.retrieve("raw", "q", {"any": 1})] == ["{'any': 1}"]
    with pytest.raises(GenkitError, match=r"\$\.depth"):
        await ai.retrieve("free", "q", {"depth": "deep"})
    with pytest.raises(GenkitError, match=r"options\.k"):
        await ai.retrieve("mine", "q", {"k": -1})


@pytest.mark.parametrize("wrong", [None, ["text"], [Document("a"), None], 7, {"a": 1}])
async def test_what_is_not_documents_is_refused_with_the_way_out(ai: Genkit, wrong: Any) -> None:
    ai.define_retriever("mine", lambda query: wrong)
    with pytest.raises(GenkitError, match="`mine` returned") as caught:
        await ai.retrieve("mine", "q")
    assert "simple_retriever" in (caught.value.hint or "")


async def test_a_retriever_speaks_json(ai: Genkit) -> None:
    action = ai.define_retriever("mine", lambda query: [Document("one", {"n": 1}, id="x", score=0.5)])
    wire = {"query": {"content": [{"text": "q"}]}, "options": {"limit": 1}}
    assert await action.run_json(wire) == {
        "documents": [
            {
                "content": [{"text": "one"}],
                "metadata": {"n": 1, "id": "x", "score": 0.5, "rank": 0, "retriever": "mine"},
            }
        ]
    }
    with pytest.raises(GenkitError, match=r"\$\.query\.content\[0\]\.text"):
        await action.run_json({"query": {"content": [{"text": 1}]}})
    assert action.metadata["retriever"]["customOptions"]["properties"]["scoreThreshold"]


# -- simple retrievers

ROWS = [{"title": "T", "body": "B", "year": 2020}]


@pytest.mark.parametrize(
    ("items", "options", "expected"),
    [
        (["a"], {}, Document("a")),
        ([Document("a", {"k": 1})], {}, Document("a", {"k": 1})),
        (ROWS, {"content": "body"}, Document("B", {"title": "T", "year": 2020})),
        (ROWS, {"content": "body", "metadata": ["year", "absent"]}, Document("B", {"year": 2020})),
        (ROWS, {"content": lambda row: row["title"] + row["body"]}, Document("TB")),
        (ROWS, {"content": "body", "metadata": lambda row: {"y": row["year"]}}, Document("B", {"y": 2020})),
        (ROWS, {"content": lambda row: [Part(text="x")]}, Document("x")),
    ],
)
async def test_a_simple_retriever_makes_documents_of_items(
    ai: Genkit, items: Any, options: Any, expected: Document
) -> None:
    ai.define_simple_retriever("mine", lambda query: items, **options)
    (found,) = await ai.retrieve("mine", "q")
    assert (found.content, found.metadata) == (expected.content, expected.metadata)


async def test_a_simple_retriever_decorates_takes_options_and_is_cut_at_k(ai: Genkit) -> None:
    @ai.simple_retriever("mine", content="text")
    async def mine(query: Document, options: RetrieverOptions) -> list[dict[str, str]]:
        return [{"text": f"{query.text}{n}"} for n in range(options.k + 5)]

    assert [document.text for document in await ai.retrieve("mine", "q", {"k": 2})] == ["q0", "q1"]
    assert (await ai.retrieve("mine", "")).notices


@pytest.mark.parametrize("item", [{"a": 1}, {}])
async def test_an_item_that_cannot_become_a_document_is_refused(ai: Genkit, item: Any) -> None:
    ai.define_simple_retriever("mine", lambda query: [item])
    with pytest.raises(GenkitError, match="INVALID_ARGUMENT: `item`"):
        await ai.retrieve("mine", "q")


# -- indexers


async def test_an_indexer_gets_documents_with_unique_ids_and_answers_with_them(ai: Genkit) -> None:
    seen: list[Any] = []

    @ai.indexer("mine")
    def mine(documents: list[Document], options: IndexerOptions, ctx: ActionContext) -> None:
        seen.append((documents, options.namespace, ctx.context))

    response = await ai.index("mine", ["a", Document("b", id="x"), "a"], {"namespace": "left"}, context={"user": "ana"})
    assert response.ids == [Document("a").id, "x"]
    assert seen == [([Document("a"), Document("b", id="x")], "left", {"user": "ana"})]


async def test_one_id_for_two_documents_of_a_call_is_refused_before_anything_is_indexed(ai: Genkit) -> None:
    seen: list[Any] = []
    ai.define_indexer("mine", seen.append)
    with pytest.raises(GenkitError, match=r"`documents\[2\]` has the id 'x'") as caught:
        await ai.index("mine", [Document("a", id="x"), "b", Document("c", id="x")])
    assert caught.value.status == "INVALID_ARGUMENT"
    assert seen == []


async def test_an_indexer_is_not_asked_to_index_nothing(ai: Genkit) -> None:
    seen: list[Any] = []
    ai.define_indexer("mine", seen.append)
    assert (await ai.index("mine", [])).ids == []
    assert seen == []


async def test_an_indexers_own_answer_and_options_count(ai: Genkit) -> None:
    ai.define_indexer("mine", lambda docs, options: IndexerResponse(ids=[str(options.depth)]), options_type=Free)
    assert (await ai.index("mine", ["a"])).ids == ["1"]
    assert (await ai.index("mine", ["a"], {"depth": 2})).ids == ["2"]
    with pytest.raises(GenkitError, match=r"\$\.depth"):
        await ai.index("mine", ["a"], {"depth": "deep"})
