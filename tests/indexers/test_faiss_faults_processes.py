"""Several processes at one store, one of which dies or copies. The table of rows is in `test_faiss_faults_disk`."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from genkit_rag.plugin_api import Document, Fingerprint, GenkitError
from genkit_rag_faiss import FaissStore
from tests.indexers.faults import PRELUDE, N, assert_right, assert_right_at, documents, fill, run, unit

WRITER = """
async def main():
    store = await FaissStore.open(sys.argv[1])
    for version in range(1, 10_000):
        await store.upsert([Document(f"word{i} version{version}", {"i": i, "version": version}, id=f"d{i}")
                            for i in range(200)], unit(200, version))
        if version % 7 == 3:
            await store.search_text("common", 1)
        if version % 10 == 5:
            await store.compact()
        print(version, flush=True)
asyncio.run(main())
"""


@contextmanager
def writing(path: Path, versions: int) -> Iterator[subprocess.Popen[str]]:
    """Gives a process that writes version after version, once it has acknowledged some of them."""
    process = subprocess.Popen([sys.executable, "-c", PRELUDE + WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        for _ in range(versions):
            assert process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-r", source, target], check=False, capture_output=True)  # files come and go meanwhile


async def version_of(store: FaissStore) -> int:
    (document,) = await store.get(["d7"])
    assert document is not None
    return int(document.metadata["version"])


async def test_readers_of_a_writer_that_dies_keep_what_they_have(tmp_path: Path) -> None:
    with writing(tmp_path / "docs", 3) as process:
        reader = await FaissStore.open(tmp_path / "docs", mode="r")
        seen = [await version_of(reader)]
        for _ in range(60):  # commits, compactions and new files go on meanwhile
            view_hits = await reader.search(unit(1, 5), 5)
            versions = {hit.document.metadata["version"] for hit in view_hits[0] if hit.document is not None}
            assert len(versions) == 1
            assert await reader.count() == N
            seen.append(await version_of(reader))
        assert seen == sorted(seen)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        acknowledged = max([seen[0], *map(int, process.stdout.read().split())])
        version = await version_of(reader)
        assert version in (acknowledged, acknowledged + 1)
        await assert_right(reader, seed=version, version=version)
        await assert_right_at(tmp_path / "docs", seed=version, version=version, mode="r")
        await reader.close()
    store = await FaissStore.open(tmp_path / "docs")
    # The last commit may have reached the log and not yet the index of the log: now it is there as a whole.
    version = await version_of(store)
    assert version in (acknowledged, acknowledged + 1)
    await assert_right(store, seed=version, version=version)
    assert (await store.verify()).ok
    await store.close()


async def test_the_lock_of_a_process_that_died_is_free(tmp_path: Path) -> None:
    with writing(tmp_path / "docs", 2) as process:
        store = await FaissStore.open(tmp_path / "docs")
        with pytest.raises(GenkitError, match=f"Another writer.*pid {process.pid} on ") as caught:
            await store.delete(ids=["d0"])
        assert caught.value.status == "FAILED_PRECONDITION"
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert f"pid {process.pid} " in (tmp_path / "docs" / "LOCK.owner").read_text()
        assert await store.delete(ids=["d0"]) == 1
        assert f"pid {os.getpid()} " in (tmp_path / "docs" / "LOCK.owner").read_text()
        assert (await store.verify()).ok
        await store.close()


async def test_a_writer_that_waits_gets_the_lock_when_the_other_dies(tmp_path: Path) -> None:
    with writing(tmp_path / "docs", 1) as process:
        store = await FaissStore.open(tmp_path / "docs", lock_timeout=30)
        task = asyncio.create_task(store.delete(ids=["d0"]))
        await asyncio.sleep(0.1)
        assert not task.done()
        process.kill()
        assert await task == 1
        await store.close()


async def test_one_store_by_two_paths_has_one_writer(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    first = await fill(tmp_path / "real" / "docs")
    second = await FaissStore.open(tmp_path / "link" / "docs")
    await assert_right(second)
    for write in (second.upsert(documents(1), unit(1)), second.delete(ids=["d0"]), second.compact()):
        with pytest.raises(GenkitError, match=f"Another writer.*pid {os.getpid()} "):
            await write
    await first.close()
    await second.upsert(documents(version=1), unit(N, 1))
    await assert_right(second, seed=1, version=1)
    await second.close()


async def test_another_embedder_is_refused_even_without_assertions(tmp_path: Path) -> None:
    store = await FaissStore.open(tmp_path / "docs")
    await store.bind(Fingerprint("p", "m", 8))
    await store.upsert(documents(), unit(N))
    await store.close()
    code = """
