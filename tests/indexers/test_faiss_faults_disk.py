"""What a disk and its files can do to a store: every answer is right or refused.

Row by row of the fault list; the sweeps of `benchmarks/faults.py` cover kills and failing calls (F01 to F05). The
files named `_paths` and `_processes` are the neighbours of this one, the others tests of the store.

| row | fault                                | test                                                                   |
|-----|--------------------------------------|------------------------------------------------------------------------|
| F06 | no file handles left                 | test_without_file_handles_calls_are_refused_and_nothing_is_lost        |
|     | a folder that may not be written     | test_a_folder_that_may_not_be_written_opens_for_reading_only           |
| F07 | short writes                         | test_writes_that_end_short_are_whole_or_refused                        |
| F08 | damaged, older, foreign segments     | test_a_segment_of_an_earlier_time_is_not_believed; _durability         |
| F09 | damaged store.db                     | _durability, _salvage, `benchmarks/faults.py --corrupt`                |
| F10 | log gone, cut, or of another store   | test_a_store_with_a_damaged_log_is_as_it_was_at_some_commit;           |
|     |                                      | _processes: test_what_another_store_left_behind_is_not_mixed_in        |
| F11 | headers with huge numbers            | test_a_forged_header_costs_neither_memory_nor_the_process              |
| F12 | two writers, stale lock, symlink     | _processes: test_the_lock_of_a_process_that_died_is_free,              |
|     |                                      | test_one_store_by_two_paths_has_one_writer; _durability                |
| F13 | readers during commits               | _processes: test_readers_of_a_writer_that_dies_...; _concurrency       |
| F14 | fork, other threads, use after close | _store, _concurrency                                                   |
| F15 | folder deleted or replaced           | _paths: test_nothing_is_acknowledged_into_a_folder_that_is_gone        |
| F16 | newer and older formats              | _paths: test_a_store_of_another_format_is_refused_with_both_versions   |
| F17 | other dimensions, also under -O      | _processes: test_another_embedder_is_refused_even_without_assertions   |
| F18 | another model of equal dimensions    | the same; _store, _reindex                                             |
| F19 | the clock jumps                      | _paths: test_order_does_not_depend_on_the_clock                        |
| F20 | two checkpoints at once              | _paths: test_a_reader_that_closes_last_leaves_the_log_alone            |
| F21 | strange paths, ids, namespaces       | _paths: test_a_store_works_below_any_path, test_names_never_become_... |
| F22 | the writer dies while others read    | _processes: test_readers_of_a_writer_that_dies_keep_what_they_have     |
| F23 | backups and copies of a live store   | _processes: test_a_backup_made_during_writes_is_one_commit,            |
|     |                                      | test_a_copy_of_a_live_folder_is_right_or_refused                       |
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import struct
from pathlib import Path

import pytest

from genkit_rag.plugin_api import GenkitError, parse_filter
from genkit_rag_faiss import FaissStore
from genkit_rag_faiss._storage.digest import file_digest
from tests.indexers.faults import N, assert_right, assert_right_at, documents, fill, run, unit


async def test_without_file_handles_calls_are_refused_and_nothing_is_lost(tmp_path: Path) -> None:
    await (await fill(tmp_path / "docs")).close()
    out = run(
        """
async def main():
    vectors = unit(1)
    store = await FaissStore.open(sys.argv[1])
    taken = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    try:
        while True:
            taken.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    statuses = [
        (await call(store.search_text("word7", 1, namespace="x")))[0],
        (await call(store.upsert([Document("new", id="new")], vectors)))[0],
        (await call(store.compact()))[0],
        (await call(FaissStore.open(sys.argv[1])))[0],
    ]
    for handle in taken:
        os.close(handle)
    await store.close()
    print(statuses)
