"""Exact search over rows in memory. The typed face of FAISS's scans."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np

from genkit_rag.plugin_api import Vectors
from genkit_rag_faiss._index.arrays import Ints, Mask

_faiss: Any = faiss

SCAN_SHARE = 0.5
"""Above this share of the rows, a scan with a bitmap is faster than going through the list (measured at 20k x 384)."""
MANY_QUERIES = 4
"""From so many queries on, one matrix product is faster than FAISS, which scans for each of them (1.15, under 1000)."""
_QUERIES, _ROWS = 64, 32_768
"""The block of one product: 8 MB of scores."""

Found = tuple[Vectors, Ints]
"""Scores and row numbers, `(queries, k)`, best first."""


def threads() -> int:
    """Return the number of threads that FAISS uses in this thread."""
    return int(_faiss.omp_get_max_threads())


def set_threads(count: int) -> None:
    """Set the number of threads that FAISS uses in this thread; a single query is never faster with two."""
    _faiss.omp_set_num_threads(count)


def scan(queries: Vectors, matrix: Vectors, k: int) -> Found:
    """Return the best of all rows by inner product."""
    if len(queries) >= MANY_QUERIES:
        return _products(queries, matrix, k, None)
    return _scan(queries, matrix, k, None)


def scan_rows(queries: Vectors, matrix: Vectors, k: int, rows: Ints) -> Found:
    """Return the best of the given rows by inner product; `k` is at most their number."""
    if len(rows) > SCAN_SHARE * len(matrix):
        mask = np.zeros(len(matrix), np.bool_)
        mask[rows] = True
        return scan_mask(queries, matrix, k, mask)
    if len(queries) >= MANY_QUERIES:
        scores, found = scan(queries, matrix[rows], k)
        return scores, rows[found]
    scores, found = _outputs(len(queries), k)
    pointer = _faiss.swig_ptr
    for i in range(len(queries)):
        _faiss.knn_inner_products_by_idx(
            pointer(queries[i]),
            pointer(matrix),
            pointer(rows),
            matrix.shape[1],
            1,
            len(matrix),
            len(rows),
            k,
            pointer(scores[i]),
            pointer(found[i]),
            -1,
        )
    return scores, found


def scan_mask(queries: Vectors, matrix: Vectors, k: int, mask: Mask) -> Found:
    """Return the best of the rows of a mask by inner product; `k` is at most their number."""
    if len(queries) >= MANY_QUERIES:
        return _products(queries, matrix, k, mask)
    bits = np.packbits(mask, bitorder="little")
    return _scan(queries, matrix, k, bitmap(bits))


def bitmap(bits: Any) -> Any:
    """Create a selector of the rows whose bits are set; `bits` must outlive it."""
    return _faiss.IDSelectorBitmap(len(bits), _faiss.swig_ptr(bits))


def _scan(queries: Vectors, matrix: Vectors, k: int, selector: Any) -> Found:
    scores, found = _outputs(len(queries), k)
    pointer = _faiss.swig_ptr
    # The pointers hold no references: the arrays live in the caller's frame for as long as the call takes.
    _faiss.knn_inner_product(
        pointer(queries),
        pointer(matrix),
        matrix.shape[1],
        len(queries),
        len(matrix),
        k,
        pointer(scores),
        pointer(found),
        selector,
    )
    return scores, found


def _products(queries: Vectors, matrix: Vectors, k: int, mask: Mask | None) -> Found:
    scores, found = _outputs(len(queries), k)
    for start in range(0, len(queries), _QUERIES):
        block = slice(start, start + _QUERIES)
        scores[block], found[block] = _product(queries[block], matrix, k, mask)
    return scores, found


def _product(queries: Vectors, matrix: Vectors, k: int, mask: Mask | None) -> Found:
    best: list[Found] = []
    for start in range(0, len(matrix), _ROWS):
        scores = queries @ matrix[start : start + _ROWS].T
        if mask is not None:
            scores[:, ~mask[start : start + _ROWS]] = -np.inf
        many = min(k, scores.shape[1])
        columns = np.argpartition(scores, -many, axis=1)[:, -many:]
        best.append((np.take_along_axis(scores, columns, axis=1), columns + start))
    scores, rows = (np.concatenate(parts, axis=1) for parts in zip(*best, strict=True))
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)


def _outputs(queries: int, k: int) -> Found:
    return np.empty((queries, k), np.float32), np.empty((queries, k), np.int64)
