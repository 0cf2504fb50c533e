"""A batch is there as a whole or not at all: for readers, after an error at any step, and after kill -9."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from genkit_rag.plugin_api import Document, GenkitError
from genkit_rag.testing._stores import unit_vectors
from genkit_rag_chroma import Chroma, ChromaStore
from tests.indexers.test_chroma_reindex import FINGERPRINT

WRITES = ("upsert", "update", "delete", "modify")


async def opened(path: Path) -> ChromaStore:
    store = await Chroma([], path=path).open_store("docs")
    await store.bind(FINGERPRINT)
    return store


async def filled(path: Path) -> ChromaStore:
    """A store whose batches take several slices, with 25 documents of version 0."""
    store = await opened(path)
    store._engine.slice_rows = 10
    await store.upsert(version(0, 25), unit_vectors(25))
    return store


def version(number: int, count: int) -> list[Document]:
    return [Document(f"word{number} common", {"v": number}, id=f"d{i}") for i in range(count)]


async def versions(store: ChromaStore) -> list[int]:
    """Every way to look at it shows the same documents; returns their versions."""
    found = [one for one in await store.get([f"d{i}" for i in range(60)]) if one]
    assert await store.count() == len(await store.ids()) == len(found)
    for hits in (await store.search(unit_vectors(1), 100))[0], await store.search_text("common", 100):
        assert {hit.id: hit.document for hit in hits} == {one.id: one for one in found}
        assert len(hits) == len(found)
    return [one.metadata["v"] for one in found]


@pytest.mark.parametrize("step", range(12))
async def test_an_error_at_any_step_leaves_the_old_or_the_new(tmp_path: Path, step: int) -> None:
    store = await filled(tmp_path)
    call, left = store._engine.call, step

    async def failing(target: Any, method: str, /, **arguments: Any) -> Any:
        nonlocal left
        if method in WRITES:
            left -= 1
            if left < 0:
                raise GenkitError("INTERNAL", "the disk is gone")
        return await call(target, method, **arguments)

    store._engine.call = failing  # type: ignore[method-assign]
    try:
        await store.upsert(version(1, 40), unit_vectors(40, seed=1))
        done = True
    except GenkitError:
        done = False
    store._engine.call = call  # type: ignore[method-assign]
    other = await opened(tmp_path)
    seen = [await versions(one) for one in (store, other)]
    assert seen[0] == seen[1]
    assert seen[0] in ([1] * 40, [0] * 25)
    assert not done or seen[0] == [1] * 40
    await other.upsert(version(2, 30), unit_vectors(30, seed=2))
    assert await versions(store) in ([2] * 30, [2] * 30 + [1] * 10)
    client: Any = store._engine
    (collection,) = [one for one in client._client.list_collections() if one.metadata.get("namespace")]
    assert collection.count() == await store.count()  # nothing is left over
    await store.close()
    await other.close()


async def test_a_cancelled_batch_is_not_seen_and_the_next_one_is(tmp_path: Path) -> None:
    store = await filled(tmp_path)
    for wait in (0.005, 0.02, 0.04):
        writing = asyncio.create_task(store.upsert(version(1, 60), unit_vectors(60, seed=1)))
        await asyncio.sleep(wait)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        assert await versions(store) in ([0] * 25, [1] * 60)
    await store.upsert(version(2, 60), unit_vectors(60, seed=2))
    assert await versions(store) == [2] * 60
    await store.close()


async def test_readers_see_the_old_batch_or_the_new_one(tmp_path: Path) -> None:
    store = await filled(tmp_path)
    await store.upsert(version(0, 60), unit_vectors(60))
    other = await opened(tmp_path)
    done = False

    async def read(reader: ChromaStore) -> int:
        looks = 0
        while not done:
            (hits,) = await reader.search(unit_vectors(1, seed=3), 60)
            assert len(hits) == 60
            assert len({hit.document.metadata["v"] for hit in hits if hit.document}) == 1
            documents = await reader.get([f"d{i}" for i in range(60)])
            assert len({one.metadata["v"] for one in documents if one}) == 1
            assert len(await reader.search_text("common", 100)) == 60
            assert await reader.count() == 60
            looks += 1
        return looks

    async def write() -> None:
        nonlocal done
        try:
            for number in range(1, 6):
                await store.upsert(version(number, 60), unit_vectors(60, seed=number))
        finally:
            done = True

    *looks, _ = await asyncio.gather(read(store), read(other), write())
    assert min(looks) > 0
    await store.close()
    await other.close()


async def test_a_batch_that_began_and_ended_during_a_search_is_noticed(tmp_path: Path) -> None:
    store = await filled(tmp_path)
    call, written, half = store._engine.call, 0, asyncio.Event()
    writing: list[asyncio.Task[None]] = []

    async def slowly(target: Any, method: str, /, **arguments: Any) -> Any:
        nonlocal written
        if method == "query" and not writing:
            writing.append(asyncio.create_task(store.upsert(version(1, 40), unit_vectors(40, seed=1))))
            await half.wait()  # the search looks when half of the batch is written
            result = await call(target, method, **arguments)
            await writing[0]
            return result
        result = await call(target, method, **arguments)
        written += method == "upsert"
        if written == 2:
            half.set()
        return result

    store._engine.call = slowly  # type: ignore[method-assign]
    (hits,) = await store.search(unit_vectors(1), 100)
    assert [hit.document.metadata["v"] for hit in hits if hit.document] in ([0] * 25, [1] * 40)
    await store.close()


KILLED = """
import asyncio, sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from tests.indexers.test_chroma_durability import *

async def main():
    store = await opened(Path(sys.argv[1]))
    print("open", flush=True)
    for number in range(1, 1000):
        await store.upsert(version(number, 1500), unit_vectors(1500, seed=number))
        print(number, flush=True)
asyncio.run(main())
"""


@pytest.mark.parametrize("seconds", [0.1, 1.2])
def test_a_killed_process_leaves_whole_batches_and_what_was_acknowledged(tmp_path: Path, seconds: float) -> None:
    root = str(Path(__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path), root], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        time.sleep(seconds)
        process.kill()
        acknowledged = [int(line) for line in process.stdout.read().split()]

    async def check() -> None:
        store = await opened(tmp_path)
        found = {one.metadata["v"] for one in await store.get([f"d{i}" for i in range(1500)]) if one}
        assert len(found) <= 1
        assert await store.count() == (1500 if found else 0)
        if acknowledged:
            assert found in ({acknowledged[-1]}, {acknowledged[-1] + 1})
        assert len((await store.search(unit_vectors(1), 100))[0]) == (100 if found else 0)
        await store.upsert(version(0, 150), unit_vectors(150))
        assert await store.count() == (1500 if found else 150)
        assert (await store.search(unit_vectors(150)[7:8], 1))[0][0].id == "d7"
        await store.close()

    asyncio.run(check())
