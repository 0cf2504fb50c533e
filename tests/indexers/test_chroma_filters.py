"""Filters give what the oracle gives, whatever the metadata and the filter are."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genkit_rag.plugin_api import And, Document, GenkitError, matches, parse_filter
from genkit_rag.testing._stores import unit_vectors
from genkit_rag_chroma import Chroma, ChromaStore
from tests.indexers.test_chroma_reindex import FINGERPRINT

fields = st.sampled_from(["a", "b", "a.b", "a.b.c", "é'\"", "$x", "", "."])
numbers = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([0.5, -0.0, 2.0, 1e300, -1e300, 5e-324]),
    st.sampled_from([2**53, 2**53 + 1, 2**53 - 1, 2.0**53, -(2**53) - 1, 2**62, 2**63 - 1]),
)
scalars = st.one_of(
    numbers, st.sampled_from(["", "a", "ab", "B", "1", "true", "null", "\ud800", "\0"]), st.booleans(), st.none()
)
huge = st.sampled_from([10**30, -(10**30), 10**400, 2**63])
leaves = st.one_of(scalars, huge, st.lists(st.one_of(scalars, huge), max_size=3))
keys = st.sampled_from(["a", "b", "c", "a.b", "b.c", "é'\"", "$x", "", "."])
values = st.recursive(leaves, lambda inner: st.dictionaries(keys, inner, max_size=2), max_leaves=4)
metadata = st.dictionaries(keys, values, max_size=4)

comparisons = st.one_of(
    scalars,
    st.builds(lambda op, value: {op: value}, st.sampled_from(["$eq", "$ne", "$contains"]), scalars),
    st.builds(
        lambda op, value: {op: value},
        st.sampled_from(["$gt", "$gte", "$lt", "$lte"]),
        st.one_of(numbers, st.sampled_from(["", "a", "B"])),
    ),
    st.builds(lambda op, value: {op: value}, st.sampled_from(["$in", "$nin"]), st.lists(scalars, max_size=4)),
    st.builds(lambda value: {"$exists": value}, st.booleans()),
)
fields_only = st.dictionaries(fields.filter(lambda name: not name.startswith("$")), comparisons, min_size=1, max_size=2)
filters = st.recursive(
    fields_only,
    lambda inner: st.one_of(
        st.builds(lambda terms: {"$and": terms}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda terms: {"$or": terms}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda term: {"$not": term}, inner),
    ),
    max_leaves=4,
)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as made:
        yield made


@pytest.fixture(scope="module")
def store(runner: asyncio.Runner) -> Iterator[ChromaStore]:
    with tempfile.TemporaryDirectory() as folder:
        made = runner.run(Chroma([], path=Path(folder)).open_store("docs"))
        runner.run(made.bind(FINGERPRINT))
        yield made
        runner.run(made.close())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(documents=st.lists(metadata, min_size=1, max_size=8), asked=st.lists(filters, min_size=1, max_size=6))
def test_any_filter_on_any_metadata_gives_what_the_oracle_gives(
    runner: asyncio.Runner, store: ChromaStore, documents: list[Any], asked: list[Any]
) -> None:
    async def check() -> None:
        space = "same"
        half = len(documents) // 2
        ids = [f"d{i}" for i in range(len(documents))]
        # The first half is there already with the other half's metadata: nothing of that may stay.
        before = [Document("", other, id=id_) for id_, other in zip(ids[:half], documents[half:], strict=False)]
        await store.upsert(before, unit_vectors(len(before), seed=1), namespace=space)
        vectors = unit_vectors(len(documents))
        given = [Document("", one, id=id_) for id_, one in zip(ids, documents, strict=True)]
        await store.upsert(given, vectors, namespace=space)
        for document, found in zip(given, await store.get(ids, namespace=space), strict=True):
            assert found is not None
            assert repr(found.metadata) == repr(document.metadata)
        for raw in asked:
            tree = parse_filter(raw)
            expected = {id_ for id_, one in zip(ids, documents, strict=True) if matches(tree, one)}
            assert set(await store.ids(filter=tree, namespace=space)) == expected, raw
            assert await store.count(filter=tree, namespace=space) == len(expected), raw
            (hits,) = await store.search(vectors[:1], len(ids), filter=tree, namespace=space, payload=False)
            assert {hit.id for hit in hits} == expected, raw
        assert await store.delete(filter=And(()), namespace=space) == len(ids)

    runner.run(check())


async def test_a_rare_filter_gives_all_k_and_the_best_of_them(tmp_path: Path) -> None:
    store = await Chroma([], path=tmp_path).open_store("docs")
    await store.bind(FINGERPRINT)
    vectors = unit_vectors(1500)
    documents = [Document("w", {"c": i % 20, "s": f"x{i % 300}", "n": i}, id=str(i)) for i in range(1500)]
    await store.upsert(documents, vectors)
    queries = unit_vectors(4, seed=5)
    for raw in (
        {"c": 3},
        {"n": {"$gte": 1488}},
        {"s": {"$gt": "x98"}, "c": 7},
        {"s": {"$contains": "29"}},
        {"n": {"$in": list(range(0, 1500, 7))}},
        {"$not": {"s": {"$contains": "1"}}},
    ):
        tree = parse_filter(raw)
        passing = [i for i, one in enumerate(documents) if matches(tree, one.metadata)]
        for query, hits in zip(queries, await store.search(queries, 10, filter=tree), strict=True):
            scores = vectors[passing] @ query
            best = [str(passing[i]) for i in np.argsort(-scores)[:10]]
            assert [hit.id for hit in hits] == best, raw
        assert {hit.id for hit in await store.search_text("w", 5000, filter=tree)} == {str(i) for i in passing}
    await store.close()


@pytest.mark.parametrize("bad", [{"when": object()}, {"n": float("nan")}, {1: "one"}, {"o": {2: 1}}])
async def test_metadata_that_would_not_come_back_equal_is_refused(tmp_path: Path, bad: Any) -> None:
    store = await Chroma([], path=tmp_path).open_store("docs")
    await store.bind(FINGERPRINT)
    with pytest.raises(GenkitError, match="document 'bad'"):
        await store.upsert([Document("a", id="a"), Document("t", bad, id="bad")], unit_vectors(2))
    assert await store.count() == 0
    await store.close()
