"""Filters against the oracle, and the store against a dict and numpy, through any sequence of calls."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from genkit_rag.plugin_api import Compare, Document, Fingerprint, matches, parse_filter
from genkit_rag_pgvector import PgVectorStore
from tests.indexers.postgres import Postgres, needs_postgres
from tests.indexers.postgres import postgres as postgres

pytestmark = needs_postgres
DIMENSIONS = 8
_numbers = itertools.count()

strings = st.sampled_from(
    ["", "a", "ab", "b", "1", "True", "é", "e\u0301", "None", "a\0", "\0b", "\U0001f600", "\uffff", "a'b\"c", "%_\\"]
)
numbers = st.sampled_from(
    [0, -0.0, 1, 1.0, -1, 1.5, 0.1, 2**53, 2**53 + 1, float(2**53), 2**62, float(2**62), 1e300, -1e300, 5e-324, 1e22]
) | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.one_of(st.none(), st.booleans(), numbers, strings)
keys = st.sampled_from(["a", "b", "n", "a.b", "n.x", "0", "", "we ird'; --", 'q"uote', "%s", "{0}"])
stored = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=2))
metadata = st.dictionaries(keys, stored, max_size=3)
fields = keys | st.sampled_from(["n.x", "n.a.b", "a.0", "missing", "a..b", "."])
ordered = numbers | strings
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


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as made:
        yield made


@pytest.fixture(scope="module")
def store(postgres: Postgres, runner: asyncio.Runner) -> Iterator[PgVectorStore]:
    made = runner.run(PgVectorStore.open("filters", postgres.dsn, schema="model"))
    runner.run(made.bind(Fingerprint("test", "m", 4)))
    yield made
    runner.run(made.close())


def without_nul_in_order(tree: Any) -> bool:
    """A NUL stands as the last character of all: what is equal stays so, only an order by it is another."""
    if isinstance(tree, dict):
        return all(
            not (key in ("$gt", "$gte", "$lt", "$lte") and isinstance(value, str)) and without_nul_in_order(value)
            for key, value in tree.items()
        )
    return not isinstance(tree, list) or all(map(without_nul_in_order, tree))


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(metadata, min_size=1, max_size=12), raws=st.lists(trees, min_size=1, max_size=8))
def test_a_filter_passes_exactly_what_the_oracle_passes(
    store: PgVectorStore, runner: asyncio.Runner, rows: list[dict[str, Any]], raws: list[Any]
) -> None:
    async def check() -> None:
        await store.delete()
        documents = [Document("x", one, id=str(i)) for i, one in enumerate(rows)]
        await store.upsert(documents, np.ones((len(rows), 4), np.float32))
        for raw in raws:
            if "\0" in repr(rows).replace("\\x00", "\0") and not without_nul_in_order(raw):
                continue
            tree = parse_filter(raw)
            expected = {str(i) for i, one in enumerate(rows) if matches(tree, one)}
            assert set(await store.ids(filter=tree)) == expected, raw
            (hits,) = await store.search(np.ones((1, 4), np.float32), 100, filter=tree)
            assert {hit.id for hit in hits} == expected

    runner.run(check())


def test_a_filter_of_many_terms_and_values_is_answered(store: PgVectorStore, runner: asyncio.Runner) -> None:
    async def check() -> None:
        await store.delete()
        documents = [Document("x", {"i": i}, id=str(i)) for i in range(50)]
        await store.upsert(documents, np.ones((50, 4), np.float32))
        for raw, expected in (
            ({"$or": [{"i": {"$gt": 48}}, *({f"f{i}": i} for i in range(3000))]}, 1),
            ({"$and": [{"i": {"$ne": i}} for i in range(9_000)]}, 0),
            ({"i": {"$in": list(range(40, 10_000))}}, 10),
        ):
            assert await store.count(filter=parse_filter(raw), namespace="") == expected

    runner.run(check())


names = st.sampled_from([f"d{i}" for i in range(12)] + ["é", "a'b\"c", "%_", "x" * 300, "'); DROP TABLE x; --"])
spaces = st.sampled_from(["", "", "other", "日本", "'; --"])
values = st.sampled_from(["red", "blue", 1, 1.0, True, None, ["red", 2], "1"])
batches = st.lists(st.tuples(names, st.sampled_from("abc"), values), min_size=1, max_size=6, unique_by=lambda t: t[0])
filters = st.sampled_from(
    [
        None,
        {"color": "red"},
        {"color": 1},
        {"color": {"$ne": "red"}},
        {"size": {"$in": ["a", "b"]}},
        {"$or": [{"size": "c"}, {"color": None}]},
        {"none": {"$exists": False}},
    ]
)


class Machine(RuleBasedStateMachine):
    dsn: str

    @initialize(seed=st.integers(0, 2**16))
    def open(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.runner = asyncio.Runner()
        self.name = f"m{next(_numbers)}"
        self.model: dict[tuple[str, str], tuple[str, dict[str, Any], Any]] = {}
        self.embedders = 1
        self.opened()

    def opened(self) -> None:
        self.store = self.run(PgVectorStore.open(self.name, self.dsn, schema="model", pool_size=2))
        self.run(self.store.bind(Fingerprint("test", f"m{self.embedders}", DIMENSIONS)))

    def run(self, awaitable: Any) -> Any:
        return self.runner.run(awaitable)

    def vectors(self, n: int) -> Any:
        rows = self.random.standard_normal((n, DIMENSIONS)).astype(np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def passing(self, space: str, raw: Any) -> list[str]:
        tree = parse_filter(raw)
        return [name for (where, name), (_, meta, _) in self.model.items() if where == space and matches(tree, meta)]

    @rule(batch=batches, space=spaces)
    def upsert(self, batch: list[tuple[str, str, Any]], space: str) -> None:
        rows = self.vectors(len(batch))
        documents = [
            Document(f"text {size} {name}", {"size": size, "color": value}, id=name) for name, size, value in batch
        ]
        self.run(self.store.upsert(documents, rows, namespace=space))
        for document, row in zip(documents, rows, strict=True):
            self.model[space, document.id] = (document.text, document.metadata, row)

    @rule(ids=st.lists(names, max_size=4), space=spaces)
    def delete(self, ids: list[str], space: str) -> None:
        there = {name for name in ids if (space, name) in self.model}
        assert self.run(self.store.delete(ids=ids, namespace=space)) == len(there)
        for name in there:
            del self.model[space, name]

    @rule(size=st.sampled_from("abc"), space=spaces)
    def delete_by_filter(self, size: str, space: str) -> None:
        gone = self.passing(space, {"size": size})
        assert self.run(self.store.delete(filter=Compare("size", "$eq", size), namespace=space)) == len(gone)
        for name in gone:
            del self.model[space, name]

    @rule(raw=filters, space=spaces, k=st.integers(1, 20), payload=st.booleans(), many=st.integers(1, 3))
    def search(self, raw: Any, space: str, k: int, payload: bool, many: int) -> None:
        queries = self.vectors(many)
        found = self.run(self.store.search(queries, k, filter=parse_filter(raw), namespace=space, payload=payload))
        candidates = self.passing(space, raw)
        for query, hits in zip(queries, found, strict=True):
            scores = {name: float(query @ self.model[space, name][2]) for name in candidates}
            best = sorted(scores.values(), reverse=True)[:k]
            assert len(hits) == len({hit.id for hit in hits}) == len(best)
            np.testing.assert_allclose([hit.score for hit in hits], best, atol=1e-5)
            for hit in hits:
                assert abs(scores[hit.id] - hit.score) < 1e-5
                if payload:
                    assert hit.document is not None
                    assert (hit.document.text, hit.document.metadata) == self.model[space, hit.id][:2]

    @rule(raw=filters, space=spaces, k=st.integers(1, 20))
    def search_text(self, raw: Any, space: str, k: int) -> None:
        hits = self.run(self.store.search_text("text", k, filter=parse_filter(raw), namespace=space))
        candidates = self.passing(space, raw)
        assert len(hits) == len({hit.id for hit in hits}) == min(k, len(candidates))
        assert {hit.id for hit in hits} <= set(candidates)

    @rule(ids=st.lists(names, max_size=4), space=spaces)
    def get(self, ids: list[str], space: str) -> None:
        documents = self.run(self.store.get(ids, namespace=space))
        rows = self.run(self.store.vectors(ids, namespace=space))
        for name, document, row in zip(ids, documents, rows, strict=True):
            known = self.model.get((space, name))
            assert (document is None) == (row is None) == (known is None)
            if known is not None:
                assert (document.id, document.text, document.metadata) == (name, known[0], known[1])
                np.testing.assert_allclose(row, known[2], atol=1e-6)

    @rule()
    def change_the_embedder(self) -> None:
        async def embed(documents: Any) -> Any:
            return self.vectors(len(documents))

        self.embedders += 1
        fingerprint = Fingerprint("test", f"m{self.embedders}", DIMENSIONS)
        assert self.run(self.store.reindex(fingerprint, embed, batch_size=1)) == len(self.model)
        keys = list(self.model)
        for space in {space for space, _ in keys}:
            ids = [name for where, name in keys if where == space]
            for name, row in zip(ids, self.run(self.store.vectors(ids, namespace=space)), strict=True):
                text, meta, _ = self.model[space, name]
                self.model[space, name] = (text, meta, row)

    @rule()
    def reopen(self) -> None:
        self.run(self.store.close())
        self.opened()

    @invariant()
    def counts_agree(self) -> None:
        if hasattr(self, "store"):
            assert self.run(self.store.count()) == len(self.model)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.run(self.store.close())
            self.runner.close()


def test_a_store_does_what_a_dict_would(postgres: Postgres) -> None:
    class Here(Machine):
        dsn = postgres.dsn

    run_state_machine_as_test(Here, settings=settings(max_examples=15, stateful_step_count=20, deadline=None))  # type: ignore[no-untyped-call]
