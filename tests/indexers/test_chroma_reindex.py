"""The vectors of a store are replaced by another embedder's all at once, whoever is killed and whoever writes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import chromadb
import numpy as np
import pytest

from genkit_rag.plugin_api import Document, Fingerprint, GenkitError, Vectors
from genkit_rag.testing._stores import unit_vectors
from genkit_rag_chroma import Chroma, ChromaStore
from tests.indexers.chroma_server import Server

FINGERPRINT = Fingerprint("test", "random", 16)
OTHER = Fingerprint("test", "other", 16)
OLD, NEW = unit_vectors(50), unit_vectors(50, seed=9)


async def embed(documents: Sequence[Document]) -> Vectors:
    rows: Vectors = NEW[[int(document.text) for document in documents]]
    return rows


async def filled(path: Path) -> ChromaStore:
    store = await Chroma([], path=path).open_store("docs")
    await store.bind(FINGERPRINT)
    await store.upsert([Document(str(i), id=f"d{i}") for i in range(40)], OLD[:40])
    return store


async def test_a_write_that_waited_for_the_change_is_refused_with_its_old_vectors(tmp_path: Path) -> None:
    store, waiting = await filled(tmp_path), []

    async def slow(documents: Sequence[Document]) -> Vectors:
        if len(waiting) == 0:
            async with store._engine.writing():  # so that the write stands in the line before the last step
                waiting.append(asyncio.create_task(store.upsert([Document("41", id="d41")], OLD[41:42])))
                await asyncio.sleep(0.05)
        return await embed(documents)

    assert await store.reindex(OTHER, slow, batch_size=40) in (40, 41)
    (result,) = await asyncio.gather(*waiting, return_exceptions=True)
    (row,) = await store.vectors(["d41"])
    if result is None:  # it came first: then it was embedded anew
        assert row is not None
        np.testing.assert_allclose(row, NEW[41], atol=1e-5)
    else:
        assert isinstance(result, GenkitError)
        assert row is None
    await store.close()


async def test_a_store_object_that_another_has_made_stale_refuses_to_write_and_to_search(tmp_path: Path) -> None:
    stale, other = await filled(tmp_path), await Chroma([], path=tmp_path).open_store("docs")
    await other.bind(FINGERPRINT)
    assert await other.reindex(OTHER, embed) == 40
    for call in (
        stale.upsert([Document("41", id="d41")], OLD[41:42]),
        stale.search(OLD[:1], 1),
        stale.delete(ids=["d1"]),
    ):
        with pytest.raises(GenkitError, match="holds vectors of test/other"):
            await call
    assert await other.count() == 40
    await stale.bind(OTHER)
    assert (await stale.search(NEW[3:4], 1))[0][0].id == "d3"
    await stale.close()
    await other.close()


async def test_the_old_collections_are_gone_afterwards(tmp_path: Path) -> None:
    store = await filled(tmp_path)
    await store.upsert([Document("41", id="x")], OLD[41:42], namespace="more")
    await store.reindex(OTHER, embed)
    await store.close()
    client = chromadb.PersistentClient(str(tmp_path), settings=chromadb.Settings(anonymized_telemetry=False))
    assert len(client.list_collections()) == 3  # the catalog and two namespaces
    client.close()


KILLED = """
import asyncio, os, sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from tests.indexers.test_chroma_reindex import *

async def main():
    store = await Chroma([], path=Path(sys.argv[1])).open_store("docs")
    await store.bind(FINGERPRINT)
    calls = 0
    async def dies(documents):
        nonlocal calls
        calls += 1
        if calls == 3:
            os.kill(os.getpid(), 9)
        return await embed(documents)
    await store.reindex(OTHER, dies, batch_size=10)
asyncio.run(main())
"""


async def test_a_change_that_was_killed_left_the_old_vectors_and_goes_on_where_it_was(tmp_path: Path) -> None:
    await (await filled(tmp_path)).close()
    root = str(Path(__file__).parents[2])
    done = subprocess.run(  # noqa: ASYNC221
        [sys.executable, "-c", KILLED, str(tmp_path), root], timeout=60, capture_output=True, check=False
    )
    assert done.returncode == -9, done.stderr.decode()
    store = await Chroma([], path=tmp_path).open_store("docs")
    await store.bind(FINGERPRINT)
    assert (await store.search(OLD[7:8], 1))[0][0].id == "d7"
    assert await store.count() == 40
    sizes: list[int] = []

    async def counted(documents: Sequence[Document]) -> Vectors:
        sizes.append(len(documents))
        return await embed(documents)

    assert await store.reindex(OTHER, counted, batch_size=10) == 40
    assert sum(sizes) == 20
    assert (await store.search(NEW[7:8], 1))[0][0].id == "d7"
    await store.close()


@pytest.mark.network
async def test_what_other_clients_of_a_server_write_meanwhile_is_not_lost(tmp_path: Path) -> None:
    server = Server(tmp_path / "db")
    server.start()
    try:
        first, second = [await Chroma([], url=server.url).open_store("docs") for _ in range(2)]
        for store in (first, second):
            await store.bind(FINGERPRINT)
        await first.upsert([Document(str(i), id=f"d{i}") for i in range(30)], OLD[:30])
        written: list[str] = []

        async def write() -> Any:
            for i in range(30, 50):
                await second.upsert([Document(str(i), id=f"d{i}")], OLD[i : i + 1])
                written.append(f"d{i}")

        writing = asyncio.create_task(write())
        await first.reindex(OTHER, embed, batch_size=10)
        (ended,) = await asyncio.gather(writing, return_exceptions=True)
        assert ended is None or isinstance(ended, GenkitError)
        assert set(await first.ids()) >= {*written, *(f"d{i}" for i in range(30))}
        for id_, row in zip(written, await first.vectors(written), strict=True):
            assert row is not None
            np.testing.assert_allclose(row, NEW[int(id_[1:])], atol=1e-5)
        await first.close()
        await second.close()
    finally:
        server.stop()
