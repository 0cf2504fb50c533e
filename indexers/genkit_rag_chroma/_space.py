"""A snapshot of a namespace: its collection, and the hidden rows."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from genkit_rag.plugin_api import Filter, Vectors, matches
from genkit_rag_chroma._engine import MAX_ROWS, Engine, Moved
from genkit_rag_chroma._rows import BATCH, GONE, SLOTS, metadata_of
from genkit_rag_chroma._where import Clause, Where, both

CHUNK = 500
"""How many rows with their metadata one call gives: some ten milliseconds."""


@dataclass(frozen=True, slots=True)
class State:
    """The state of a namespace, stored in the collection's metadata so that it survives a crash.

    Attributes:
        phase: Nothing; a batch is being written and hidden; or it is visible, and replaced rows are being deleted.
        batch: The id of the batch.
        rows: The maximum number of hidden rows.
    """

    phase: Literal["", "pending", "committed"] = ""
    batch: str = ""
    rows: int = 0

    @property
    def hidden(self) -> Clause | None:
        """Return the condition for the hidden rows; None if there are none."""
        key = {"": None, "pending": BATCH, "committed": GONE}[self.phase]
        return None if key is None else {key: self.batch}

    @property
    def visible(self) -> Clause | None:
        """The condition for the rows that are to be seen; None when all are."""
        key = {"": None, "pending": BATCH, "committed": GONE}[self.phase]
        return None if key is None else {key: {"$ne": self.batch}}


@dataclass(slots=True)
class Found:
    """One result: a row's id, its cosine, and its metadata when they were asked for."""

    row: str
    score: float
    metadata: dict[str, Any] | None = None


