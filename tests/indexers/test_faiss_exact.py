"""Exact scans find what a sort of all inner products finds, for every share of rows and number of queries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

faiss = pytest.importorskip("faiss")
from genkit_rag_faiss._index.exact import scan, scan_mask, scan_rows  # noqa: E402


@given(rows=st.integers(1, 40), queries=st.integers(1, 6), seed=st.integers(0, 999), data=st.data())
@settings(max_examples=80, deadline=None)
def test_scans_agree_with_a_sort_of_all_products(rows: int, queries: int, seed: int, data: st.DataObject) -> None:
    random = np.random.default_rng(seed)
    matrix = random.standard_normal((rows, 8)).astype(np.float32)
    asked = random.standard_normal((queries, 8)).astype(np.float32)
    chosen = np.array(sorted(data.draw(st.sets(st.integers(0, rows - 1), min_size=1))), np.int64)
    k = data.draw(st.integers(1, len(chosen)))
    mask = np.zeros(rows, np.bool_)
    mask[chosen] = True
    products = asked @ matrix.T
    expected = chosen[np.argsort(-products[:, chosen], axis=1, kind="stable")[:, :k]]
    for scores, found in (scan_rows(asked, matrix, k, chosen), scan_mask(asked, matrix, k, mask)):
        assert found.tolist() == expected.tolist()
        np.testing.assert_allclose(scores, np.take_along_axis(products, expected, axis=1), rtol=1e-4, atol=1e-4)
    _, everything = scan(asked, matrix, rows)
    assert everything.tolist() == np.argsort(-products, axis=1, kind="stable").tolist()
