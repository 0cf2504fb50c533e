"""The store: a dict of rows for each namespace, searched by one matrix product."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from genkit_rag.plugin_api import (
    DEFAULT_NAMESPACE,
    Document,
    Embed,
    Filter,
    Fingerprint,
    GenkitError,
    Hit,
    ScoreInfo,
    SearchMode,
    StoreInfo,
    Vectors,
    VectorStore,
    checked_vectors,
    fingerprint_mismatch,
    invalid,
    matches,
)
from genkit_rag_memory._bm25 import bm25, words


@dataclass(frozen=True, slots=True)
class _Row:
    document: Document
    vector: Vectors
    words: Counter[str]


class MemoryStore(VectorStore):
    """A store in memory, exact in every mode and without an index: for up to a few thousand documents."""

    modes: tuple[SearchMode, ...] = ("vector", "text", "hybrid")

    def __init__(self, name: str = "memory") -> None:
        self.name = name
        self._rows: dict[str, dict[str, _Row]] = {}
        self._fingerprint: Fingerprint | None = None
        self._closed = False

    async def bind(self, fingerprint: Fingerprint) -> None:
        """Ties the store to an embedder, or checks that it is tied to this one."""
        if self._fingerprint not in (None, fingerprint):
            assert self._fingerprint is not None
            raise fingerprint_mismatch(self.name, self._fingerprint, fingerprint)
        self._fingerprint = fingerprint

    async def upsert(
        self, documents: Sequence[Document], vectors: Vectors, *, namespace: str = DEFAULT_NAMESPACE
    ) -> None:
        """Add documents, replacing those with the same ids."""
        unit = _unit(vectors, documents)
        rows = self._namespace(namespace)
        added: dict[str, _Row] = {}
        for number, (document, vector) in enumerate(zip(documents, unit, strict=True)):
            if number % 200 == 199:
                await asyncio.sleep(0)  # the loop's other tasks have a turn
            added[document.id] = _Row(_own(document), vector, words(document.text))
        rows |= added  # all or none

    async def delete(
        self,
        *,
        ids: Sequence[str] | None = None,
        filter: Filter | None = None,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> int:
        """Delete documents and return their number."""
        rows = self._namespace(namespace)
        if ids is None:
            ids = await self.ids(filter=filter, namespace=namespace)
        return sum(rows.pop(id_, None) is not None for id_ in ids)

    async def get(self, ids: Sequence[str], *, namespace: str = DEFAULT_NAMESPACE) -> list[Document | None]:
        """Return the documents in the order of the ids."""
        rows = self._namespace(namespace)
        return [_own(rows[id_].document) if id_ in rows else None for id_ in ids]

    async def vectors(self, ids: Sequence[str], *, namespace: str = DEFAULT_NAMESPACE) -> list[Vectors | None]:
        """Return the vectors in the order of the ids."""
        rows = self._namespace(namespace)
        return [rows[id_].vector if id_ in rows else None for id_ in ids]

    async def search(
        self,
        vectors: Vectors,
        k: int,
        *,
        filter: Filter | None = None,
        namespace: str = DEFAULT_NAMESPACE,
        payload: bool = True,
    ) -> list[list[Hit]]:
        """Return the exact best documents for each query vector."""
        rows = self._passing(filter, namespace)
        if not rows:
            return [[] for _ in vectors]
        matrix = np.stack([row.vector for row in rows])
        return [_best(rows, scores.tolist(), k) for scores in _unit(vectors) @ matrix.T]

    async def search_text(
        self,
        query: str,
        k: int,
        *,
        filter: Filter | None = None,
        namespace: str = DEFAULT_NAMESPACE,
        payload: bool = True,
    ) -> list[Hit]:
        """Return the best documents by BM25, without those that share no word."""
        everything = list(self._namespace(namespace).values())
        scores = bm25(query, [row.words for row in everything])
        found = [
            (row, score)
            for row, score in zip(everything, scores, strict=True)
            if score > 0 and matches(filter, row.document.metadata)
        ]
        return _best([row for row, _ in found], [score for _, score in found], k)

    async def count(self, *, filter: Filter | None = None, namespace: str | None = None) -> int:
        """Count the documents that match the filter."""
        spaces = list(self._rows) if namespace is None else [namespace]
        return sum([len(self._passing(filter, space)) for space in spaces])

    async def ids(self, *, filter: Filter | None = None, namespace: str = DEFAULT_NAMESPACE) -> list[str]:
        """Return the ids of the documents that match the filter."""
        return [row.document.id for row in self._passing(filter, namespace)]

    async def reindex(self, fingerprint: Fingerprint, embed: Embed, *, batch_size: int = 256) -> int:
        """Re-embed all documents and swap the vectors at once; return their number."""
        fresh: dict[tuple[str, str], tuple[Document, Vectors]] = {}
        while stale := self._without(fresh)[:batch_size]:
            documents = [row.document for _, row in stale]
            rows = checked_vectors(await embed([_own(document) for document in documents]), fingerprint.dimensions)
            for (key, _), document, vector in zip(stale, documents, _unit(rows, documents), strict=True):
                fresh[key] = document, vector
        changed = 0
        for space, held in self._rows.items():
            for id_, row in held.items():
                held[id_] = replace(row, vector=fresh[space, id_][1])
                changed += 1
        self._fingerprint = fingerprint
        return changed

    def _without(self, fresh: dict[tuple[str, str], tuple[Document, Vectors]]) -> list[tuple[tuple[str, str], _Row]]:
        """Return the rows without a new vector, or replaced since they got it."""
        found = [((space, id_), row) for space in self._rows for id_, row in self._namespace(space).items()]
        return [(key, row) for key, row in found if key not in fresh or fresh[key][0] is not row.document]

    async def describe(self) -> StoreInfo:
        """Return the properties of the store."""
        scores: dict[SearchMode, ScoreInfo] = {
            "vector": ScoreInfo("cosine", -1, 1),
            "text": ScoreInfo("bm25", 0, math.inf),
            "hybrid": ScoreInfo("fused", 0, 1),
        }
        return StoreInfo(self.name, await self.count(), self.modes, scores, self._fingerprint)

    async def namespaces(self, limit: int) -> dict[str, int]:
        """Return the number of documents of each namespace, largest first."""
        self._namespace(DEFAULT_NAMESPACE)
        counts = sorted(((space, len(rows)) for space, rows in self._rows.items() if rows), key=lambda one: -one[1])
        return dict(counts[:limit])

    async def close(self) -> None:
        """Forgets everything."""
        self._rows.clear()
        self._closed = True

    def _namespace(self, namespace: str) -> dict[str, _Row]:
        if self._closed:
            raise GenkitError(
                "FAILED_PRECONDITION", f"The store `{self.name}` is closed.", hint="Make a new one; closing is final."
            )
        return self._rows.setdefault(namespace, {})

    def _passing(self, filter: Filter | None, namespace: str) -> list[_Row]:

        return [row for row in self._namespace(namespace).values() if matches(filter, row.document.metadata)]


def _best(rows: Sequence[_Row], scores: Sequence[float], k: int) -> list[Hit]:
    order = sorted(range(len(rows)), key=lambda position: -scores[position])[:k]
    return [Hit(rows[i].document.id, float(scores[i]), _own(rows[i].document)) for i in order]


def _unit(vectors: Vectors, documents: Sequence[Document] | None = None) -> Vectors:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not norms.all():
        row = int(np.flatnonzero(norms[:, 0] == 0)[0])
        which = f"row {row}" if documents is None else f"row {row} (document {documents[row].id!r})"
        raise invalid(
            "vectors",
            which,
            "must not be a zero vector: it has no direction",
            hint="Check what the embedder makes of its text.",
        )
    unit: Vectors = vectors / norms
    return unit


def _own(document: Document) -> Document:
    """Return a copy that shares no mutable state."""
    text = document.plain_text
    content = [part.model_copy(deep=True) for part in document.content] if text is None else text
    return Document(content, _plain(document.metadata), id=document.id)


def _plain(value: Any) -> Any:
    """Copy a JSON value deeply; a tuple becomes a list, as in a store that writes JSON."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in cast("list[Any]", value)]
    return value
