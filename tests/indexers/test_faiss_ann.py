"""Approximate indexes: found again, exact enough, never in the way of filters, deletions and new documents."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genkit_rag.plugin_api import Document, parse_filter
from genkit_rag_faiss import FaissStore

N = 4000
D = 16


def clustered(n: int, seed: int) -> Any:
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((40, D))
    rows = (centres[random.integers(0, 40, n)] + 0.5 * random.standard_normal((n, D))).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


async def filled(path: Path, **options: Any) -> FaissStore:
    store = await FaissStore.open(path, ann_threshold=2000, **options)
    rows = clustered(N, 0)
    for start in range(0, N, 1000):
        documents = [Document(str(i), {"part": i % 50, "half": i % 2}, id=str(i)) for i in range(start, start + 1000)]
        await store.upsert(documents, rows[start : start + 1000])
    return store


async def built(store: FaissStore) -> str:
    for _ in range(600):
        details = (await store.describe()).details
        if details["index"] != "flat" or details["index_rows"]:
            return str(details["index"])
        await asyncio.sleep(0.05)
    raise AssertionError("no index was built")


async def recall(store: FaissStore, alive: Any, raw: Any = None) -> float:
    rows, queries = clustered(N, 0), clustered(100, 1)
    found = await store.search(queries, 10, filter=parse_filter(raw), payload=False)
    hits = 0
    for query, one in zip(queries, found, strict=True):
        assert len(one) == min(10, len(alive))
        assert {int(hit.id) for hit in one} <= set(alive.tolist())
        for hit in one:  # whatever was found, its score is the true one
            assert hit.score == pytest.approx(float(rows[int(hit.id)] @ query), abs=1e-5)
        hits += len({str(i) for i in alive[np.argsort(-(rows[alive] @ query))[:10]]} & {hit.id for hit in one})
    return hits / (100 * min(10, len(alive)))


@pytest.mark.parametrize(
    ("index", "quantize", "name"),
    [
        ("auto", None, "ivf"),
        ("ivf", "sq8", "ivf+sq8"),
        ("hnsw", None, "hnsw"),
        ("hnsw", "fp16", "hnsw+fp16"),
        ("flat", "fp16", "flat+fp16"),
        ("flat", None, None),
    ],
)
async def test_an_index_finds_nearly_all_neighbours_before_and_after_reopening(
    tmp_path: Path, index: Any, quantize: Any, name: str | None
) -> None:
    store = await filled(tmp_path / "docs", index=index, quantize=quantize)
    if name is not None:
        assert await built(store) == name
    everything = np.arange(N)
    for _ in range(2):
        assert await recall(store, everything) >= (0.95 if name else 1)
        assert await recall(store, everything[everything % 2 == 1], {"half": 1}) >= (0.95 if name else 1)
        assert await recall(store, everything[everything % 50 == 7], {"part": 7}) == 1  # a small set is scanned
        await store.close()
        store = await FaissStore.open(tmp_path / "docs", ann_threshold=2000, index=index, quantize=quantize)
        details = (await store.describe()).details
        assert (details["index_rows"] >= N // 2) == (name is not None)
    await store.close()


async def test_new_documents_are_found_and_deleted_ones_are_not(tmp_path: Path) -> None:
    store = await filled(tmp_path / "docs")
    await built(store)
    rows = clustered(N, 0)
    gone = np.arange(0, N, 9)
    await store.delete(ids=[str(i) for i in gone])
    assert await recall(store, np.setdiff1d(np.arange(N), gone)) >= 0.95
    new = clustered(300, 5)
    await store.upsert([Document("n", {"half": 2}, id=f"n{i}") for i in range(300)], new)
    for i in (0, 150, 299):
        assert (await store.search(new[i : i + 1], 1))[0][0].id == f"n{i}"
    assert (await store.search(rows[0:1], 1))[0][0].id != "0"
    assert len((await store.search(rows[0:1], N))[0]) == N - len(gone) + 300  # all of them, if that is what is wanted
    await store.compact()
    assert (await store.describe()).details["index_rows"] == N - len(gone) + 300
    assert (await store.search(new[7:8], 1))[0][0].id == "n7"
    await store.close()


async def test_a_damaged_index_is_not_parsed_but_made_again(tmp_path: Path) -> None:
    store = await filled(tmp_path / "docs")
    await built(store)
    await store.close()
    (file,) = (tmp_path / "docs" / "seg").glob("*.faiss")
    data = bytearray(file.read_bytes())
    data[40] ^= 0xFF
    file.write_bytes(data)
    store = await FaissStore.open(tmp_path / "docs", ann_threshold=2000)
    assert await recall(store, np.arange(N)) >= 0.95
    assert await built(store) == "ivf+sq8"
    assert await recall(store, np.arange(N)) >= 0.95
    await store.close()


@pytest.mark.parametrize("index", ["auto", "hnsw"])
async def test_an_index_takes_up_new_documents_without_being_built_anew(tmp_path: Path, index: Any) -> None:
    store = await FaissStore.open(tmp_path / "docs", ann_threshold=2000, index=index)
    rows = clustered(N, 0)
    documents = [Document(str(i), {"part": i % 50, "half": i % 2}, id=str(i)) for i in range(N)]
    await store.upsert(documents[:2000], rows[:2000])
    await built(store)
    for start in range(2000, N, 400):
        await store.upsert(documents[start : start + 400], rows[start : start + 400])
        assert (await store.search(rows[start][None], 1))[0][0].id == str(start)  # at once, and not by the index
    for _ in range(600):
        if (await store.describe()).details["index_rows"] >= N - 200:
            break
        await asyncio.sleep(0.05)
    assert (await store.describe()).details["index_rows"] >= N - 200
    everything = np.arange(N)
    assert await recall(store, everything) >= 0.95
    assert await recall(store, everything[everything % 2 == 1], {"half": 1}) >= 0.95
    await store.close()


async def test_columns_of_metadata_are_kept_and_made_again_when_they_are_damaged(tmp_path: Path) -> None:
    store = await FaissStore.open(tmp_path / "docs")
    metadata = [{"a": i % 7, "list": ["x", i % 3], "none": None} if i % 5 else {"text": "é"} for i in range(300)]
    await store.upsert([Document(str(i), one, id=str(i)) for i, one in enumerate(metadata)], clustered(300, 0))
    asked = [{"a": {"$gte": 3}}, {"list": 2}, {"none": None}, {"text": {"$exists": True}}, {"gone": {"$exists": False}}]
    expected = [await store.ids(filter=parse_filter(raw)) for raw in asked]
    await store.delete(ids=["299"])
    await store.close()
    (file,) = (tmp_path / "docs" / "seg").glob("*.cols")
    for damage in (False, True):
        if damage:
            data = bytearray(file.read_bytes())
            data[len(data) // 2] ^= 1
            file.write_bytes(data)
        store = await FaissStore.open(tmp_path / "docs", mode="r")
        found = [await store.ids(filter=parse_filter(raw)) for raw in asked]
        assert found == [[name for name in names if name != "299"] for names in expected]
        await store.close()


async def test_a_compaction_covers_all_rows_whatever_is_being_built_meanwhile(tmp_path: Path) -> None:
    store = await FaissStore.open(tmp_path / "docs", ann_threshold=2000)
    rows = clustered(N, 0)
    documents = [Document(str(i), id=str(i)) for i in range(N)]
    for start in range(0, N, 500):  # an index of the first 2,000 is being built while the others come
        await store.upsert(documents[start : start + 500], rows[start : start + 500])
    await store.compact()
    await asyncio.sleep(0.5)
    assert (await store.describe()).details["index_rows"] == N
    await store.close()
    store = await FaissStore.open(tmp_path / "docs", mode="r")
    assert (await store.describe()).details["index_rows"] == N
    await store.close()
