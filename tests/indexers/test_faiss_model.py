"""The store against a dict and numpy, through any sequence of calls."""

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
from genkit_rag_faiss import FaissStore

DIMENSIONS = 8
names = st.sampled_from([f"d{i}" for i in range(12)] + ["é", "a'b\"c", "%_", "x" * 300])
spaces = st.sampled_from(["", "", "other", "日本"])
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


def vector(random: np.random.Generator, n: int) -> Any:
    rows = random.standard_normal((n, DIMENSIONS)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class StoreMachine(RuleBasedStateMachine):
    @initialize(seed=st.integers(0, 2**16))
    def open(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.loop = asyncio.new_event_loop()
        self.path = Path(tempfile.mkdtemp()) / "docs"
        self.model: dict[tuple[str, str], tuple[str, dict[str, Any], Any]] = {}
        self.store = self.run(FaissStore.open(self.path))

    def run(self, awaitable: Any) -> Any:
        return self.loop.run_until_complete(awaitable)

    def passing(self, space: str, raw: Any) -> list[str]:
        tree = parse_filter(raw)
        return [name for (where, name), (_, meta, _) in self.model.items() if where == space and matches(tree, meta)]

    @rule(batch=batches, space=spaces)
    def upsert(self, batch: list[tuple[str, str, Any]], space: str) -> None:
        rows = vector(self.random, len(batch))
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

    @rule(raw=filters, space=spaces, k=st.integers(1, 20), payload=st.booleans(), many=st.integers(1, 10))
    def search(self, raw: Any, space: str, k: int, payload: bool, many: int) -> None:
        queries = vector(self.random, many)
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
                    text, metadata, _ = self.model[space, hit.id]
                    assert hit.document is not None
                    assert (hit.document.text, hit.document.metadata) == (text, metadata)

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

    @rule(raw=filters, space=spaces)
    def count(self, raw: Any, space: str) -> None:
        tree = parse_filter(raw)
        assert self.run(self.store.count(filter=tree, namespace=space)) == len(self.passing(space, raw))
        assert sorted(self.run(self.store.ids(filter=tree, namespace=space))) == sorted(self.passing(space, raw))

    @rule()
    def compact(self) -> None:
        self.run(self.store.compact())

    @rule(lose=st.sampled_from(["nothing", "seg", "text", "both"]))
    def reopen(self, lose: str) -> None:
        self.run(self.store.close())
        for folder in {"nothing": [], "seg": ["seg"], "text": ["text"], "both": ["seg", "text"]}[lose]:
            shutil.rmtree(self.path / folder)
        self.store = self.run(FaissStore.open(self.path))

    @invariant()
    def counts_agree(self) -> None:
        if hasattr(self, "store"):
            assert self.run(self.store.count()) == len(self.model)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            report = self.run(self.store.verify())
            assert report.ok
            assert report.documents == len(self.model)
            self.run(self.store.close())
            self.loop.close()
            shutil.rmtree(self.path.parent)


StoreMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestStoreMachine = StoreMachine.TestCase
