"""Options: one vocabulary, checked, with errors that name the option."""

from __future__ import annotations

from typing import Any

import pytest

from genkit_rag._rag.options import MAX_K, parse_options, retriever_options
from genkit_rag.plugin_api import EmbedderOptions, GenkitError, IndexerOptions, RerankerOptions, RetrieverOptions


def test_nothing_means_the_defaults() -> None:
    options = retriever_options(None)
    assert options == retriever_options({}) == RetrieverOptions()
    assert (options.k, options.filter, options.namespace, options.mode) == (10, None, "", None)


def test_names_are_taken_in_python_and_wire_spelling() -> None:
    wanted = retriever_options({"k": 3, "score_threshold": 0.5, "mmr_lambda": 0.7})
    assert retriever_options({"limit": 3, "scoreThreshold": 0.5, "mmrLambda": 0.7}) == wanted
    assert wanted.to_wire() == {"k": 3, "scoreThreshold": 0.5, "mmrLambda": 0.7, "namespace": ""}
    assert retriever_options(wanted) is wanted
    assert parse_options(RerankerOptions, {"topN": 2}) == RerankerOptions(k=2)


@pytest.mark.parametrize(
    ("kind", "raw", "argument", "hint"),
    [
        (RetrieverOptions, {"kk": 3}, "`kk`", "score_threshold"),
        (RetrieverOptions, {"k": "many"}, "$.k", "path"),
        (RetrieverOptions, {"mode": "fuzzy"}, "$.mode", "path"),
        (RetrieverOptions, {"mmrLambda": 2}, "$.mmrLambda", "path"),
        (RetrieverOptions, {"vector_weight": -1}, "$.vectorWeight", "path"),
        (RetrieverOptions, {"filter": "x"}, "$.filter", "path"),
        (RetrieverOptions, "k=3", "`options` must be an object", "score_threshold"),
        (RetrieverOptions, [("k", 3)], "`options` must be an object", "score_threshold"),
        (IndexerOptions, {"batch_size": 0}, "atchSize", "path"),
        (IndexerOptions, {"k": 3}, "`k`", "namespace"),
        (EmbedderOptions, {"task": "poem"}, "$.task", "path"),
    ],
)
def test_a_wrong_option_is_refused_by_name(kind: Any, raw: Any, argument: str, hint: str) -> None:
    with pytest.raises(GenkitError) as caught:
        parse_options(kind, raw)
    assert caught.value.status == "INVALID_ARGUMENT"
    assert argument.lower().replace("_", "") in caught.value.message.lower().replace("_", "")
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize("k", [-1, MAX_K + 1])
def test_k_has_bounds_however_the_options_are_given(k: int) -> None:
    for raw in ({"k": k}, RetrieverOptions(k=k)):
        with pytest.raises(GenkitError, match=f"`options.k` must be from 0 to {MAX_K}, got {k}"):
            retriever_options(raw)


@pytest.mark.parametrize("k", [0, 1, MAX_K])
def test_k_may_be_anything_within_them(k: int) -> None:
    assert retriever_options({"k": k}).k == k
