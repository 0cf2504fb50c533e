"""The store: the verbs of `VectorStore` over Chroma's collections."""

from __future__ import annotations

import math
from collections.abc import Sequence

from genkit_rag.plugin_api import (
    DEFAULT_NAMESPACE,
    Document,
    Embed,
    Filter,
    Fingerprint,
    Hit,
    ScoreInfo,
    SearchMode,
    StoreInfo,
    Vectors,
    VectorStore,
    fingerprint_mismatch,
    invalid,
    run_in_thread,
)
from genkit_rag_chroma import _text
from genkit_rag_chroma._batches import remove, write
from genkit_rag_chroma._catalog import Catalog, Head, check_store_name, new_id
from genkit_rag_chroma._engine import Engine, closed_error
from genkit_rag_chroma._options import ChromaConfig
from genkit_rag_chroma._reindex import Reindex, finished
from genkit_rag_chroma._rows import decoded, document_id, encoded, row_id
from genkit_rag_chroma._space import Space
from genkit_rag_chroma._spaces import Spaces
from genkit_rag_chroma._where import where_of

SCORES: dict[SearchMode, ScoreInfo] = {
    "vector": ScoreInfo("cosine", -1, 1),
    "text": ScoreInfo("bm25", 0, math.inf),
    "hybrid": ScoreInfo("fused", 0, 1),
}