asyncio.run(main())
""",
        tmp_path / "docs",
    )
    statuses = json.loads(out.replace("'", '"'))
    assert set(statuses) <= {"done", "UNAVAILABLE", "FAILED_PRECONDITION"}
    assert statuses[3] == "UNAVAILABLE"
    assert statuses[1:3] != ["done", "done"]
    store = await FaissStore.open(tmp_path / "docs")
    assert await store.count() == N + (statuses[1] == "done")
    await store.delete(ids=["new"])
    await assert_right(store)
    await store.close()


async def test_a_folder_that_may_not_be_written_opens_for_reading_only(tmp_path: Path) -> None:
    await (await fill(tmp_path / "docs")).close()
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.getuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)
        if path.name.startswith("pytest-of"):
            break
    for path in (tmp_path / "docs").rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    (tmp_path / "docs").chmod(0o555)
    try:
        out = run(
            """
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)  # for root nothing is forbidden
async def main():
    store = await FaissStore.open(sys.argv[1])
    print(await call(store.delete(ids=["d7"])))
    await store.close()
    print(await call(FaissStore.open(sys.argv[1] + "/new")))
    store = await FaissStore.open(sys.argv[1], mode="r")
    hits = await store.search(unit(200)[7:8], 1)
    words = await store.search_text("word77", 1)
    print(await store.count(), hits[0][0].id, words[0].id, (await store.verify()).ok)
    await store.close()
asyncio.run(main())
""",
            tmp_path / "docs",
        )
    finally:
        for path in (tmp_path / "docs", *(tmp_path / "docs").rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
    *refused, answer = out.splitlines()
    assert len(refused) == 2
    for message in refused:
        assert "PERMISSION_DENIED" in message
        assert str(tmp_path) in message
    assert answer == f"{N} d7 d77 True"


@pytest.mark.parametrize("limit", [30_000, 300_000, 1_200_000])
async def test_writes_that_end_short_are_whole_or_refused(tmp_path: Path, limit: int) -> None:
    out = run(
        """
async def main():
    store = await FaissStore.open(sys.argv[1])
    done = 0
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)  # the write that crosses it ends there
    for i in range(100):
        batch = [Document("x" * 5000, id=f"{i}-{j}") for j in range(20)]
        status, message = await call(store.upsert(batch, unit(20, i)))
        if status != "done":
            break
        done += 1
    searched = (await call(store.search(unit(1), 5)))[0]
    compacted = (await call(store.compact()))[0]
    await store.close()
    print(done, status, searched, compacted)
