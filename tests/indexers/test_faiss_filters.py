"""Filters give what the oracle gives, for any metadata and any filter."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genkit_rag.plugin_api import Document, matches, parse_filter
from genkit_rag_faiss import FaissStore

fields = st.sampled_from(["a", "b", "n", "n.x", "n.y.z", "missing", "a.b"])
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([0.0, -0.0, 1.0, 1.5, 2.0, 2**53, 2**53 + 1, float(2**53), 2**62, 1e300]),
    st.sampled_from(["", "a", "ab", "1", "True", "é", "None"]),
)
stored = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "y", "z"]), inner, max_size=2),
)
metadata = st.dictionaries(st.sampled_from(["a", "b", "n", "a.b"]), stored, max_size=3)
ordered = scalars.filter(lambda v: v is not None and not isinstance(v, bool))
conditions = st.one_of(
    scalars,
    st.builds(lambda op, v: {op: v}, st.sampled_from(["$eq", "$ne", "$contains"]), scalars),
    st.builds(lambda op, v: {op: v}, st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), ordered),
    st.builds(lambda op, v: {op: v}, st.sampled_from(["$in", "$nin"]), st.lists(scalars, max_size=3)),
    st.builds(lambda v: {"$exists": v}, st.booleans()),
)
leaves = st.builds(lambda field, condition: {field: condition}, fields, conditions)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(
            lambda op, terms: {op: terms}, st.sampled_from(["$and", "$or"]), st.lists(inner, min_size=1, max_size=3)
        ),
        st.builds(lambda term: {"$not": term}, inner),
    ),
    max_leaves=4,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(metadata, min_size=1, max_size=12),
    more=st.lists(metadata, max_size=4),
    raws=st.lists(trees, max_size=8),
)
async def test_a_filter_passes_exactly_what_the_oracle_passes(
    rows: list[dict[str, Any]], more: list[dict[str, Any]], raws: list[Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = await FaissStore.open(tmp_path_factory.mktemp("filters") / "docs")
    known: dict[str, dict[str, Any]] = {}
    for part in (rows, more):  # the second part extends columns that are there
        documents = [Document("x", meta, id=f"d{len(known) + i}") for i, meta in enumerate(part)]
        await store.upsert(documents, np.ones((len(part), 4), np.float32))
        known |= {document.id: document.metadata for document in documents}
        for raw in raws:
            tree = parse_filter(raw)
            expected = {name for name, meta in known.items() if matches(tree, meta)}
            assert set(await store.ids(filter=tree)) == expected
            hits = (await store.search(np.ones((1, 4), np.float32), 100, filter=tree))[0]
            assert {hit.id for hit in hits} == expected
    await store.close()


async def test_values_of_other_types_are_other_values(tmp_path: Path) -> None:
    store = await FaissStore.open(tmp_path / "docs")
    values: list[Any] = [1, 1.0, True, "1", [1], None]
    documents = [Document("x", {"v": value}, id=str(i)) for i, value in enumerate(values)]
    await store.upsert(documents, np.ones((6, 4), np.float32))
    assert await store.ids(filter=parse_filter({"v": 1})) == ["0", "1", "4"]
    assert await store.ids(filter=parse_filter({"v": 1.0})) == ["0", "1", "4"]
    assert await store.ids(filter=parse_filter({"v": True})) == ["2"]
    assert await store.ids(filter=parse_filter({"v": "1"})) == ["3"]
    assert await store.ids(filter=parse_filter({"v": None})) == ["5"]
    await store.close()


async def test_a_filter_sees_a_replaced_documents_new_metadata(tmp_path: Path) -> None:
    store = await FaissStore.open(tmp_path / "docs")
    vectors = np.ones((1, 4), np.float32)
    tree = parse_filter({"v": "old"})
    await store.upsert([Document("x", {"v": "old"}, id="a")], vectors)
    assert await store.ids(filter=tree) == ["a"]
    await store.upsert([Document("x", {"v": "new"}, id="a")], vectors)
    assert await store.ids(filter=tree) == []
    assert (await store.search(vectors, 1, filter=tree)) == [[]]
    await store.close()
