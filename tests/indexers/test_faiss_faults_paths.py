"""Where a store stands, what it is called, what the clock says. The table of rows is in `test_faiss_faults_disk`."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from pathlib import Path

import pytest

from genkit_rag.plugin_api import Document, GenkitError
from genkit_rag_faiss import FaissStore
from tests.indexers.faults import N, assert_right, assert_right_at, documents, fill, run, unit


@pytest.mark.parametrize("how", ["deleted", "replaced by another store"])
async def test_nothing_is_acknowledged_into_a_folder_that_is_gone(tmp_path: Path, how: str) -> None:
    store = await fill(tmp_path / "docs")
    if how != "deleted":
        await (await fill(tmp_path / "other", seed=4, version=4)).close()
    shutil.rmtree(tmp_path / "docs")
    if how != "deleted":
        shutil.copytree(tmp_path / "other", tmp_path / "docs")
    for write in (store.upsert(documents(version=1), unit(N)), store.delete(ids=["d1"]), store.compact()):
        with pytest.raises(GenkitError, match=r"FAILED_PRECONDITION|UNAVAILABLE"):
            await write
    await store.close()
    if how == "deleted":
        assert not (tmp_path / "docs").exists()
    else:
        await assert_right_at(tmp_path / "docs", seed=4, version=4)


@pytest.mark.parametrize("place", ["note", "database"])
@pytest.mark.parametrize("number", [1, 9])
async def test_a_store_of_another_format_is_refused_with_both_versions(tmp_path: Path, number: int, place: str) -> None:
    await (await fill(tmp_path / "docs")).close()
    if place == "note":
        (tmp_path / "docs" / "FORMAT").write_text(json.dumps({"format": number, "min_reader": number}))
    else:
        connection = sqlite3.connect(tmp_path / "docs" / "store.db")
        connection.execute(f"PRAGMA user_version = {number}")
        connection.close()
    for mode in ("r", "w"):
        with pytest.raises(GenkitError, match=f"format {number}.*reads.* 2") as caught:
            await FaissStore.open(tmp_path / "docs", mode=mode)
        assert caught.value.status == "FAILED_PRECONDITION"


async def test_order_does_not_depend_on_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await FaissStore.open(tmp_path / "docs")
    reader = await FaissStore.open(tmp_path / "docs", mode="r")
    for i, now in enumerate((2e9, 1e9, 0.0, -1e9, 2e9)):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        monkeypatch.setattr(time, "time_ns", lambda now=now: int(now * 1e9))
        await store.upsert([Document(f"text {i}", id=f"d{i}"), Document(f"version {i}", id="same")], unit(2, i))
        assert await reader.ids() == [f"d{j}" for j in range(i + 1)] + ["same"]
        assert [d.text for d in await reader.get(["same"]) if d] == [f"version {i}"]
    await store.compact()
    await store.close()
    assert await reader.count() == 6
    await reader.close()


async def test_a_reader_that_closes_last_leaves_the_log_alone(tmp_path: Path) -> None:
    run(
        """
async def main():
    store = await FaissStore.open(sys.argv[1])
    batch = [Document(f"word{i} version0", {"i": i, "version": 0}, id=f"d{i}") for i in range(200)]
    await store.upsert(batch, unit(200))
    os._exit(0)  # no checkpoint
asyncio.run(main())
""",
        tmp_path / "docs",
    )
    log = tmp_path / "docs" / "store.db-wal"
    before = (log.read_bytes(), (tmp_path / "docs" / "store.db").read_bytes())
    assert before[0]
    readers = [await FaissStore.open(tmp_path / "docs", mode="r") for _ in range(3)]
    for reader in readers:
        await assert_right(reader)
    for reader in readers:
        await reader.close()
    assert (log.read_bytes(), (tmp_path / "docs" / "store.db").read_bytes()) == before
    await assert_right_at(tmp_path / "docs")


@pytest.mark.parametrize(
    "folder",
    [
        "two words",
        "Grüße 日本 🦊",
        "cafe\u0301",
        "a?b#c%20d&mode=memory",
        "quote'\"",
        "trailing. ",
        "CON",
        "*[x]",
        "\udcff\udcfe not utf-8",
        "/".join(["deep"] * 80),
        "x" * 250,
    ],
    ids=ascii,  # test processes exchange ids as UTF-8, which has no lone surrogates
)
async def test_a_store_works_below_any_path(tmp_path: Path, folder: str) -> None:
    path = tmp_path / folder / "docs"
    await (await fill(path)).close()
    await assert_right_at(path)
    await assert_right_at(path, mode="r")
    assert path.is_dir()


@pytest.mark.parametrize("folder", ["x" * 300, "/".join(["y" * 200] * 30)])
async def test_a_path_that_is_too_long_is_refused(tmp_path: Path, folder: str) -> None:
    with pytest.raises(GenkitError, match=r"UNAVAILABLE.*too long"):
        await FaissStore.open(tmp_path / folder / "docs")


async def test_names_never_become_paths(tmp_path: Path) -> None:
    path = tmp_path / "docs"
    store = await FaissStore.open(path)
    names = ["../../evil", "/etc/evil", "evil\\..", "CON", "evil:stream", "e\u0301vil", "évil", "x" * 1000]
    for name in names:
        await store.upsert([Document("evil", id=name)], unit(1), namespace=name)
        assert [hit.id for hit in await store.search_text("evil", 3, namespace=name)] == [name]
    await store.compact()
    await store.close()
    assert os.listdir(tmp_path) == ["docs"]
    assert not [p for p in path.rglob("*") if "vil" in p.name or len(p.name) > 80]
    store = await FaissStore.open(path)
    for name in names:
        assert await store.ids(namespace=name) == [name]
    await store.close()


async def test_a_reader_in_a_folder_it_may_not_write_is_told_when_somebody_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await (await fill(tmp_path / "docs")).close()
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda *_: False)
        reader = await FaissStore.open(tmp_path / "docs", mode="r")
        await assert_right(reader)
    writer = await FaissStore.open(tmp_path / "docs")
    await writer.upsert(documents(version=1), unit(N, 1))
    for _ in range(2):  # with the log beside it, and after that went into the file
        with pytest.raises(GenkitError, match=r"written to since.*Open the store again") as caught:
            await reader.count()
        assert caught.value.status == "FAILED_PRECONDITION"
        await writer.close()
    await reader.close()
    await assert_right_at(tmp_path / "docs", seed=1, version=1, mode="r")


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="handles have no names here")
async def test_the_name_of_a_new_store_is_on_disk_before_its_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def recorded(handle: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{handle}"))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", recorded)
    store = await FaissStore.open(tmp_path / "new" / "er" / "docs")
    await store.close()
    assert {str(tmp_path / name) for name in ("", "new", "new/er", "new/er/docs")} <= set(synced)


async def test_words_of_a_namespace_that_was_emptied_and_filled_again_are_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = await fill(tmp_path / "docs")
    for round_ in range(3):
        await store.upsert([Document(f"zebra round{round_}", id="z")], unit(1), namespace="more")
        assert [hit.id for hit in await store.search_text("zebra", 3, namespace="more")] == ["z"]
        await store.compact()
        assert len(list((tmp_path / "docs" / "text").glob("*"))) == 2
        await store.delete(ids=["z"], namespace="more")
        await store.compact()
        assert len(list((tmp_path / "docs" / "text").glob("*"))) == 1
    await store.close()
    assert caplog.records == []
