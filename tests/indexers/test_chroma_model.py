"""The store against a dict and numpy, through any sequence of calls."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from genkit_rag.plugin_api import Compare, Document, matches, parse_filter
from genkit_rag.testing._stores import unit_vectors
from genkit_rag_chroma import Chroma
from genkit_rag_chroma._words import bm25, folded, terms_of
from tests.indexers.test_chroma_reindex import FINGERPRINT

names = st.sampled_from([f"d{i}" for i in range(12)] + ["", "é", "a'b\"c", "%_", "x" * 300, "\0", "\ud800"])
spaces = st.sampled_from(["", "", "other", "日本"])
words = st.sampled_from(["", "a red fox", "red red foxes", "one fox, two dogs", "Çırağan dog", "nothing of it"])
values = st.sampled_from(["red", "blue", 1, 1.0, True, None, ["red", 2], "1"])
batches = st.lists(st.tuples(names, words, values), min_size=1, max_size=8, unique_by=lambda row: row[0])
filters = st.sampled_from([None, {"v": "red"}, {"v": 1}, {"v": {"$ne": "red"}}, {"v": {"$gte": "blue"}}, {"w": None}])


class StoreMachine(RuleBasedStateMachine):
    @initialize(seed=st.integers(0, 2**16))
    def begin(self, seed: int) -> None:
        self.seed = seed
        self.loop = asyncio.new_event_loop()
        self.path = Path(tempfile.mkdtemp())
        self.model: dict[tuple[str, str], tuple[Document, Any]] = {}
        self.open()

    def open(self) -> None:
        self.store = self.run(Chroma([], path=self.path).open_store("docs"))
        self.store._engine.slice_rows = 3  # so that a batch takes several
        self.run(self.store.bind(FINGERPRINT))

    def run(self, awaitable: Any) -> Any:
        return self.loop.run_until_complete(awaitable)

    def passing(self, space: str, raw: Any) -> list[str]:
        tree = parse_filter(raw)
        return [id_ for (where, id_), (one, _) in self.model.items() if where == space and matches(tree, one.metadata)]

    @rule(batch=batches, space=spaces)
    def upsert(self, batch: list[tuple[str, str, Any]], space: str) -> None:
        self.seed += 1
        rows = unit_vectors(len(batch), seed=self.seed)
        documents = [Document(text, {"v": value} if value != "1" else {}, id=id_) for id_, text, value in batch]
        self.run(self.store.upsert(documents, rows, namespace=space))
        self.model |= {(space, one.id): (one, row) for one, row in zip(documents, rows, strict=True)}

    @rule(ids=st.lists(names, max_size=4), space=spaces)
    def delete(self, ids: list[str], space: str) -> None:
        there = {id_ for id_ in ids if (space, id_) in self.model}
        assert self.run(self.store.delete(ids=ids, namespace=space)) == len(there)
        for id_ in there:
            del self.model[space, id_]

    @rule(space=spaces)
    def delete_by_filter(self, space: str) -> None:
        gone = self.passing(space, {"v": "red"})
        assert self.run(self.store.delete(filter=Compare("v", "$eq", "red"), namespace=space)) == len(gone)
        for id_ in gone:
            del self.model[space, id_]

    @rule(raw=filters, space=spaces, k=st.integers(1, 20), payload=st.booleans(), many=st.integers(1, 4))
    def search(self, raw: Any, space: str, k: int, payload: bool, many: int) -> None:
        queries = unit_vectors(many, seed=self.seed + 1)
        found = self.run(self.store.search(queries, k, filter=parse_filter(raw), namespace=space, payload=payload))
        candidates = self.passing(space, raw)
        for query, hits in zip(queries, found, strict=True):
            scores = {id_: float(query @ self.model[space, id_][1]) for id_ in candidates}
            np.testing.assert_allclose(
                [hit.score for hit in hits], sorted(scores.values(), reverse=True)[:k], atol=1e-5
            )
            for hit in hits:
                assert abs(scores[hit.id] - hit.score) < 1e-5
                assert not payload or hit.document == self.model[space, hit.id][0]

    @rule(raw=filters, space=spaces, query=st.sampled_from(["fox", "dogs and foxes", "red", "ciragan", "zebra", "the"]))
    def search_text(self, raw: Any, space: str, query: str) -> None:
        everything = {id_: folded(one.text) for (where, id_), (one, _) in self.model.items() if where == space}
        terms, total = terms_of(query), sum(len(row.split()) for row in everything.values())
        scores = bm25(terms, list(everything.values()), len(everything), total) if everything else []
        expected = {id_: score for id_, score in zip(everything, scores, strict=True) if score}
        expected = {id_: score for id_, score in expected.items() if id_ in self.passing(space, raw)}
        hits = self.run(self.store.search_text(query, 20, filter=parse_filter(raw), namespace=space))
        assert {hit.id: round(hit.score, 5) for hit in hits} == {id_: round(one, 5) for id_, one in expected.items()}
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)

    @rule(ids=st.lists(names, max_size=4), space=spaces)
    def get(self, ids: list[str], space: str) -> None:
        documents = self.run(self.store.get(ids, namespace=space))
        rows = self.run(self.store.vectors(ids, namespace=space))
        for id_, document, row in zip(ids, documents, rows, strict=True):
            known = self.model.get((space, id_))
            assert document == (known[0] if known else None)
            assert (row is None) == (known is None)
            if known is not None:
                np.testing.assert_allclose(row, known[1], atol=1e-6)

    @rule()
    def reopen(self) -> None:
        self.run(self.store.close())
        self.open()

    @invariant()
    def counts_and_ids_agree(self) -> None:
        if hasattr(self, "store"):
            assert self.run(self.store.count()) == len(self.model)
            for space in ("", "other"):
                assert sorted(self.run(self.store.ids(namespace=space))) == sorted(self.passing(space, None))

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.run(self.store.close())
            self.loop.close()
            shutil.rmtree(self.path)


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=8, stateful_step_count=20, deadline=None)
