"""The plugin: its stores are actions, found by name, opened late and closed."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from genkit_rag import Document, Genkit, GenkitError
from genkit_rag.testing import FakeEmbedder
from genkit_rag_faiss import Faiss

TEXTS = ["the capital of France is Paris", "a fox runs over the lawn", "Tokyo is the capital of Japan"]


def application(path: Path, stores: list[str], **options: Any) -> Genkit:
    return Genkit(plugins=[FakeEmbedder(), Faiss(stores, path=path, embedder="fake/words", **options)])


async def test_documents_go_in_by_the_indexer_and_come_out_by_the_retriever(tmp_path: Path) -> None:
    documents = [Document(text, {"n": i}) for i, text in enumerate(TEXTS)]
    async with application(tmp_path, ["docs"]) as ai:
        await ai.index("faiss/docs", documents)
        for mode in ("vector", "text", "hybrid"):
            found = await ai.retrieve("faiss/docs", "what is the capital of Japan?", options={"k": 2, "mode": mode})
            assert found[0].text == TEXTS[2]
            assert found[0].metadata == {"n": 2}
            assert len(found) == 2
    async with application(tmp_path, []) as ai:  # a store that is there is found without being named
        found = await ai.retrieve("faiss/docs", "fox", options={"k": 1, "filter": {"n": {"$lt": 2}}})
        assert found[0].text == TEXTS[1]


async def test_a_store_that_does_not_exist_and_was_not_named_is_not_found(tmp_path: Path) -> None:
    async with application(tmp_path, ["docs"]) as ai:
        with pytest.raises(GenkitError) as caught:
            await ai.retrieve("faiss/other", "fox")
        assert caught.value.status == "NOT_FOUND"
        assert "faiss/docs" in str(caught.value)
        with pytest.raises(GenkitError):
            await ai.retrieve("faiss/..", "fox")
    assert not (tmp_path / "docs").exists()  # nothing was opened, so nothing was made


async def test_an_embedder_of_another_size_is_refused(tmp_path: Path) -> None:
    async with application(tmp_path, ["docs"]) as ai:
        await ai.index("faiss/docs", [Document("a")])
    other = Genkit(plugins=[FakeEmbedder(dimensions=32), Faiss(["docs"], path=tmp_path, embedder="fake/words")])
    async with other as ai:
        with pytest.raises(GenkitError, match="holds vectors of"):
            await ai.index("faiss/docs", [Document("b")])
        with pytest.raises(GenkitError, match="holds vectors of"):
            await ai.retrieve("faiss/docs", "a")


def test_a_store_name_that_is_no_folder_name_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(GenkitError, match="name"):
        Faiss(["../etc"], path=tmp_path)


def test_an_unknown_option_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(GenkitError, match=r"Known options.*index"):
        Faiss(["docs"], path=tmp_path, metrik="dot")


def test_a_store_opens_once_for_event_loops_in_many_threads(tmp_path: Path) -> None:
    ai = Genkit(plugins=[FakeEmbedder(), Faiss(["docs"], path=tmp_path, embedder="fake/words")])
    together = threading.Barrier(8)

    def write(number: int) -> None:
        together.wait()
        asyncio.run(ai.index("faiss/docs", [f"document {number}"]))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert len(ai.run_main(ai.retrieve("faiss/docs", "document"))) == 8


def test_a_store_opens_after_the_event_loop_that_was_opening_it_ended(tmp_path: Path) -> None:
    ai = Genkit(plugins=[FakeEmbedder(), Faiss(["docs"], path=tmp_path, embedder="fake/words")])

    async def leave_early() -> None:
        waiting = asyncio.ensure_future(ai.retrieve("faiss/docs", "a"))
        for _ in range(3):
            await asyncio.sleep(0)
        assert not waiting.done()

    asyncio.run(leave_early())
    assert ai.run_main(ai.retrieve("faiss/docs", "a")) == []
