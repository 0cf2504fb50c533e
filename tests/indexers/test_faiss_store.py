"""The store through its public door: the contract, and what is particular to it."""

import asyncio
import math
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genkit_rag.plugin_api import And, Document, Fingerprint, GenkitError, Media, Part
from genkit_rag.testing import VectorStoreContract
from genkit_rag_faiss import FaissConfig, FaissStore


def unit(n: int, dimensions: int = 8, seed: int = 0) -> Any:
    rows = np.random.default_rng(seed).standard_normal((n, dimensions)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FaissStore]:
    async with asyncio.timeout(60):
        opened = await FaissStore.open(tmp_path / "docs")
        yield opened
        await opened.close()


class TestContract(VectorStoreContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[FaissStore]:
        opened = await FaissStore.open(tmp_path / "docs")
        yield opened
        await opened.close()


async def refused(awaitable: Any, status: str, *words: str) -> GenkitError:
    with pytest.raises(GenkitError) as caught:
        await awaitable
    assert caught.value.status == status
    for word in words:
        assert word in str(caught.value)
    return caught.value


class Unknown:
    pass


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (Document("ok", id="bad\0id"), ["NUL"]),
        (Document("ok", id="bad\ud800id"), ["surrogate"]),
        (Document("ok", id=""), ["empty"]),
        (Document("bad \udfff", id="x"), ["'x'", "surrogate"]),
        (Document("ok", {"a": "\ud800"}, id="x"), ["'x'", "surrogate"]),
        (Document("ok", {"a": [1, {"b": math.nan}]}, id="x"), ["'x'", "metadata.a[1].b", "nan"]),
        (Document("ok", {"a": math.inf}, id="x"), ["metadata.a"]),
        (Document("ok", {"a": 2**63}, id="x"), ["metadata.a", "63 bits"]),
        (Document("ok", {"a": -(2**63) - 1}, id="x"), ["metadata.a", "63 bits"]),
        (Document("ok", {"a": b"bytes"}, id="x"), ["metadata.a", "bytes"]),
        (Document("ok", {"a": {"b": Unknown()}}, id="x"), ["metadata.a.b", "Unknown"]),
        (Document("ok", {"a": {1: 2}}, id="x"), ["metadata.a", "Keys must be strings"]),
        (Document("ok", {1: 2}, id="x"), ["Keys must be strings"]),  # type: ignore[dict-item]
        (Document("ok", {"a": nested(70)}, id="x"), ["deeper than 64"]),
        (Document("ok", {"a": nested(5000)}, id="x"), ["deeper than 64"]),
    ],
)
async def test_a_document_that_could_not_come_back_equal_is_refused_by_name(
    store: FaissStore, document: Document, words: list[str]
) -> None:
    await store.upsert([Document("there", id="there")], unit(1))
    await refused(store.upsert([Document("fine", id="fine"), document], unit(2)), "INVALID_ARGUMENT", *words)
    assert await store.ids() == ["there"]
    assert (await store.verify()).ok


@pytest.mark.parametrize(
    ("vectors", "words"),
    [
        (np.zeros((1, 8)), ["row 0", "'x'", "zero"]),
        (np.full((1, 8), np.nan), ["row 0", "finite"]),
        (np.full((1, 8), np.inf), ["finite"]),
        (np.ones((1, 9)), ["8 dimensions"]),
        (np.ones((2, 8)), ["as many"]),
        (np.ones((1, 8), dtype=object), ["dtype"]),
    ],
)
async def test_a_vector_that_cannot_be_compared_is_refused(store: FaissStore, vectors: Any, words: list[str]) -> None:
    await store.upsert([Document("there", id="there")], unit(1))
    await refused(store.upsert([Document("x", id="x")], vectors), "INVALID_ARGUMENT", *words)
    assert await store.count() == 1


async def test_an_id_twice_in_one_batch_is_refused(store: FaissStore) -> None:
    await refused(store.upsert([Document("a", id="x"), Document("b", id="x")], unit(2)), "INVALID_ARGUMENT", "'x'")
    assert await store.count() == 0


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(
    texts=st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=5),
    metadata=st.dictionaries(st.text(st.characters(codec="utf-8")), json_values, max_size=4),
    name=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1),
)
async def test_what_is_accepted_comes_back_equal(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], metadata: dict[str, Any], name: str
) -> None:
    path = tmp_path_factory.mktemp("round") / "docs"
    documents = [Document(text, metadata, id=f"{name}{i}") for i, text in enumerate(texts)]
    store = await FaissStore.open(path)
    await store.upsert(documents, unit(len(texts)))
    await store.close()
    store = await FaissStore.open(path)
    for _ in range(2):  # from the disk, then from memory
        found = await store.get([document.id for document in documents])
        hits = (await store.search(unit(1), len(texts)))[0]
        for document, other in zip(documents, found, strict=True):
            assert other is not None
            hit = next(hit.document for hit in hits if hit.id == document.id)
            assert hit is not None
            for copy in (other, hit):
                assert (copy.id, copy.text, repr(copy.metadata)) == (document.id, document.text, repr(metadata))
    await store.close()


async def test_media_and_several_parts_come_back_as_parts(store: FaissStore) -> None:
    parts = [Part(text="a"), Part(media=Media(url="data:image/png;base64,AA==", content_type="image/png"))]
    documents = [Document(parts, id="m"), Document([Part(text="a"), Part(text="b")], id="t")]
    await store.upsert(documents, unit(2))
    assert await store.get(["m", "t"]) == documents