asyncio.run(main())
""",
        tmp_path / "docs",
        limit,
    )
    done, status, searched, compacted = out.split()
    assert status in ("RESOURCE_EXHAUSTED", "UNAVAILABLE")
    assert (searched, compacted) == ("done", "FAILED_PRECONDITION")
    store = await FaissStore.open(tmp_path / "docs")
    assert await store.count() == 20 * int(done)
    assert (await store.verify()).ok
    assert not list((tmp_path / "docs" / "tmp").iterdir())
    await store.upsert(documents(), unit(N))
    assert await store.count() == 20 * int(done) + N
    await store.close()


@pytest.mark.parametrize("kind", ["*.vec", "*.keys", "*.cols", "*.faiss"])
@pytest.mark.parametrize("source", ["earlier", "another store"])
async def test_a_segment_of_an_earlier_time_is_not_believed(tmp_path: Path, kind: str, source: str) -> None:
    options = {"index": "flat", "ann_threshold": 50, "quantize": "sq8"} if kind == "*.faiss" else {}
    other = tmp_path / ("other" if source == "another store" else "docs")
    store = await fill(other, seed=1, version=1, **options)
    await store.upsert(documents(1, version=1), unit(1, 1))
    await store.compact()
    await store.count(filter=parse_filter({"version": 1}))
    await store.compact()
    await store.close()
    (old,) = (other / "seg").glob(kind)
    kept = old.read_bytes()
    store = await fill(tmp_path / "docs", seed=2, version=2, **options)
    await store.compact()
    await store.close()
    (segment,) = (tmp_path / "docs" / "seg").glob(kind)
    assert segment.read_bytes() != kept
    segment.write_bytes(kept)
    await assert_right_at(tmp_path / "docs", seed=2, version=2, **options)


@pytest.mark.parametrize("damage", ["gone", "cut", "noise", "other", "stale index"])
async def test_a_store_with_a_damaged_log_is_as_it_was_at_some_commit(tmp_path: Path, damage: str) -> None:
    await (await fill(tmp_path / "docs")).close()
    store = await FaissStore.open(tmp_path / "docs")
    for version in (1, 2, 3):
        await store.upsert(documents(version=version), unit(N, version))
    other = await fill(tmp_path / "other", seed=9, version=9)
    crashed = tmp_path / "copy" / "docs"
    shutil.copytree(tmp_path / "docs", crashed)
    log = crashed / "store.db-wal"
    data = log.read_bytes()
    assert data
    match damage:
        case "gone":
            log.unlink()
        case "cut":
            log.write_bytes(data[: len(data) * 2 // 3])
        case "noise":
            log.write_bytes(data[: len(data) // 3] + os.urandom(400) + data[len(data) // 3 + 400 :])
        case "other":
            shutil.copyfile(tmp_path / "other" / "store.db-wal", log)
        case _:
            (crashed / "store.db-shm").write_bytes((tmp_path / "other" / "store.db-shm").read_bytes())
    await store.close()
    await other.close()
    outcome = await version_found(crashed)
    if damage == "stale index":
        assert outcome == 3
    elif damage == "other":
        assert outcome == "DATA_LOSS"
    else:
        assert outcome in (0, 1, 2, 3) or (outcome == "DATA_LOSS" and damage == "gone")


async def version_found(path: Path) -> int | str:
    """Returns the version that everything in the store has, or the status of its refusal."""
    try:
        store = await FaissStore.open(path)
    except GenkitError as error:
        return error.status
    try:
        (document,) = await store.get(["d7"])
        assert document is not None
        version = int(document.metadata["version"])
        await assert_right(store, seed=version, version=version)
        assert (await store.verify()).ok
        return version
    finally:
        await store.close()


def forge(path: Path, kind: str, *, known: bool) -> None:
    """Puts huge numbers where the sizes stand; `known` writes the checksum of that into the manifest, too."""
    (file,) = (path / "seg").glob(kind)
    data = bytearray(file.read_bytes())
    match kind:
        case "*.vec":
            data[12:24] = struct.pack("<IQ", 8, 2**61)
        case "*.keys":
            data[12:36] = struct.pack("<QQQ", 2**60, 2**61, 2**62)
        case "*.cols":
            data[0:8] = struct.pack("<Q", 2**63)
        case _:
            at = data.index(struct.pack("<q", N))
            data[at : at + 8] = struct.pack("<q", 2**60)
    file.write_bytes(data)
    if known:
        connection = sqlite3.connect(path / "store.db")
        connection.execute("UPDATE segment SET digest = ? WHERE name = ?", (file_digest(file), file.name))
        connection.commit()
        connection.close()


@pytest.mark.parametrize("kind", ["*.vec", "*.keys", "*.cols", "*.faiss"])
async def test_a_forged_header_costs_neither_memory_nor_the_process(tmp_path: Path, kind: str) -> None:
    options = {"index": "flat", "ann_threshold": 50, "quantize": "sq8"}
    for name, known in (("plain", False), ("known", True)):
        store = await fill(tmp_path / name, **options)
        await store.compact()
        await store.close()
        forge(tmp_path / name, kind, known=known)
    out = run(
        """
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
async def main():
    store = await FaissStore.open("warm", index="flat", ann_threshold=50, quantize="sq8")
    await store.upsert([Document("x", id="x")], unit(1, 9))
    await store.count(filter=parse_filter({"version": 0}))
    await store.close()
    for name in ("plain", "known"):
        before = peak()
        store = await FaissStore.open(name, index="flat", ann_threshold=50, quantize="sq8")
        hits = await store.search(unit(200)[7:8], 1)
        print(await store.count(), hits[0][0].id, await store.count(filter=parse_filter({"version": 0})))
        print(peak() - before)
        await store.close()
os.chdir(sys.argv[1])
asyncio.run(main())
""",
        tmp_path,
    )
    plain, grown, known_answer, grown_more = out.splitlines()
    assert plain == known_answer == f"{N} d7 {N}"
    assert int(grown) + int(grown_more) < 50_000
