"""The plugin: its stores are actions, found by name, opened late and closed; wrong options are refused."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from genkit_rag import Document, Genkit, GenkitError
from genkit_rag.testing import FakeEmbedder
from genkit_rag_chroma import Chroma

TEXTS = ["the capital of France is Paris", "a fox runs over the lawn", "Tokyo is the capital of Japan"]


def application(path: Path, stores: list[str], **options: Any) -> Genkit:
    return Genkit(plugins=[FakeEmbedder(), Chroma(stores, path=path, embedder="fake/words", **options)])


async def test_documents_go_in_by_the_indexer_and_come_out_by_the_retriever(tmp_path: Path) -> None:
    documents = [Document(text, {"n": i}) for i, text in enumerate(TEXTS)]
    async with application(tmp_path, ["docs"]) as ai:
        await ai.index("chroma/docs", documents)
        for mode in ("vector", "text", "hybrid"):
            found = await ai.retrieve("chroma/docs", "what is the capital of Japan?", options={"k": 2, "mode": mode})
            assert found[0].text == TEXTS[2]
            assert found[0].metadata == {"n": 2}
            assert len(found) == 2
    async with application(tmp_path, []) as ai:  # a store that is there is found without being named
        found = await ai.retrieve("chroma/docs", "fox", options={"k": 1, "filter": {"n": {"$lt": 2}}})
        assert found[0].text == TEXTS[1]


async def test_a_store_that_does_not_exist_and_was_not_named_is_not_found(tmp_path: Path) -> None:
    async with application(tmp_path, ["docs"]) as ai:
        for name in ("other", ".."):
            with pytest.raises(GenkitError) as caught:
                await ai.retrieve(f"chroma/{name}", "fox")
            assert caught.value.status == "NOT_FOUND"
    assert os.listdir(tmp_path) == []  # nothing was opened, so nothing was made


async def test_an_embedder_of_another_size_is_refused(tmp_path: Path) -> None:
    async with application(tmp_path, ["docs"]) as ai:
        await ai.index("chroma/docs", [Document("a")])
    other = Genkit(plugins=[FakeEmbedder(dimensions=32), Chroma(["docs"], path=tmp_path, embedder="fake/words")])
    async with other as ai:
        with pytest.raises(GenkitError, match="holds vectors of"):
            await ai.index("chroma/docs", [Document("b")])
        with pytest.raises(GenkitError, match="holds vectors of"):
            await ai.retrieve("chroma/docs", "a")


async def test_stores_of_one_database_do_not_see_each_other(tmp_path: Path) -> None:
    async with application(tmp_path, ["left", "left-2", "right"]) as ai:
        for name in ("left", "left-2", "right"):
            await ai.index(f"chroma/{name}", [f"only in {name}"])
        for name in ("left", "left-2", "right"):
            assert [hit.text for hit in await ai.retrieve(f"chroma/{name}", "only")] == [f"only in {name}"]
            assert await (await ai.store(f"chroma/{name}")).count() == 1


@pytest.mark.parametrize("name", ["../etc", "", "a.b", "-a", "x" * 65, "é"])
def test_a_store_name_that_no_collection_can_have_is_refused_at_once(name: str, tmp_path: Path) -> None:
    with pytest.raises(GenkitError, match=r"stores.*begin with a letter"):
        Chroma([name], path=tmp_path)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"metrik": "dot"}, r"metrik.*Known options.*ef_search"),
        ({"ef_search": 0}, "ef_search"),
        ({"timeout": 0}, "timeout"),
        ({"url": "127.0.0.1:8000"}, "url"),
        ({"url": "http://host/path"}, "url"),
        ({"url": "http://127.0.0.1:8000", "path": "x"}, "exclude each other"),
    ],
)
def test_options_that_mean_nothing_are_refused_at_once(options: dict[str, Any], says: str) -> None:
    with pytest.raises(GenkitError, match=says):
        Chroma(["docs"], **options)


def test_a_store_opens_once_for_event_loops_in_many_threads(tmp_path: Path) -> None:
    ai = application(tmp_path, ["docs"])
    together = threading.Barrier(8)

    def write(number: int) -> None:
        together.wait()
        asyncio.run(ai.index("chroma/docs", [f"document {number}"]))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert len(ai.run_main(ai.retrieve("chroma/docs", "document"))) == 8
    ai.run_main(ai.close())


async def test_two_plugins_may_open_one_database_and_close_it_apart(tmp_path: Path) -> None:
    async with application(tmp_path, ["docs"]) as first:
        await first.index("chroma/docs", ["one"])
        async with application(tmp_path, ["docs"]) as second:
            await second.index("chroma/docs", ["two"])
        assert len(await first.retrieve("chroma/docs", "two")) == 2


async def test_the_embedder_of_a_store_can_be_changed(tmp_path: Path) -> None:
    plugins = [FakeEmbedder(), FakeEmbedder(dimensions=32, name="other")]
    async with Genkit(plugins=[*plugins, Chroma(["docs"], path=tmp_path, embedder="fake/words")]) as ai:
        await ai.index("chroma/docs", TEXTS)
        assert await ai.reindex("chroma/docs", embedder="other/words") == 3
        assert (await ai.retrieve("chroma/docs", "capital of Japan", options={"k": 1}))[0].text == TEXTS[2]