async def test_a_hits_document_belongs_to_the_caller(store: FaissStore) -> None:
    await store.upsert([Document("x", {"flat": 1}, id="f"), Document("y", {"deep": {"a": [1]}}, id="d")], unit(2))
    for _ in range(3):
        for hit in (await store.search(unit(1), 2))[0]:
            assert hit.document is not None
            assert hit.document.metadata in ({"flat": 1}, {"deep": {"a": [1]}})
            hit.document.metadata.get("deep", {}).get("a", []).append("mine")
            hit.document.metadata["mine"] = True


async def test_vectors_that_are_not_of_length_one_are_compared_by_angle(store: FaissStore) -> None:
    rows = unit(5) * np.array([[1], [2], [0.001], [1e6], [3]], np.float32)
    await store.upsert([Document(str(i), id=str(i)) for i in range(5)], rows)
    hits = (await store.search(rows[3:4] * 7, 5))[0]
    assert hits[0].id == "3"
    assert hits[0].score == pytest.approx(1, abs=1e-6)
    assert all(-1 <= hit.score <= 1 for hit in hits)
    await refused(store.search(np.zeros((1, 8), np.float32), 1), "INVALID_ARGUMENT", "zero")


async def test_the_metric_dot_takes_vectors_as_they_are_and_stays(tmp_path: Path) -> None:
    store = await FaissStore.open(tmp_path / "docs", FaissConfig(metric="dot"))
    await store.upsert([Document("a", id="a"), Document("0", id="0")], np.array([[3, 4], [0, 0]], np.float32))
    hits = (await store.search(np.array([[2, 0]], np.float32), 2))[0]
    assert [(hit.id, hit.score) for hit in hits] == [("a", 6.0), ("0", 0.0)]
    assert (await store.describe()).scores["vector"].kind == "dot"
    await store.close()
    await refused(FaissStore.open(tmp_path / "docs"), "FAILED_PRECONDITION", "metric='dot'")


async def test_another_embedder_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    mine, other = Fingerprint("p", "m", 8), Fingerprint("p", "m2", 8)
    store = await FaissStore.open(tmp_path / "docs")
    await store.bind(mine)
    await store.upsert([Document("a", id="a")], unit(1))
    await refused(store.bind(other), "FAILED_PRECONDITION", "p/m,", "p/m2")
    await store.close()
    store = await FaissStore.open(tmp_path / "docs")
    assert (await store.describe()).fingerprint == mine
    await refused(store.bind(other), "FAILED_PRECONDITION", "p/m,", "p/m2")
    await store.bind(mine)
    await store.close()


async def test_after_close_every_call_is_refused_and_closing_again_is_not(tmp_path: Path) -> None:
    store = await FaissStore.open(tmp_path / "docs")
    await store.upsert([Document("a", id="a")], unit(1))
    await store.close()
    await store.close()
    for call in (
        store.bind(Fingerprint("p", "m", 8)),
        store.upsert([Document("b", id="b")], unit(1)),
        store.delete(ids=["a"]),
        store.get(["a"]),
        store.vectors(["a"]),
        store.search(unit(1), 1),
        store.search_text("a", 1),
        store.count(),
        store.ids(),
        store.describe(),
        store.verify(),
        store.compact(),
    ):
        await refused(call, "FAILED_PRECONDITION", "closed")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
async def test_a_forked_process_is_told_to_open_its_own(store: FaissStore) -> None:
    await store.upsert([Document("a", id="a")], unit(1))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            store.search(unit(1), 1).send(None)  # type: ignore[attr-defined]
        except GenkitError as error:
            code = 0 if error.status == "FAILED_PRECONDITION" and "forked" in error.message else 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0  # noqa: ASYNC222
    assert await store.count() == 1


@pytest.mark.parametrize("name", [".hidden", "a b", "a\0", "é", "x" * 65, "a:b"])
async def test_a_name_that_is_no_safe_folder_name_is_refused(tmp_path: Path, name: str) -> None:
    await refused(FaissStore.open(tmp_path / name), "INVALID_ARGUMENT", "name")


async def test_k_of_zero_gives_nothing_and_a_negative_one_is_refused(store: FaissStore) -> None:
    await store.upsert([Document("a", id="a")], unit(1))
    assert await store.search(unit(2), 0) == [[], []]
    assert await store.search_text("a", 0) == []
    await refused(store.search(unit(1), -1), "INVALID_ARGUMENT", "`k`")


async def test_delete_takes_ids_or_a_filter_but_not_both_or_none(store: FaissStore) -> None:
    await refused(store.delete(), "INVALID_ARGUMENT", "ids")
    await refused(store.delete(ids=["a"], filter=And(())), "INVALID_ARGUMENT", "ids")


async def test_thousands_of_rows_with_many_deletions_stay_exact(store: FaissStore) -> None:
    rows = unit(3000, seed=3)
    await store.upsert([Document(str(i), {"i": i}, id=str(i)) for i in range(3000)], rows)
    gone = set(range(0, 3000, 3)) | set(range(0, 3000, 5))
    for part in np.array_split(sorted(gone), 7):
        await store.delete(ids=[str(i) for i in part])
    left = np.array([i for i in range(3000) if i not in gone])
    queries = unit(30, seed=4)
    for many in (queries, queries[:1]):  # by a matrix product and one by one
        for query, hits in zip(many, await store.search(many, 10), strict=True):
            order = left[np.argsort(-(rows[left] @ query))[:10]]
            assert [hit.id for hit in hits] == [str(i) for i in order]
    assert (await store.describe()).details["dead_rows"] < 800
    assert (await store.verify()).ok
