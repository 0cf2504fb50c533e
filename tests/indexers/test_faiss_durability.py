"""What was acknowledged is there: after a restart, a crash, damage, and for other processes."""

import logging
import random
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genkit_rag.plugin_api import Document, Fingerprint, GenkitError, parse_filter
from genkit_rag_faiss import FaissStore

N = 300


def unit(n: int, seed: int = 0) -> Any:
    rows = np.random.default_rng(seed).standard_normal((n, 8)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def documents(n: int = N, start: int = 0) -> list[Document]:
    return [Document(f"word{i} common", {"i": i, "even": i % 2 == 0}, id=f"d{i}") for i in range(start, start + n)]


async def filled(path: Path, n: int = N) -> FaissStore:
    store = await FaissStore.open(path)
    await store.bind(Fingerprint("p", "m", 8))
    await store.upsert(documents(n), unit(n))
    await store.delete(ids=["d0", "d1"])
    return store


async def assert_whole(path: Path, mode: str = "w") -> None:
    store = await FaissStore.open(path, mode=mode)
    try:
        assert await store.count() == N - 2
        rows = unit(N)
        for i in (2, 77, N - 1):
            hits = (await store.search(rows[i : i + 1], 3))[0]
            exact = [j for j in np.argsort(-(rows @ rows[i])) if j > 1][:3]
            assert [hit.id for hit in hits] == [f"d{j}" for j in exact]
            assert hits[0].document is not None
            assert hits[0].document.text == f"word{i} common"
        assert await store.count(filter=parse_filter({"even": True})) == N // 2 - 1
        assert [hit.id for hit in await store.search_text("word77", 3)] == ["d77"]
        assert await store.search_text("word0", 3) == []
        report = await store.verify()
        assert report.ok, report
    finally:
        await store.close()


async def test_a_closed_store_opens_with_everything_in_it(tmp_path: Path) -> None:
    await (await filled(tmp_path / "docs")).close()
    await assert_whole(tmp_path / "docs")
    await assert_whole(tmp_path / "docs", mode="r")


async def test_everything_is_private_to_the_user(tmp_path: Path) -> None:
    store = await filled(tmp_path / "docs")
    await store.search_text("common", 1)
    await store.close()
    assert (tmp_path / "docs").stat().st_mode & 0o777 == 0o700
    for path in (tmp_path / "docs").glob("*"):
        assert path.is_dir() or path.name == "LOCK" or path.stat().st_mode & 0o077 == 0, path


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    script = "import asyncio, sys, os\nimport numpy as np\nfrom genkit_rag_faiss import FaissStore\n"
    script += "from genkit_rag.plugin_api import Document, GenkitError\n" + code
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )


async def test_a_killed_process_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    done = run(
        """
async def main():
    store = await FaissStore.open(sys.argv[1])
    for i in range(20):
        await store.upsert([Document(f"t{i}", id=f"d{i}")], np.eye(8, dtype=np.float32)[i % 8][None])
    print("acknowledged", flush=True)
    os.kill(os.getpid(), 9)
asyncio.run(main())
""",
        tmp_path / "docs",
    )
    assert "acknowledged" in done.stdout
    store = await FaissStore.open(tmp_path / "docs")
    assert await store.ids() == [f"d{i}" for i in range(20)]
    assert (await store.verify()).ok
    await store.upsert([Document("more", id="more")], unit(1))
    assert await store.count() == 21
    await store.close()


async def test_a_second_writer_is_told_who_the_first_one_is(tmp_path: Path) -> None:
    import os

    store = await filled(tmp_path / "docs")
    other = run(
        """
async def main():
    store = await FaissStore.open(sys.argv[1])
    print(await store.count())
    try:
        await store.upsert([Document("x", id="x")], np.ones((1, 8), np.float32))
    except GenkitError as error:
        print(error.status, error)
    await store.close()
asyncio.run(main())
""",
        tmp_path / "docs",
    )
    assert other.stdout.startswith(f"{N - 2}\nFAILED_PRECONDITION"), other
    assert f"pid {os.getpid()} on " in other.stdout
    assert "mode='r'" in other.stdout
    await store.close()
    again = await FaissStore.open(tmp_path / "docs")
    await again.upsert([Document("x", id="x")], unit(1))  # the lock is free again
    await again.close()


async def test_another_store_object_of_this_process_is_another_writer(tmp_path: Path) -> None:
    first, second = await filled(tmp_path / "docs"), await FaissStore.open(tmp_path / "docs")
    with pytest.raises(GenkitError, match="Another writer"):
        await second.upsert(documents(1), unit(1))
    await first.close()
    await second.upsert(documents(1, start=N), unit(1))
    assert await second.count() == N - 1
    await second.close()


