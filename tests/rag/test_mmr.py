"""Maximal marginal relevance, against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genkit_rag._rag.mmr import mmr_order
from genkit_rag.plugin_api import Vectors


def unit(raw: Vectors) -> Vectors:
    result: Vectors = raw / np.linalg.norm(raw, axis=-1, keepdims=True)
    return result


def sample(seed: int, count: int) -> tuple[Vectors, Vectors]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal(4).astype(np.float32), rng.standard_normal((count, 4)).astype(np.float32)


@given(st.integers(0, 1000), st.integers(1, 12), st.integers(0, 15), st.sampled_from([0.0, 0.3, 0.5, 0.8, 1.0]))
def test_every_step_takes_the_best_marginal_relevance(seed: int, count: int, k: int, lambda_: float) -> None:
    query, vectors = sample(seed, count)
    order = mmr_order(query, vectors, k, lambda_)
    assert len(order) == len(set(order)) == min(k, count)
    relevance, likeness = unit(vectors) @ unit(query), unit(vectors) @ unit(vectors).T
    for step, row in enumerate(order):
        taken = order[:step]

        def gain(candidate: int, taken: list[int] = taken) -> float:
            if not taken:
                return float(relevance[candidate])
            return float(lambda_ * relevance[candidate] - (1 - lambda_) * max(likeness[candidate][taken]))

        assert gain(row) >= max(gain(free) for free in range(count) if free not in taken) - 1e-5


@given(st.integers(0, 1000))
def test_with_lambda_one_it_is_the_order_of_relevance(seed: int) -> None:
    query, vectors = sample(seed, 8)
    assert mmr_order(query, vectors, 8, 1.0) == np.argsort(-(unit(vectors) @ query), kind="stable").tolist()


def test_a_copy_comes_after_something_new() -> None:
    query = np.array([1, 0.2], dtype=np.float32)
    vectors = np.array([[1, 0.1], [1, 0.1], [0.2, 1]], dtype=np.float32)
    assert mmr_order(query, vectors, 3, 0.5) == [0, 2, 1]
    assert mmr_order(query, vectors, 3, 1.0)[2] == 2


@pytest.mark.parametrize("scale", [0.01, 1, 1000])
def test_lengths_of_vectors_do_not_matter(scale: float) -> None:
    query, vectors = sample(3, 8)
    scales = np.linspace(1, scale, 8, dtype=np.float32)[:, None]
    scaled = np.asarray(vectors * scales, dtype=np.float32)
    assert mmr_order(query * np.float32(scale), scaled, 8, 0.5) == mmr_order(query, vectors, 8, 0.5)


def test_a_zero_vector_and_no_vectors_are_no_trouble() -> None:
    query = np.array([1, 0], dtype=np.float32)
    assert mmr_order(query, np.zeros((0, 2), dtype=np.float32), 3, 0.5) == []
    assert sorted(mmr_order(query, np.array([[0, 0], [1, 0]], dtype=np.float32), 2, 0.5)) == [0, 1]