class ChromaStore(VectorStore):
    """Documents in collections of a Chroma database, one for each namespace; embedded or on a server alike.

    Args:
        store: Its name, part of the collections' names.
        engine: The database; the store closes it.
        options: How its collections are made.
    """

    modes: tuple[SearchMode, ...] = ("vector", "text", "hybrid")

    def __init__(self, store: str, engine: Engine, options: ChromaConfig | None = None) -> None:
        self.name = check_store_name(store)
        self._engine = engine
        self._catalog = Catalog(engine, store, (options or ChromaConfig()).configuration)
        self._spaces = Spaces(engine, self._catalog, store)
        self._lengths = _text.Lengths()
        self._closed = False

    async def bind(self, fingerprint: Fingerprint) -> None:
        """Ties the store to an embedder, or checks that it is tied to this one."""
        self._check_open()
        head = await self._catalog.load()
        if head is None:
            async with self._engine.writing():
                head = await self._catalog.create(fingerprint)
        if head.fingerprint != fingerprint:
            raise fingerprint_mismatch(self.name, head.fingerprint, fingerprint)
        if head.previous:  # a change of the embedder that was killed when all was done but this
            async with self._engine.writing():
                head = await finished(self._catalog, await self._catalog.load() or head)
        self._spaces.bound = fingerprint
        self._spaces.moved(head)

    async def upsert(
        self, documents: Sequence[Document], vectors: Vectors, *, namespace: str = DEFAULT_NAMESPACE
    ) -> None:
        """Add documents atomically, replacing those with the same ids."""
        self._check_open()
        if not documents:
            return
        rows = await run_in_thread(encoded, documents, vectors, new_id())
        if self._engine.shared and len(rows) > self._engine.slice_rows:
            raise invalid(
                "documents",
                len(rows),
                "are too many for one batch on a server",
                hint=f"Index with a `batch_size` of {self._engine.slice_rows} at most.",
            )
        async with self._spaces.writing(namespace, make=True) as space:
            assert space is not None
            present = await space.present(rows.ids)
            with self._lengths.changing(space) as lengths:
                before = await lengths.of(list(present.values()))
                await write(space, rows, present)
                lengths.changed(len(rows) - len(present), sum(map(_text.length_of, rows.words)) - before)

    async def delete(
        self, *, ids: Sequence[str] | None = None, filter: Filter | None = None, namespace: str = DEFAULT_NAMESPACE
    ) -> int:
        """Delete documents and return their number; more than 500 are not deleted atomically."""
        self._check_open()
        if await self._catalog.load() is None:
            return 0
        async with self._spaces.writing(namespace, make=False) as space:
            if space is None:
                return 0
            if ids is None:
                rows = await space.passing(filter, where_of(filter))
            else:
                rows = list((await space.present(list({row_id(id_) for id_ in ids}))).values())
            with self._lengths.changing(space) as lengths:
                before = await lengths.of(rows)
                await remove(space, rows)
                lengths.changed(-len(rows), -before)
            return len(rows)

    # -- reading

    async def get(self, ids: Sequence[str], *, namespace: str = DEFAULT_NAMESPACE) -> list[Document | None]:
        """Return the documents in the order of the ids."""

        async def work(space: Space) -> list[Document | None]:
            rows = [slot + row_id(id_) for id_ in set(ids) for slot in "01"]
            found = {document_id(row): (row, data) async for row, data in space.fetch(rows, "metadatas")}
            return [decoded(*found[id_]) if id_ in found else None for id_ in ids]

        self._check_open()
        return await self._spaces.read(namespace, work, [None for _ in ids])

    async def vectors(self, ids: Sequence[str], *, namespace: str = DEFAULT_NAMESPACE) -> list[Vectors | None]:
        """Return the unit vectors in the order of the ids."""

        async def work(space: Space) -> list[Vectors | None]:
            rows = [slot + row_id(id_) for id_ in set(ids) for slot in "01"]
            found = {document_id(row): vector async for row, vector in space.fetch(rows, "embeddings")}
            return [_text.as_vector(found[id_]) if id_ in found else None for id_ in ids]

        self._check_open()
        return await self._spaces.read(namespace, work, [None for _ in ids])

    async def search(
        self,
        vectors: Vectors,
        k: int,
        *,
        filter: Filter | None = None,
        namespace: str = DEFAULT_NAMESPACE,
        payload: bool = True,
    ) -> list[list[Hit]]:
        """Return the best documents for each query vector."""
        where = where_of(filter)

        async def work(space: Space) -> list[list[Hit]]:
            return [
                [
                    Hit(document_id(one.row), one.score, decoded(one.row, one.metadata) if one.metadata else None)
                    for one in best
                ]
                for best in await space.nearest(vectors, k, filter, where, payload=payload)
            ]

        self._check_open()
        return await self._spaces.read(namespace, work, [[] for _ in vectors])

    async def search_text(
        self,
        query: str,
        k: int,
        *,
        filter: Filter | None = None,
        namespace: str = DEFAULT_NAMESPACE,
        payload: bool = True,
    ) -> list[Hit]:
        """Return the best documents by BM25 among those that share a word with the query."""

        async def work(space: Space) -> list[Hit]:
            best = await _text.best(space, query, k, filter, self._lengths)
            found = {}
            if payload:
                found = {row: data async for row, data in space.fetch([row for row, _ in best], "metadatas")}
                _text.check_all_there(best, found)
            return [Hit(document_id(row), score, decoded(row, found[row]) if payload else None) for row, score in best]

        self._check_open()
        return await self._spaces.read(namespace, work, [])

    async def count(self, *, filter: Filter | None = None, namespace: str | None = None) -> int:
        """Count the documents that match the filter."""
        where = where_of(filter)

        async def work(space: Space) -> int:
            return await space.count() if filter is None else len(await space.passing(filter, where))

        self._check_open()
        spaces = await self._namespaces() if namespace is None else [namespace]
        return sum([await self._spaces.read(one, work, 0) for one in spaces])

    async def ids(self, *, filter: Filter | None = None, namespace: str = DEFAULT_NAMESPACE) -> list[str]:
        """Return the ids of the documents that match the filter."""
        where = where_of(filter)

        async def work(space: Space) -> list[str]:
            return [document_id(row) for row in await space.passing(filter, where)]

        self._check_open()
        return await self._spaces.read(namespace, work, [])

    async def describe(self) -> StoreInfo:
        """Return the properties of the store; `details` has its place and its namespaces."""
        self._check_open()
        head = await self._catalog.load()
        namespaces = await self._namespaces()
        details = {"engine": "chroma", "where": self._engine.where, "namespaces": sorted(namespaces)}
        fingerprint = None if head is None else head.fingerprint
        return StoreInfo(self.name, await self.count(), self.modes, dict(SCORES), fingerprint, details)

    async def namespaces(self, limit: int) -> dict[str, int]:
        """Return the number of documents of each namespace, largest first; of more than `limit` the oldest ones."""
        self._check_open()
        counts: dict[str, int] = {}
        for space in await self._namespaces():
            if len(counts) == limit:
                break
            if count := await self.count(namespace=space):
                counts[space] = count
        return dict(sorted(counts.items(), key=lambda one: -one[1]))

    async def reindex(self, fingerprint: Fingerprint, embed: Embed, *, batch_size: int = 256) -> int:
        """Re-embed all documents with another model and swap the vectors atomically; return their number."""
        self._check_open()
        if batch_size < 1:
            raise invalid("batch_size", batch_size, "must be at least 1")

        def placed(head: Head) -> None:
            self._spaces.bound = fingerprint
            self._spaces.moved(head)

        placed(await Reindex(self._engine, self._catalog, fingerprint, embed, batch_size, placed).run())
        return await self.count()

    async def close(self) -> None:
        """Frees the client."""
        self._closed = True
        await self._engine.close()

    async def _namespaces(self) -> list[str]:
        head = await self._catalog.load()
        return [] if head is None else list(await self._catalog.collections(head.generation))

    def _check_open(self) -> None:
        if self._closed:
            raise closed_error(self._engine.where)
