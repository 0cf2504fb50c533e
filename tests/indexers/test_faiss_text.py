"""Search by words: any string is a query, filters are exact, the index follows the documents."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genkit_rag.plugin_api import Document, Media, Part, parse_filter
from genkit_rag_faiss import FaissStore
from genkit_rag_faiss._index import text as text_index

TEXTS = {
    "fox": "The quick brown foxes were running over the lazy dogs.",
    "cafe": "Un café à Paris, s'il vous plaît!",
    "code": "def parse_filter(raw): return tree",
    "tokyo": "東京 is the capital of Japan",
    "runner": "A runner runs. Running is what a runner does; runners run.",
}


def ones(n: int) -> Any:
    return np.ones((n, 4), np.float32)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FaissStore]:
    opened = await FaissStore.open(tmp_path / "docs")
    await opened.upsert([Document(text, {"n": len(text)}, id=name) for name, text in TEXTS.items()], ones(len(TEXTS)))
    yield opened
    await opened.close()


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("fox", "fox"),
        ("LAZY DOG", "fox"),
        ("run", "runner"),
        ("CAFE", "cafe"),
        ("café", "cafe"),
        ("東京", "tokyo"),
        ("parse_filter(", "code"),
        ("capital AND OR NOT (", "tokyo"),
        ('"quick brown', "fox"),
        ("body:fox^2 *", "fox"),
    ],
)
async def test_words_are_found_in_any_form(store: FaissStore, query: str, first: str) -> None:
    hits = await store.search_text(query, 3)
    assert hits[0].id == first
    assert hits[0].score > 0
    assert hits[0].document is not None
    assert hits[0].document.text == TEXTS[first]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


@pytest.mark.parametrize("query", ["", "   ", "the of and", "!?.,;:", "\0", "\ud800", "()[]{}"])
async def test_a_query_without_words_finds_nothing(store: FaissStore, query: str) -> None:
    assert await store.search_text(query, 3) == []


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=st.one_of(st.text(), st.text('+-&|!(){}[]^"~*?:\\/ANDORTO fox<>=', max_size=40)))
async def test_any_string_is_a_query(store: FaissStore, query: str) -> None:
    hits = await store.search_text(query, 10)
    assert {hit.id for hit in hits} <= set(TEXTS)
    alone = await store.search_text("quick", 10)
    with_it = await store.search_text(f"quick {query}", 10)
    assert {hit.id for hit in alone} <= {hit.id for hit in with_it}


async def test_a_very_long_query_is_one_too(store: FaissStore) -> None:
    query = " ".join(f"word{i}" for i in range(5000)) + " fox" * 3
    assert await store.search_text("fox " + query, 3)


async def test_a_word_that_is_asked_for_twice_counts_twice(store: FaissStore) -> None:
    once = {hit.id: hit.score for hit in await store.search_text("fox", 5)}
    twice = {hit.id: hit.score for hit in await store.search_text("fox fox", 5)}
    assert twice["fox"] == pytest.approx(2 * once["fox"], rel=1e-5)


async def test_replaced_and_deleted_documents_are_not_found_by_their_old_words(store: FaissStore) -> None:
    assert [hit.id for hit in await store.search_text("lazy", 3)] == ["fox"]
    await store.upsert([Document("a swift red vixen", id="fox")], ones(1))
    assert await store.search_text("lazy", 3) == []
    assert [hit.id for hit in await store.search_text("vixens", 3)] == ["fox"]
    await store.delete(ids=["fox"])
    assert await store.search_text("vixens", 3) == []


async def test_only_the_text_of_a_document_with_media_is_searched(store: FaissStore) -> None:
    parts = [Part(text="zebra"), Part(media=Media(url="https://example.org/giraffe.png"))]
    await store.upsert([Document(parts, id="zoo")], ones(1))
    assert [hit.id for hit in await store.search_text("zebra", 3)] == ["zoo"]
    assert await store.search_text("giraffe", 3) == []


@pytest.mark.parametrize("selective", [0, 2000])
async def test_k_hits_pass_the_filter_when_k_exist(
    tmp_path: Path, selective: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_index, "SELECTIVE_ROWS", selective)  # both ways to the same answer
    store = await FaissStore.open(tmp_path / "docs")
    documents = [Document("apple " * (1 + i % 7) + f"pear{i}", {"c": i % 50, "i": i}, id=str(i)) for i in range(2000)]
    await store.upsert(documents, ones(2000))
    await store.upsert([Document("apple", {"c": 7}, id="elsewhere")], ones(1), namespace="other")
    everything = await store.search_text("apple", 3000, payload=False)
    assert len(everything) == 2000
    for raw in ({"c": 7}, {"c": {"$ne": 7}}, {"i": {"$gte": 1990}}, {"c": 99}):
        passing = set(await store.ids(filter=parse_filter(raw)))
        hits = await store.search_text("apple", 10, filter=parse_filter(raw))
        assert len(hits) == min(10, len(passing))
        assert {hit.id for hit in hits} <= passing
        best = [hit.score for hit in everything if hit.id in passing][:10]
        assert [hit.score for hit in hits] == pytest.approx(best, rel=1e-4)
    assert [hit.id for hit in await store.search_text("apple", 10, namespace="other")] == ["elsewhere"]
    await store.delete(filter=parse_filter({"c": {"$lt": 49}}))
    assert len(await store.search_text("apple", 100)) == 40
    await store.close()


async def test_scores_are_bm25(tmp_path: Path) -> None:
    store = await FaissStore.open(tmp_path / "docs")
    texts = ["red red blue", "red green yellow black white", "blue blue"]
    await store.upsert([Document(text, id=str(i)) for i, text in enumerate(texts)], ones(3))
    lengths, frequencies = np.array([3, 5, 2]), np.array([2, 1, 0])
    idf = np.log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    expected = idf * frequencies * 2.2 / (frequencies + 1.2 * (0.25 + 0.75 * lengths / lengths.mean()))
    hits = await store.search_text("red", 3)
    assert {hit.id: hit.score for hit in hits} == pytest.approx({"0": expected[0], "1": expected[1]}, rel=1e-4)
    await store.close()


async def test_the_index_is_kept_for_the_next_opening(tmp_path: Path) -> None:
    store = await FaissStore.open(tmp_path / "docs")
    await store.upsert([Document(f"word{i}", id=str(i)) for i in range(50)], ones(50))
    await store.search_text("word7", 1)
    await store.close()
    files = {path.name for path in (tmp_path / "docs" / "text").rglob("*")}
    store = await FaissStore.open(tmp_path / "docs")
    assert [hit.id for hit in await store.search_text("word7", 1)] == ["7"]
    await store.close()
    assert {path.name for path in (tmp_path / "docs" / "text").rglob("*")} == files
