"""The planner: which way a search goes. Rows are resolved first; a small set is scanned exactly, and faster so."""

from __future__ import annotations

import contextlib
import weakref
from collections import OrderedDict
from typing import Any

import numpy as np

from genkit_rag.plugin_api import Vectors
from genkit_rag_faiss._index.ann import Allowed
from genkit_rag_faiss._index.ann_files import search_ann
from genkit_rag_faiss._index.arrays import Ints
from genkit_rag_faiss._index.exact import Found, scan, scan_mask, scan_rows
from genkit_rag_faiss._index.view import View

ANN_COST = 5_000
"""The cost of a search of the approximate index, in rows of an exact scan."""


def search(view: View, queries: Vectors, k: int, rows: Ints | None) -> Found:
    """Search a view: scores and row numbers `(queries, min(k, rows))`, best first.

    Args:
        view: What to search.
        queries: Vectors `(n, d)`.
        k: How many, at least 1.
        rows: The rows that may be found, all living; None for all living rows.
    """
    size = view.live if rows is None else len(rows)
    k = min(k, size)
    if k == 0:
        return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    if view.ann is not None and size > view.ann.exact_rows:
        return _approximate(view, queries, k, rows)
    return _exact(view, queries, k, rows)


def _exact(view: View, queries: Vectors, k: int, rows: Ints | None) -> Found:
    if rows is not None:
        return scan_rows(queries, view.matrix, k, rows)
    if view.live == view.n:
        return scan(queries, view.matrix, k)
    return scan_mask(queries, view.matrix, k, view.alive)


def _approximate(view: View, queries: Vectors, k: int, rows: Ints | None) -> Found:
    assert view.ann is not None
    scores, found = search_ann(view, view.ann, queries, k, _allowed(view, rows))
    short = np.flatnonzero((found < 0).any(axis=1)) if found.shape[1] == k else np.arange(len(queries))
    if len(short):  # k of them exist, so k are returned, whatever the index thinks
        exact_scores, exact_found = _exact(view, queries[short], k, rows)
        if len(short) == len(queries):
            return exact_scores, exact_found
        scores[short], found[short] = exact_scores, exact_found
    return scores, found


_recent: OrderedDict[int, tuple[weakref.ref[Any], Allowed]] = OrderedDict()
_RECENT = 16
"""How many masks are kept: of a million rows one takes two milliseconds to make, as long as the search itself."""


def _allowed(view: View, rows: Ints | None) -> Allowed | None:
    if rows is None:
        return None if view.live == view.n else Allowed(view.alive, view.live)
    # A resolved filter is cached while its view is the newest, so the array identifies the filter.
    kept = _recent.get(id(rows))
    if kept is not None and kept[0]() is rows and len(kept[1].mask) == view.n:
        return kept[1]
    mask = np.zeros(view.n, np.bool_)
    mask[rows] = True
    allowed = Allowed(mask, len(rows))
    _recent[id(rows)] = (weakref.ref(rows), allowed)
    while len(_recent) > _RECENT:
        with contextlib.suppress(KeyError):  # another thread did
            _recent.popitem(last=False)
    return allowed


def scanned(view: View, rows: Ints | None) -> int:
    """Estimate the number of rows that an exact search scans, weighted by cost."""
    size = view.live if rows is None else len(rows)
    if view.ann is not None and size > view.ann.exact_rows:
        return ANN_COST + view.n - view.ann.n
    return view.n if rows is None else min(2 * size, view.n)