async def test_readers_see_each_commit_of_the_writer_at_their_next_query(tmp_path: Path) -> None:
    writer = await filled(tmp_path / "docs")
    reader = await FaissStore.open(tmp_path / "docs", mode="r")
    query = unit(1, seed=9)
    for i in range(5):
        await writer.upsert([Document(f"new {i}", {"round": i}, id="new")], query)
        hits = (await reader.search(query, 1))[0]
        assert hits[0].document is not None
        assert (hits[0].id, hits[0].document.metadata) == ("new", {"round": i})
        assert [hit.id for hit in await reader.search_text("new", 5)] == ["new"]
        assert await reader.count() == N - 1
        await writer.delete(ids=["new"])
        assert (await reader.search(query, 1))[0][0].id != "new"
        assert await reader.search_text("new", 5) == []
        assert await reader.count(filter=parse_filter({"round": i})) == 0
    with pytest.raises(GenkitError, match="mode='r'"):
        await reader.upsert(documents(1), unit(1))
    await writer.compact()
    assert await reader.count() == N - 2
    await reader.close()
    await writer.close()


async def test_nothing_to_read_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(GenkitError, match="no store") as caught:
        await FaissStore.open(tmp_path / "docs", mode="r")
    assert caught.value.status == "NOT_FOUND"
    assert not (tmp_path / "docs").exists()


async def with_segments(path: Path) -> None:
    store = await filled(path)
    await store.search_text("common", 1)
    await store.close()


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 1 << (at % 8)
    path.write_bytes(data)


