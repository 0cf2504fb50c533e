"""Joining rankings."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genkit_rag._rag.fusion import normalised
from genkit_rag.plugin_api import fuse

names = st.sampled_from("abcdefgh")
scores = st.floats(-100, 100)


@st.composite
def ranking(draw: Any) -> list[tuple[str, float]]:
    found = draw(st.dictionaries(names, scores, max_size=8))
    return sorted(found.items(), key=lambda item: -item[1])


rankings = st.dictionaries(st.sampled_from(["vector", "text", "other"]), ranking(), max_size=3)
weights = st.dictionaries(st.sampled_from(["vector", "text", "other"]), st.floats(0, 1), max_size=3)
methods: Any = st.sampled_from(["convex", "rrf"])


@given(rankings, methods, weights)
def test_every_document_comes_once_best_first(given_rankings: Any, method: Any, shares: Any) -> None:
    fused = fuse(given_rankings, method=method, weights=shares)
    ids = [id_ for id_, _ in fused]
    assert sorted(ids) == sorted({id_ for one in given_rankings.values() for id_, _ in one})
    assert all(a[1] >= b[1] for a, b in pairwise(fused))
    if method == "convex":
        assert all(-1e-9 <= score <= 1 + 1e-9 for _, score in fused)


@given(rankings, methods)
def test_a_document_that_is_first_everywhere_stays_first(given_rankings: Any, method: Any) -> None:
    raised = {name: [("first", 101.0), *one] for name, one in given_rankings.items()}
    if raised:
        assert fuse(raised, method=method)[0][0] == "first"


@given(ranking(), methods)
def test_one_ranking_keeps_its_order(one: Any, method: Any) -> None:
    assert [id_ for id_, _ in fuse({"only": one}, method=method)] == [id_ for id_, _ in one]


@given(rankings, weights, st.floats(0.1, 10), st.integers(-50, 50))
def test_convex_fusion_does_not_depend_on_a_rankings_unit(
    given_rankings: Any, shares: Any, factor: float, shift: int
) -> None:
    rough = {name: [(id_, round(score)) for id_, score in one] for name, one in given_rankings.items()}
    moved = {name: [(id_, score * factor + shift) for id_, score in one] for name, one in rough.items()}
    before, after = dict(fuse(rough, weights=shares)), dict(fuse(moved, weights=shares))
    assert after == pytest.approx(before, abs=1e-6)


@given(rankings)
def test_reciprocal_ranks_do_not_look_at_scores(given_rankings: Any) -> None:
    flat = {name: [(id_, 0.0) for id_, _ in one] for name, one in given_rankings.items()}
    assert fuse(flat, method="rrf") == fuse(given_rankings, method="rrf")


def test_convex_is_the_weighted_mean_of_scaled_scores() -> None:
    legs = {"vector": [("a", 0.9), ("b", 0.5), ("c", 0.1)], "text": [("b", 8.0), ("d", 4.0)]}
    fused = dict(fuse(legs, weights={"vector": 0.75, "text": 0.25}))
    assert fused == pytest.approx({"a": 0.75, "b": 0.75 * 0.5 + 0.25, "c": 0.0, "d": 0.0})


def test_reciprocal_rank_fusion_is_the_sum_of_one_over_sixty_plus_rank() -> None:
    legs = {"vector": [("a", 2.0), ("b", 1.0)], "text": [("b", 9.0)]}
    assert dict(fuse(legs, method="rrf")) == pytest.approx({"b": 1 / 62 + 1 / 61, "a": 1 / 61})
    assert dict(fuse(legs, method="rrf", weights={"text": 0.5})) == pytest.approx({"b": 1 / 62 + 0.5 / 61, "a": 1 / 61})


def test_ties_keep_the_first_rankings_order() -> None:
    legs = {"vector": [("b", 1.0), ("a", 1.0)], "text": [("a", 3.0), ("b", 3.0)]}
    assert [id_ for id_, _ in fuse(legs)] == ["b", "a"]


def test_equal_scores_count_full_and_nothing_gives_nothing() -> None:
    assert normalised([2.0, 2.0]) == [1.0, 1.0]
    assert normalised([]) == []
    assert fuse({}) == fuse({"vector": []}) == []
