"""Changing the embedder of a FAISS store: resumable, at once, and seen by other processes."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genkit_rag import Genkit
from genkit_rag.plugin_api import Document, Fingerprint, GenkitError, Vectors
from genkit_rag.testing import FakeEmbedder
from genkit_rag_faiss import Faiss, FaissStore

OLD, NEW = Fingerprint("test", "old", 8), Fingerprint("test", "new", 8)


def unit(count: int, seed: int) -> Any:
    raw = np.random.default_rng(seed).standard_normal((count, 8)).astype(np.float32)
    return raw / np.linalg.norm(raw, axis=1, keepdims=True)


async def filled(path: Path, count: int = 60) -> FaissStore:
    store = await FaissStore.open(path)
    await store.bind(OLD)
    await store.upsert([Document(str(i), id=f"d{i}") for i in range(count)], unit(count, 1))
    return store


class Counting:
    """An embedder that counts, and fails when told to."""

    def __init__(self, fail_after: int = 10**9) -> None:
        self.texts: list[str] = []
        self.fail_after = fail_after

    async def __call__(self, documents: Sequence[Document]) -> Vectors:
        if len(self.texts) + len(documents) > self.fail_after:
            raise ConnectionError("gone")
        self.texts += [document.text for document in documents]
        rows: Vectors = unit(60, 2)[[int(document.text) for document in documents]]
        return rows


async def test_a_run_that_was_stopped_goes_on_after_a_restart(tmp_path: Path) -> None:
    store = await filled(tmp_path / "docs")
    first = Counting(fail_after=35)
    with pytest.raises(ConnectionError):
        await store.reindex(NEW, first, batch_size=10)
    await store.close()
    store = await FaissStore.open(tmp_path / "docs")
    assert (await store.search(unit(60, 1)[7][None], 1))[0][0].id == "d7"
    second = Counting()
    assert await store.reindex(NEW, second, batch_size=10) == 60
    assert sorted(first.texts + second.texts, key=int) == [str(i) for i in range(60)]
    await store.close()
    store = await FaissStore.open(tmp_path / "docs")
    assert (await store.search(unit(60, 2)[7][None], 1))[0][0].id == "d7"
    assert (await store.verify()).ok
    await store.close()


async def test_what_was_laid_aside_for_another_embedder_is_not_used(tmp_path: Path) -> None:
    store = await filled(tmp_path / "docs")
    with pytest.raises(ConnectionError):
        await store.reindex(Fingerprint("test", "third", 8), Counting(fail_after=30), batch_size=10)
    again = Counting()
    await store.reindex(NEW, again, batch_size=10)
    assert len(again.texts) == 60
    await store.close()


async def test_a_reader_that_is_tied_to_the_old_embedder_is_told_so(tmp_path: Path) -> None:
    store = await filled(tmp_path / "docs")
    reader = await FaissStore.open(tmp_path / "docs", mode="r")
    await reader.bind(OLD)
    assert (await reader.search(unit(60, 1)[7][None], 1))[0][0].id == "d7"
    await store.reindex(NEW, Counting())
    with pytest.raises(GenkitError, match=r"FAILED_PRECONDITION.*test/new"):
        await reader.search(unit(60, 1)[7][None], 1)
    await reader.close()
    reader = await FaissStore.open(tmp_path / "docs", mode="r")
    assert (await reader.search(unit(60, 2)[7][None], 1))[0][0].id == "d7"
    await reader.close()
    await store.close()


async def test_the_verb_changes_the_embedder_of_a_running_app(tmp_path: Path) -> None:
    words, letters = FakeEmbedder(), FakeEmbedder(name="letters", dimensions=32)
    async with Genkit(plugins=[words, letters, Faiss(["docs"], path=tmp_path, embedder=words.embedder)]) as ai:
        await ai.index("faiss/docs", ["a red fox", "a blue whale"])
        seen: list[tuple[int, int]] = []
        changed = await ai.reindex(
            "faiss/docs", embedder=letters.embedder, progress=lambda done, of: seen.append((done, of))
        )
        assert (changed, seen[-1]) == (2, (2, 2))
        assert (await ai.retrieve("faiss/docs", "red fox"))[0].text == "a red fox"
        await ai.index("faiss/docs", ["a green frog"])
        assert (await (await ai.store("faiss/docs")).describe()).fingerprint.dimensions == 32  # type: ignore[union-attr]


async def test_an_id_that_the_database_lost_is_never_taken_for_absent(tmp_path: Path) -> None:
    store = await filled(tmp_path / "docs")
    await store.close()
    connection = sqlite3.connect(tmp_path / "docs" / "store.db")
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute("DELETE FROM doc WHERE id = 'd7'")
    connection.commit()
    connection.close()
    store = await FaissStore.open(tmp_path / "docs")
    for call in (
        store.get(["d7"]),
        store.vectors(["d7"]),
        store.delete(ids=["d7"]),
        store.search(unit(60, 1)[7][None], 1),
        store.upsert([Document("7", id="d7")], unit(1, 5)),
        store.search_text("7", 1),
    ):
        with pytest.raises(GenkitError, match=r"DATA_LOSS|after an error"):
            await call
    assert await store.get(["d8", "nobody"]) != [None, None]
    await store.close()


async def test_a_query_that_is_being_embedded_during_the_change_is_embedded_again(tmp_path: Path) -> None:
    """Both embedders have vectors of one length: an old query against new vectors would find anything."""
    words, started, go_on = FakeEmbedder(), asyncio.Event(), asyncio.Event()
    async with Genkit(plugins=[Faiss(["docs"], path=tmp_path, embedder="old")]) as ai:

        @ai.embedder("old")
        async def old(documents: list[Document]) -> Any:
            if documents[0].text == "blue whale":
                started.set()
                await go_on.wait()
            return [words.vector(document.text) for document in documents]

        @ai.embedder("new")
        async def new(documents: list[Document]) -> Any:
            return [np.roll(words.vector(document.text), 7) for document in documents]

        await ai.index("faiss/docs", ["a red fox", "a blue whale", "the sun", "a stone"])
        asking = asyncio.ensure_future(ai.retrieve("faiss/docs", "blue whale", {"k": 1}))
        await started.wait()
        await ai.reindex("faiss/docs", embedder="new")
        go_on.set()
        (found,) = await asking
        assert found.text == "a blue whale"
        assert (found.score or 0) > 0.7
