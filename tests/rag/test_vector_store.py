"""What every store shares: the fingerprint, the defaults of the seam, and the boundary of vectors."""

from __future__ import annotations

import numpy as np
import pytest

from genkit_rag.plugin_api import Fingerprint, GenkitError, VectorStore, checked_vectors, fingerprint_mismatch


def test_a_mismatch_names_both_embedders_and_the_ways_out() -> None:
    stored = Fingerprint("minilm", "a", 384, revision="abc", normalized=False, prefixes=("q: ", ""))
    error = fingerprint_mismatch("faiss/docs", stored, Fingerprint("minilm", "b", 384))
    assert error.status == "FAILED_PRECONDITION"
    assert "minilm/a@abc, 384 dimensions, not normalized, prefixes ('q: ', '')" in error.message
    assert "minilm/b, 384 dimensions" in error.message
    assert "ai.reindex" in (error.hint or "")


async def test_a_store_without_words_says_which_mode_it_has() -> None:
    with pytest.raises(GenkitError, match=r"UNIMPLEMENTED.*mode='vector'"):
        await VectorStore().search_text("x", 1)


def test_good_vectors_pass_without_a_copy_and_others_are_converted() -> None:
    good = np.ones((2, 3), dtype=np.float32)
    assert checked_vectors(good, 3) is good
    for raw in (good.astype(np.float64), good.astype(np.float16), np.ones((3, 2), dtype=np.float32).T, [[1, 1, 1]] * 2):
        found = checked_vectors(raw, 3)
        assert found.dtype == np.float32
        assert found.flags.c_contiguous
        assert found.tolist() == good.tolist()


def test_no_vectors_are_fine() -> None:
    assert checked_vectors(np.zeros((0, 3)), 3).shape == (0, 3)
