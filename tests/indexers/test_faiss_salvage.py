"""What a damaged store still has can be saved, and nothing else comes along."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from genkit_rag.plugin_api import Document, Fingerprint, GenkitError
from genkit_rag_faiss import FaissStore

N = 3000
FINGERPRINT = Fingerprint("test", "words", 16)


def vectors(count: int = N) -> np.ndarray:
    raw = np.random.default_rng(3).standard_normal((count, 16)).astype(np.float32)
    return raw / np.linalg.norm(raw, axis=1, keepdims=True)


def document(i: int) -> Document:
    return Document(f"passage {i} " + "word " * 30, {"i": i}, id=f"d{i}")


async def fill(path: Path) -> None:
    store = await FaissStore.open(path)
    await store.bind(FINGERPRINT)
    await store.upsert([document(i) for i in range(N // 2)], vectors()[: N // 2])
    await store.upsert([document(i) for i in range(N // 2, N)], vectors()[N // 2 :], namespace="more")
    await store.close()


async def assert_only_originals(path: Path, copied: int) -> set[int]:
    store = await FaissStore.open(path)
    found: set[int] = set()
    for namespace in ("", "more"):
        for name in await store.ids(namespace=namespace):
            (kept,) = await store.get([name], namespace=namespace)
            assert kept is not None
            assert kept == document(kept.metadata["i"])
            (vector,) = await store.vectors([name], namespace=namespace)
            assert vector is not None
            np.testing.assert_array_equal(vector, vectors()[kept.metadata["i"]])
            found.add(kept.metadata["i"])
    assert len(found) == copied == await store.count()
    assert (await store.verify()).ok
    await store.close()
    return found


async def test_all_of_an_undamaged_store_is_copied_with_its_embedder(tmp_path: Path) -> None:
    await fill(tmp_path / "docs")
    saved = await FaissStore.salvage(tmp_path / "docs", tmp_path / "new")
    assert (saved.copied, saved.lost, saved.notes) == (N, 0, ())
    await assert_only_originals(tmp_path / "new", N)
    store = await FaissStore.open(tmp_path / "new")
    with pytest.raises(GenkitError, match="FAILED_PRECONDITION"):
        await store.bind(Fingerprint("test", "other", 16))
    await store.close()


@pytest.mark.parametrize("seed", range(8))
async def test_damage_costs_what_it_hit_and_nothing_comes_back_changed(tmp_path: Path, seed: int) -> None:
    await fill(tmp_path / "docs")
    file = tmp_path / "docs" / "store.db"
    data, chance = bytearray(file.read_bytes()), random.Random(seed)
    for _ in range(5):
        at = chance.randrange(20 * 16384, len(data) - 600)  # behind the pages that all the others hang on
        data[at : at + 512] = chance.randbytes(512)
    file.write_bytes(data)
    saved = await FaissStore.salvage(tmp_path / "docs", tmp_path / "new")
    assert saved.copied > N // 2
    await assert_only_originals(tmp_path / "new", saved.copied)


async def test_a_single_damaged_row_is_counted(tmp_path: Path) -> None:
    import sqlite3

    await fill(tmp_path / "docs")
    connection = sqlite3.connect(tmp_path / "docs" / "store.db")
    connection.execute("UPDATE doc SET content = 'forged' WHERE id = 'd7'")
    connection.execute("UPDATE meta SET value = '{}' WHERE key = 'fingerprint'")
    connection.commit()
    connection.close()
    saved = await FaissStore.salvage(tmp_path / "docs", tmp_path / "new")
    assert (saved.copied, saved.lost, len(saved.notes)) == (N - 1, 1, 1)
    assert 7 not in await assert_only_originals(tmp_path / "new", N - 1)


async def test_a_target_with_documents_and_a_missing_store_are_refused(tmp_path: Path) -> None:
    await fill(tmp_path / "docs")
    with pytest.raises(GenkitError, match="not empty"):
        await FaissStore.salvage(tmp_path / "docs", tmp_path / "docs")
    with pytest.raises(GenkitError, match="NOT_FOUND"):
        await FaissStore.salvage(tmp_path / "none", tmp_path / "new")