from genkit_rag.plugin_api import Fingerprint
async def main():
    store = await FaissStore.open(sys.argv[1])
    for fingerprint in (Fingerprint("p", "m", 16), Fingerprint("p", "other", 8)):
        print(*await call(store.bind(fingerprint)))
    wide = np.ones((1, 16), np.float32)
    for awaitable in (store.upsert([Document("x", id="x")], wide), store.search(wide, 1)):
        print(*await call(awaitable))
    await store.close()
asyncio.run(main())
"""
    bound, model, written, searched = run(code, tmp_path / "docs", flag="-O").splitlines()
    assert bound.startswith("FAILED_PRECONDITION") and "16" in bound and "8" in bound  # noqa: PT018
    assert model.startswith("FAILED_PRECONDITION") and "p/m" in model and "p/other" in model  # noqa: PT018
    assert written.startswith("INVALID_ARGUMENT")
    assert searched.startswith("INVALID_ARGUMENT")
    await assert_right_at(tmp_path / "docs")


async def test_a_backup_made_during_writes_is_one_commit(tmp_path: Path) -> None:
    with writing(tmp_path / "docs", 2) as process:
        for number in range(5):
            target = tmp_path / f"backup{number}"
            target.mkdir()
            with sqlite3.connect(tmp_path / "docs" / "store.db") as source:
                with sqlite3.connect(target / "store.db") as copy:
                    source.backup(copy, pages=7, sleep=0)
                copy.close()
            source.close()
            shutil.copyfile(tmp_path / "docs" / "FORMAT", target / "FORMAT")
        process.kill()
    versions: list[int] = []
    for number in range(5):
        store = await FaissStore.open(tmp_path / f"backup{number}")
        versions.append(await version_of(store))
        await assert_right(store, seed=versions[-1], version=versions[-1])
        assert (await store.verify()).ok
        await store.close()
    assert versions == sorted(versions)
    assert versions[0] >= 2


@pytest.mark.parametrize("mode", ["r", "w"])
async def test_a_copy_of_a_live_folder_is_right_or_refused(tmp_path: Path, mode: str) -> None:
    with writing(tmp_path / "docs", 2):
        for number in range(12):
            copy(tmp_path / "docs", tmp_path / f"copy{number}")
    outcomes = [await right_or_refused(tmp_path / f"copy{number}", mode) for number in range(12)]
    assert set(outcomes) <= {"right", "DATA_LOSS", "UNAVAILABLE", "FAILED_PRECONDITION"}
    assert "right" in outcomes


async def right_or_refused(path: Path, mode: str) -> str:
    try:
        store = await FaissStore.open(path, mode=mode)
        try:
            version = await version_of(store)
            await assert_right(store, seed=version, version=version)
            assert (await store.verify()).ok
        finally:
            await store.close()
    except GenkitError as error:
        return error.status
    return "right"


async def test_what_another_store_left_behind_is_not_mixed_in(tmp_path: Path) -> None:
    code = """
async def main():
    store = await FaissStore.open(sys.argv[1])
    await store.upsert([Document("theirs", id=f"d{i}") for i in range(int(sys.argv[2]))], unit(int(sys.argv[2]), 3))
    os._exit(0)
asyncio.run(main())
"""
    for count in (3, 200):
        path = tmp_path / f"docs{count}"
        await (await fill(path)).close()
        run(code, tmp_path / f"other{count}", count)
        shutil.copyfile(tmp_path / f"other{count}" / "store.db-wal", path / "store.db-wal")
        with pytest.raises(GenkitError, match=r"another store|damaged") as caught:
            await FaissStore.open(path)
        assert caught.value.status == "DATA_LOSS"


async def test_a_document_written_through_one_path_is_never_lost_by_a_folder_swap(tmp_path: Path) -> None:
    store = await fill(tmp_path / "docs")
    (tmp_path / "docs").rename(tmp_path / "moved")
    (tmp_path / "docs").symlink_to(tmp_path / "moved", target_is_directory=True)
    await store.upsert([Document("more", id="more")], unit(1, 8))  # the same file by another way
    await store.close()
    again = await FaissStore.open(tmp_path / "moved")
    assert await again.count() == N + 1
    await again.close()
