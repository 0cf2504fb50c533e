"""Bad input through the highest door: each error names argument, value and fix, and the store stays as it was."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genkit_rag import Document, EmbedderInfo, Genkit, GenkitError
from genkit_rag.testing import FakeEmbedder
from genkit_rag_faiss import Faiss
from genkit_rag_ollama import Ollama


@pytest.fixture
async def ai(tmp_path: Path) -> AsyncIterator[Genkit]:
    plugins = [FakeEmbedder(), Faiss(["docs"], path=tmp_path, embedder="fake/words"), Ollama(host="http://127.0.0.1:9")]
    async with Genkit(plugins=plugins) as made:
        await made.index("faiss/docs", [Document("cats purr", {"year": 2020}, id="cats")])
        yield made
        store = await made.store("faiss/docs")
        assert await store.ids() == ["cats"]
        assert [d.text for d in await made.retrieve("faiss/docs", "cats")] == ["cats purr"]


async def refused(call: object, status: str, *words: str) -> None:
    with pytest.raises(GenkitError) as caught:
        await call  # type: ignore[misc]
    error = caught.value
    assert error.status == status
    assert error.hint
    for word in words:
        assert word in str(error)


@pytest.mark.parametrize(
    ("vector", "words"),
    [([1.0, 2.0, 3.0], ("64", "3")), ([float("nan")] * 64, ("embeddings", "row 0")), ([float("inf")] * 64, ("row 0",))],
    ids=["another dimension", "NaN", "infinity"],
)
async def test_a_vector_that_does_not_fit_is_refused(
    ai: Genkit, tmp_path: Path, vector: list[float], words: tuple[str, ...]
) -> None:
    async def embed(documents: list[Document]) -> list[list[float]]:
        return [vector for _ in documents]

    await ai.close()
    other = Genkit(plugins=[Faiss(["docs"], path=tmp_path, embedder="fake/words")])
    other.define_embedder("fake/words", embed, info=EmbedderInfo(dimensions=64))
    async with other:
        status = "FAILED_PRECONDITION" if len(vector) == 3 else "INVALID_ARGUMENT"
        await refused(other.index("faiss/docs", ["new"]), status, *words)
        assert await (await other.store("faiss/docs")).count() == 1


async def test_another_embedders_fingerprint_is_refused(ai: Genkit, tmp_path: Path) -> None:
    await ai.close()
    other = Genkit(plugins=[Faiss(["docs"], path=tmp_path, embedder="other/model")])
    other.define_embedder("other/model", lambda documents: np.ones((len(documents), 64)))
    async with other:
        await refused(other.index("faiss/docs", ["new"]), "FAILED_PRECONDITION", "fake/words", "other/model")
        await refused(other.retrieve("faiss/docs", "q"), "FAILED_PRECONDITION", "fake/words", "other/model")


async def test_two_documents_of_one_id_in_a_call_are_refused(ai: Genkit) -> None:
    batch = [Document("a", id="same"), Document("b", id="same")]
    await refused(ai.index("faiss/docs", batch), "INVALID_ARGUMENT", "documents[1]", "'same'")


async def test_an_unknown_retriever_is_named_with_those_that_there_are(ai: Genkit) -> None:
    await refused(ai.retrieve("faiss/dosc", "q"), "NOT_FOUND", "faiss/dosc", "faiss/docs")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"filter": {"year": {"$near": 3}}}, ("$near", "year", "$gte")),
        ({"filter": {"year": {"$in": 3}}}, ("$in", "3")),
        ({"k": -1}, ("options.k", "-1")),
        ({"k": 10**9}, ("options.k", "1000000000")),
        ({"limits": 3}, ("limits", "filter")),
        ({"mode": "magic"}, ("mode",)),
    ],
    ids=str,
)
async def test_an_option_that_is_not_valid_is_refused(
    ai: Genkit, options: dict[str, object], words: tuple[str, ...]
) -> None:
    await refused(ai.retrieve("faiss/docs", "q", options), "INVALID_ARGUMENT", *words)


async def test_a_path_that_is_not_there_is_refused(ai: Genkit, tmp_path: Path) -> None:
    await refused(ai.ingest(tmp_path / "nowhere", indexer="faiss/docs"), "NOT_FOUND", "nowhere")


@pytest.mark.network
async def test_a_model_that_cannot_be_reached_says_where_it_was_looked_for(ai: Genkit) -> None:
    await refused(ai.generate("hi", model="ollama/llama3.2"), "UNAVAILABLE", "127.0.0.1:9", "ollama serve")


@pytest.mark.parametrize("query", ["", "  \n\t"])
async def test_an_empty_query_finds_nothing_and_says_so(ai: Genkit, query: str) -> None:
    found = await ai.retrieve("faiss/docs", query)
    assert found == []
    assert found.notices[0].startswith("EMPTY_QUERY")


@pytest.mark.parametrize(
    "document",
    [
        Document("x", {"n": float("nan")}, id="bad"),
        Document("x", {"n": 2**70}, id="bad"),
        Document("x", {"n": object()}, id="bad"),
        Document("lone \ud800 surrogate", id="bad"),
        Document("x", id="nul\0"),
    ],
    ids=["NaN", "too large", "no JSON", "surrogate", "NUL in the id"],
)
async def test_what_could_not_come_back_as_it_was_is_refused_with_its_whole_batch(
    ai: Genkit, document: Document
) -> None:
    await refused(ai.index("faiss/docs", [Document("fine", id="fine"), document]), "INVALID_ARGUMENT", document.id[:3])


@pytest.mark.parametrize("given", ["one text", Document("one"), None, [("one", {})], [{"text": "one"}]])
async def test_what_is_no_list_of_documents_is_refused_and_not_taken_apart(ai: Genkit, given: Any) -> None:
    await refused(ai.index("faiss/docs", given), "INVALID_ARGUMENT", "document")


async def test_a_string_is_no_list_of_ids_or_stores(ai: Genkit) -> None:
    await refused(ai.delete("faiss/docs", ids="cats"), "INVALID_ARGUMENT", "ids", "['cats']")
    await refused(ai.embed_many("fake/words", "cats"), "INVALID_ARGUMENT", "content")
    with pytest.raises(GenkitError, match="stores"):
        Faiss("docs", embedder="fake/words")


@pytest.mark.parametrize("query", [None, 3, ["cats", "dogs"]])
async def test_a_query_that_is_no_document_is_refused(ai: Genkit, query: Any) -> None:
    await refused(ai.retrieve("faiss/docs", query), "INVALID_ARGUMENT", "query")


@pytest.mark.parametrize("given", [[FakeEmbedder], ["faiss"], [None]])
def test_what_is_no_plugin_is_refused(given: Any) -> None:
    with pytest.raises(GenkitError, match="plugins"):
        Genkit(plugins=given)


@pytest.mark.parametrize("given", [(5, None), ("x", "abc"), (["x"], None), (None, None)])
def test_what_is_no_content_or_metadata_is_refused(given: tuple[Any, Any]) -> None:
    with pytest.raises(GenkitError, match="INVALID_ARGUMENT"):
        Document(*given)
