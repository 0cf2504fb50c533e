"""Vectors as embedders really give them: kept as they are, or refused by row and id with their whole batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genkit_rag import Document, EmbedResponse
from genkit_rag.plugin_api import Batching, GenkitError, checked_vectors
from tests.faults.apps import Kind, both, each, opened, refused

GOOD = [0.5, 0.25, -1.0, 2.0]


def documents(count: int) -> list[Document]:
    return [Document(f"text {n}", id=f"d{n}") for n in range(count)]


@each
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf], ids=str)
async def test_a_vector_that_is_not_finite_is_named_by_row_and_id_and_its_batch_is_refused(
    kind: Kind, bad: float, tmp_path: Path
) -> None:
    def embed(batch: list[Document]) -> Any:
        return [[1.0, bad, 0.0, 0.0] if document.text == "text 4" else GOOD for document in batch]

    async with opened(kind, tmp_path, embed, batching=Batching(max_texts=3)) as app:
        await app.index([Document("before", id="before")])
        error = await refused(app.index(documents(6)), "row 1", "'d4'", "finite")  # the row is that of the call
        assert error.details["id"] == "d4"
        assert await app.ids() == ["before"]
        await app.index(documents(3))
        assert await app.ids() == ["before", "d0", "d1", "d2"]


@each
async def test_a_zero_vector_has_no_angle_and_is_named_by_row_and_id(kind: Kind, tmp_path: Path) -> None:
    def embed(batch: list[Document]) -> Any:
        return [[0.0] * 4 if document.text in ("text 2", "nothing") else GOOD for document in batch]

    async with opened(kind, tmp_path, embed) as app:
        await app.index([Document("before", id="before")])
        row = [] if kind == "chroma" else ["row 2"]
        await refused(app.index(documents(4)), *row, "'d2'", "zero")
        assert await app.ids() == ["before"]
        if kind != "chroma":  # its own engine measures the angle, and calls it 90 degrees
            await refused(app.found("nothing"), "row 0", "zero")
        assert await app.found("something") == ["before"]


async def test_a_zero_vector_has_an_inner_product(tmp_path: Path) -> None:
    def embed(batch: list[Document]) -> Any:
        return [[0.0] * 4 if document.text == "text 1" else GOOD for document in batch]

    async with opened("faiss", tmp_path, embed, metric="dot") as app:
        await app.index(documents(2))
        assert await app.found("any") == ["d0", "d1"]


def _array(dtype: Any) -> Any:
    return np.array([GOOD, GOOD[::-1]], dtype=dtype)


SAME: dict[str, Callable[[], Any]] = {
    "lists": lambda: [GOOD, GOOD[::-1]],
    "tuples": lambda: (tuple(GOOD), tuple(GOOD[::-1])),
    "float16": lambda: _array(np.float16),
    "float64": lambda: _array(np.float64),
    "long double": lambda: _array(np.longdouble),
    "big-endian": lambda: _array(">f4"),
    "big-endian double": lambda: _array(">f8"),
    "Fortran order": lambda: np.asfortranarray(_array(np.float32)),
    "every second column": lambda: np.repeat(_array(np.float32), 2, axis=1)[:, ::2],
    "backwards": lambda: _array(np.float32)[::-1][::-1][:, ::-1][:, ::-1],
    "read-only": lambda: np.broadcast_to(_array(np.float32), (2, 4)),
    "rows of arrays": lambda: list(_array(np.float32)),
}


@both
async def test_any_layout_of_the_same_numbers_is_the_same_vectors(kind: Kind, tmp_path: Path) -> None:
    expected = _array(np.float32) / np.linalg.norm(_array(np.float32), axis=1, keepdims=True)
    async with opened(kind, tmp_path, lambda batch: SAME[batch[0].text]()) as app:
        for name in SAME:
            pair = [Document(name, id=f"{name} 0"), Document(name, id=f"{name} 1")]
            await app.index(pair)
            rows = await (await app.opened()).vectors([document.id for document in pair])
            np.testing.assert_allclose(
                np.stack([row for row in rows if row is not None]), expected, rtol=1e-6, err_msg=name
            )


REFUSED: dict[str, Callable[[], Any]] = {
    "flags": lambda: np.ones((2, 4), dtype=bool),
    "list of flags": lambda: [[True, False]] * 2,
    "objects": lambda: np.array([GOOD, GOOD], dtype=object),
    "complex": lambda: np.ones((2, 4), dtype=np.complex64),
    "text": lambda: [["1", "2"], ["3", "4"]],
    "array of text": lambda: np.array([["1", "2"], ["3", "4"]]),
    "bytes": lambda: [b"\x00\x01", b"\x02\x03"],
    "dates": lambda: np.zeros((2, 4), dtype="datetime64[s]"),
    "records": lambda: np.zeros(2, dtype=[("x", "f4"), ("y", "f4")]),
    "None": lambda: [[None, 1.0], [2.0, 3.0]],
    "jagged": lambda: [[1.0, 2.0], [3.0]],
    "three levels": lambda: np.ones((2, 1, 4)),
    "no numbers": lambda: [[], []],
    "a mapping": lambda: {"a": 1},
    "nothing": lambda: None,
    "beyond float32": lambda: [[1e300] * 4] * 2,
    "beyond float64": lambda: [[10**400] * 4] * 2,
}


@both
async def test_what_are_no_vectors_is_refused_and_never_reinterpreted(kind: Kind, tmp_path: Path) -> None:
    def embed(batch: list[Document]) -> Any:
        return REFUSED[batch[0].text]() if batch[0].text in REFUSED else [GOOD for _ in batch]

    async with opened(kind, tmp_path, embed) as app:
        for name in REFUSED:
            await refused(app.index([name, "other"]), "embeddings")
            assert await app.ids() == []
        assert await app.index(documents(2)) == ["d0", "d1"]


def test_a_length_that_overflows_is_told_from_numbers_that_are_not_finite() -> None:
    with pytest.raises(GenkitError, match="length overflows"):
        checked_vectors([[1e30, 0.0]], None)
    assert checked_vectors([[1e18, 0.0]], None).tolist() == [[np.float32(1e18), 0.0]]


@settings(deadline=None)
@given(
    st.lists(st.lists(st.floats(-(2**40), 2**40, width=32), min_size=3, max_size=3), min_size=1, max_size=4),
    st.sampled_from(["<f4", ">f4", "<f8", ">f8"]),
    st.sampled_from(["C", "F"]),
    st.booleans(),
)
def test_numbers_of_32_bits_are_kept_to_the_last_bit(rows: Any, dtype: str, order: Any, strided: bool) -> None:
    given_ = np.array(rows, dtype=dtype, order=order)
    raw = np.repeat(given_, 2, axis=0)[::2] if strided else given_
    made = checked_vectors(raw, 3)
    assert made.dtype == np.float32
    assert made.flags.c_contiguous
    assert made.tobytes() == np.array(rows, dtype="=f4").tobytes()


@each
@pytest.mark.parametrize("difference", [-1, 1])
async def test_another_number_of_vectors_than_documents_is_refused_before_anything_is_written(
    kind: Kind, difference: int, tmp_path: Path
) -> None:
    broken = False

    def embed(batch: list[Document]) -> Any:
        return [GOOD] * (len(batch) + (difference if broken and "text 5" in [d.text for d in batch] else 0))

    async with opened(kind, tmp_path, embed, batching=Batching(max_texts=2)) as app:
        await app.index([Document("before", id="before")])
        broken = True
        await refused(app.index(documents(6)), f"{2 + difference} vectors for 2 inputs", status="INTERNAL")
        assert await app.ids() == ["before"]


@both
@pytest.mark.parametrize("owners", [[0, 0], [1, 1], [0, 2], [0], [-1, 0]], ids=str)
async def test_vectors_that_belong_to_no_document_are_refused(kind: Kind, owners: list[int], tmp_path: Path) -> None:
    async with opened(kind, tmp_path, lambda batch: EmbedResponse([GOOD, GOOD], owners)) as app:
        await refused(app.index(documents(2)), "owners", status="INTERNAL")
        assert await app.ids() == []


@both
async def test_a_document_with_more_or_fewer_vectors_than_before_leaves_none_behind(kind: Kind, tmp_path: Path) -> None:
    def embed(batch: list[Document]) -> Any:
        owners = [n for n, document in enumerate(batch) for _ in document.text.split()]
        return EmbedResponse([GOOD] * len(owners), owners)

    async with opened(kind, tmp_path, embed) as app:
        for text, entries in (("one", ["x"]), ("one two three", ["x#0", "x#1", "x#2"]), ("one two", ["x#0", "x#1"])):
            assert await app.index([Document(text, id="x")]) == entries
            assert await app.ids() == entries
        await app.index([Document("one", id="x")])
        assert await app.ids() == ["x"]