@pytest.mark.parametrize("kind", ["vec", "keys"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "gone", "header", "other"])
async def test_a_damaged_segment_is_made_again_with_one_warning(
    tmp_path: Path, damage: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    await with_segments(tmp_path / "docs")
    (segment,) = (tmp_path / "docs" / "seg").glob(f"*.{kind}")
    size = segment.stat().st_size
    match damage:
        case "flip":
            flip(segment, size - 7)
        case "truncate":
            segment.write_bytes(segment.read_bytes()[: size // 2])
        case "empty":
            segment.write_bytes(b"")
        case "gone":
            segment.unlink()
        case "header":  # a count that would ask for exabytes
            segment.write_bytes(segment.read_bytes()[:16] + b"\xff" * 8 + segment.read_bytes()[24:])
        case _:
            other = await FaissStore.open(tmp_path / "other")
            await other.upsert(documents(), unit(N, seed=5))
            await other.close()
            shutil.copy(next((tmp_path / "other" / "seg").glob(f"*.{kind}")), segment)
    with caplog.at_level(logging.WARNING, logger="genkit_rag.faiss"):
        await assert_whole(tmp_path / "docs")
    assert len([record for record in caplog.records if "segment" in record.message]) == 1
    store = await FaissStore.open(tmp_path / "docs")
    await store.compact()
    assert (await store.verify()).derived == ()
    await store.close()


@pytest.mark.parametrize("seed", range(6))
async def test_a_damaged_text_index_is_made_again(tmp_path: Path, seed: int) -> None:
    await with_segments(tmp_path / "docs")
    files = sorted(path for path in (tmp_path / "docs" / "text").rglob("*") if path.is_file() and path.stat().st_size)
    chance = random.Random(seed)
    victim = chance.choice(files)
    if seed % 2:
        flip(victim, chance.randrange(victim.stat().st_size))
    else:
        victim.write_bytes(victim.read_bytes()[: victim.stat().st_size // 2])
    await assert_whole(tmp_path / "docs")


@pytest.mark.parametrize("damage", ["empty", "gone", "no database", "truncated"])
async def test_a_lost_database_is_reported_never_replaced_by_an_empty_one(tmp_path: Path, damage: str) -> None:
    await with_segments(tmp_path / "docs")
    database = tmp_path / "docs" / "store.db"
    match damage:
        case "empty":
            database.write_bytes(b"")
        case "gone":
            database.unlink()
        case "no database":
            database.write_bytes(b"x" * database.stat().st_size)
        case _:
            database.write_bytes(database.read_bytes()[: database.stat().st_size // 2])

    async def read() -> None:
        store = await FaissStore.open(tmp_path / "docs")
        try:
            assert not (await store.verify()).ok
            await store.get([f"d{i}" for i in range(N)])
        finally:
            await store.close()

    with pytest.raises(GenkitError) as caught:
        await read()
    assert caught.value.status == "DATA_LOSS"
    assert "backup" in str(caught.value)


@pytest.mark.parametrize("column", ["content", "metadata", "id", "namespace", "kind", "crc"])
async def test_a_changed_row_is_never_returned_as_if_it_were_right(tmp_path: Path, column: str) -> None:
    await with_segments(tmp_path / "docs")
    connection = sqlite3.connect(tmp_path / "docs" / "store.db")
    value = 7 if column in ("kind", "crc") else "other"
    connection.execute(f"UPDATE doc SET {column} = ? WHERE id = 'd77'", (value,))
    connection.commit()
    connection.close()

    async def read() -> None:
        store = await FaissStore.open(tmp_path / "docs")
        try:
            assert not (await store.verify()).ok
            await store.search(unit(N)[77:78], 1)
        finally:
            await store.close()

    with pytest.raises(GenkitError) as caught:
        await read()
    assert caught.value.status == "DATA_LOSS"


async def test_a_changed_vector_is_reported(tmp_path: Path) -> None:
    await with_segments(tmp_path / "docs")
    connection = sqlite3.connect(tmp_path / "docs" / "store.db")
    connection.execute("UPDATE vec SET data = zeroblob(32) WHERE seq = 50")
    connection.commit()
    connection.close()
    store = await FaissStore.open(tmp_path / "docs")
    assert not (await store.verify()).ok
    await store.close()


async def test_a_store_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    await with_segments(tmp_path / "docs")
    (tmp_path / "docs" / "FORMAT").write_text('{"format": 9, "min_reader": 9}')
    with pytest.raises(GenkitError, match="format 9") as caught:
        await FaissStore.open(tmp_path / "docs")
    assert caught.value.status == "FAILED_PRECONDITION"


async def test_a_lost_format_note_is_written_again(tmp_path: Path) -> None:
    await with_segments(tmp_path / "docs")
    (tmp_path / "docs" / "FORMAT").unlink()
    await assert_whole(tmp_path / "docs")
    assert (tmp_path / "docs" / "FORMAT").exists()


async def test_nothing_is_acknowledged_into_a_directory_that_was_moved_away(tmp_path: Path) -> None:
    store = await filled(tmp_path / "docs")
    (tmp_path / "docs").rename(tmp_path / "elsewhere")
    with pytest.raises(GenkitError, match="moved"):
        await store.upsert(documents(1, start=N), unit(1))
    (tmp_path / "elsewhere").rename(tmp_path / "docs")
    await store.close()
    await assert_whole(tmp_path / "docs")


async def test_after_a_failed_write_reading_goes_on_and_writing_does_not(tmp_path: Path) -> None:
    store = await filled(tmp_path / "docs")
    connection = store._engine.database.writer  # what a full disk does, without filling one
    connection.execute(f"PRAGMA max_page_count = {connection.execute('PRAGMA page_count').fetchone()[0]}")
    with pytest.raises(GenkitError) as caught:
        await store.upsert([Document("x" * 3_000_000, id="big")], unit(1))
    assert caught.value.status == "RESOURCE_EXHAUSTED"
    assert str(tmp_path) in caught.value.message
    with pytest.raises(GenkitError, match="no more writes"):
        await store.upsert(documents(1, start=N), unit(1))
    assert await store.count() == N - 2
    assert (await store.search(unit(N)[5:6], 1))[0][0].id == "d5"
    await store.close()
    await assert_whole(tmp_path / "docs")


async def test_an_index_of_words_is_kept_even_when_it_was_opened_before_the_first_write(tmp_path: Path) -> None:
    await with_segments(tmp_path / "docs")
    store = await FaissStore.open(tmp_path / "docs")
    assert await store.search_text("word77", 1)
    await store.upsert([Document("zebra", id="z")], unit(1))
    assert [hit.id for hit in await store.search_text("zebra", 3)] == ["z"]
    await store.close()
    store = await FaissStore.open(tmp_path / "docs")
    assert (await store.verify()).derived == ()
    assert any(name.startswith("text/") for name in (await store.describe()).details["segments"])
    assert [hit.id for hit in await store.search_text("zebra", 3)] == ["z"]
    await store.close()


async def test_a_compacted_store_gives_its_space_back(tmp_path: Path) -> None:
    store = await filled(tmp_path / "docs", 3000)
    await store.delete(filter=parse_filter({"i": {"$gte": N}}))
    before = (await store.describe()).details["bytes"]
    await store.compact()
    details = (await store.describe()).details
    assert details["bytes"] < before / 2
    assert details["dead_rows"] == 0
    await store.close()
    await assert_whole(tmp_path / "docs")