class Space:
    """One namespace's collection. What spans several calls holds only as long as the state stays the same."""

    def __init__(self, engine: Engine, collection: Any) -> None:
        self.engine = engine
        self.collection = collection
        raw = collection.metadata.get("state")
        self.state = State(**json.loads(raw)) if raw else State()

    async def call(self, method: str, /, **arguments: Any) -> Any:
        """Call a method of the collection."""
        return await self.engine.call(self.collection, method, **arguments)

    async def change(self, state: State) -> None:
        """Replace the state durably and atomically."""
        metadata = {"namespace": self.collection.metadata["namespace"]}
        await self.call("modify", metadata={**metadata, "state": json.dumps(asdict(state))})
        self.state = state

    # -- rows

    async def count(self) -> int:
        """Return the number of rows."""
        return int(await self.call("count")) if self.state.visible is None else len(await self.ids())

    async def ids(self, where: Clause | None = None, words: dict[str, Any] | None = None) -> list[str]:
        """Return the ids of the rows that match a condition."""
        where = both(where, self.state.visible)
        found = await self.call("get", where=where, where_document=words, include=[])
        return list(found["ids"])

    async def present(self, documents: Sequence[str]) -> dict[str, str]:
        """Return the existing rows of documents, by their `row_id`."""
        found: dict[str, str] = {}
        size = MAX_ROWS // len(SLOTS)
        for start in range(0, len(documents), size):
            wanted = [slot + name for name in documents[start : start + size] for slot in SLOTS]
            rows = await self.call("get", ids=wanted, where=self.state.visible, include=[])
            found |= {row[1:]: row for row in rows["ids"]}
        return found

    async def fetch(self, rows: Sequence[str], what: str) -> AsyncIterator[tuple[str, Any]]:
        """Yield `(row, value)` for existing rows, in any order.

        Args:
            rows: Their ids.
            what: `metadatas`, `documents` or `embeddings`.
        """
        for start in range(0, len(rows), CHUNK):
            wanted = list(rows[start : start + CHUNK])
            found = await self.call("get", ids=wanted, where=self.state.visible, include=[what])
            for pair in zip(found["ids"], found[what], strict=True):
                yield pair

    async def passing(self, tree: Filter | None, where: Where, words: dict[str, Any] | None = None) -> list[str]:
        """Return the ids of the rows that match a filter, also if Chroma cannot express it."""
        rows = await self.ids(where.clause, words)
        if where.exact:
            return rows
        return [row async for row, metadata in self.fetch(rows, "metadatas") if matches(tree, metadata_of(metadata))]

    # -- the nearest

    async def nearest(
        self, vectors: Vectors, k: int, tree: Filter | None, where: Where, *, payload: bool
    ) -> list[list[Found]]:
        """Return for each vector the best `k` matching documents; `k` of them if `k` exist."""
        if where.exact:
            best = await self._query(vectors, k, payload=payload, where=where.clause)
        else:
            best = await self._among(vectors, k, await self.passing(tree, where), payload=payload)
        if min((len(found) for found in best), default=k) < k:
            best = await self._complete(best, vectors, k, await self.passing(tree, where))
        return await self._with_metadata(best) if payload else best

    async def _query(self, vectors: Vectors, k: int, *, payload: bool, **restricted: Any) -> list[list[Found]]:
        """One query of Chroma's index. It cannot leave out rows at no cost, so it takes as many more as are hidden."""
        hidden = self.state.rows if self.state.hidden else 0
        include = ["distances", "metadatas"] if payload and not hidden else ["distances"]
        result = await self.call("query", query_embeddings=vectors, n_results=k + hidden, include=include, **restricted)
        metadatas = result["metadatas"] or [[None] * len(ids) for ids in result["ids"]]
        best = [
            [Found(row, _cosine(distance), metadata) for row, distance, metadata in zip(*columns, strict=True)]
            for columns in zip(result["ids"], result["distances"], metadatas, strict=True)
        ]
        if not hidden:
            return best
        rows = {found.row for found in (one for many in best for one in many)}
        seen = {row[1:]: row for row in rows}
        shown = await self.present(list(seen))
        return [[found for found in many if shown.get(found.row[1:]) == found.row][:k] for many in best]

    async def _among(self, vectors: Vectors, k: int, rows: Sequence[str], *, payload: bool) -> list[list[Found]]:
        merged: list[list[Found]] = [[] for _ in vectors]
        for start in range(0, len(rows), MAX_ROWS):
            chunk = list(rows[start : start + MAX_ROWS])
            for best, more in zip(merged, await self._query(vectors, k, payload=payload, ids=chunk), strict=True):
                best += more
        return [_top(best, k) for best in merged]

    async def _complete(
        self, best: list[list[Found]], vectors: Vectors, k: int, rows: Sequence[str]
    ) -> list[list[Found]]:
        """Compare all matching rows, since the graph may miss rows with a rare filter."""
        if min(len(found) for found in best) >= min(k, len(rows)):
            return best
        exact: list[list[Found]] = [[] for _ in vectors]
        queries = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        for start in range(0, len(rows), CHUNK):
            pairs = [pair async for pair in self.fetch(rows[start : start + CHUNK], "embeddings")]
            scores = queries @ np.asarray([vector for _, vector in pairs], np.float32).reshape(len(pairs), -1).T
            for found, row_scores in zip(exact, scores.tolist(), strict=True):
                found += [Found(row, _cosine(1 - score)) for (row, _), score in zip(pairs, row_scores, strict=True)]
        return [_top(found, k) for found in exact]

    async def _with_metadata(self, best: list[list[Found]]) -> list[list[Found]]:
        missing = {found.row for many in best for found in many if found.metadata is None}
        if not missing:
            return best
        fetched = {row: metadata async for row, metadata in self.fetch(list(missing), "metadatas")}
        if len(fetched) < len(missing):
            raise Moved("deleted while they were searched")
        return [[Found(one.row, one.score, one.metadata or fetched[one.row]) for one in many] for many in best]


def _cosine(distance: float) -> float:
    return max(-1.0, min(1.0, 1.0 - float(distance)))


def _top(found: list[Found], k: int) -> list[Found]:
    return sorted(found, key=lambda one: -one.score)[:k]
