"""A store behind its actions: opened at its first use, with the embedder that fills it and the rules of its owner."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from genkit_rag._core.action import ActionKind
from genkit_rag._core.context import ActionContext
from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._core.registry import Plugin
from genkit_rag._documents.checks import check_documents, check_names
from genkit_rag._documents.document import Document
from genkit_rag._documents.filters import And, Compare, Filter, parse_filter
from genkit_rag._documents.wire import WireModel
from genkit_rag._rag.embedding import EmbedderAction, EmbedResponse
from genkit_rag._rag.embedding_service import EmbeddingService, service_of
from genkit_rag._rag.options import IndexerOptions
from genkit_rag._rag.retrieval import IndexerResponse
from genkit_rag._rag.stores.access import Access, Scope, refuse_foreign
from genkit_rag._rag.vector_store import DEFAULT_NAMESPACE, Fingerprint, SearchMode, Vectors, VectorStore

NO_RULES = Access()


class DeleteRequest(WireModel):
    """Which documents go: by id, by filter, or all that came from a source."""

    ids: list[str] | None = None
    filter: dict[str, Any] | None = None
    source: str | None = None
    namespace: str = DEFAULT_NAMESPACE


class DeleteResponse(WireModel):
    """The number of deleted documents."""

    deleted: int


class StoreHandle:
    """A store that opens at its first use, with the embedder that fills it.

    Args:
        plugin: The plugin that owns it; its registry is where the embedder is found.
        name: The name of its actions, `<plugin>/<store>`.
        open_store: Gives the store; called once, when first needed.
        embedder: The name of the embedder action.
        mode: The search mode when a call names none.
        access: What callers may touch.
    """

    def __init__(
        self,
        plugin: Plugin,
        name: str,
        open_store: Callable[[], Awaitable[VectorStore]],
        *,
        embedder: str,
        mode: SearchMode = "vector",
        access: Access = NO_RULES,
    ) -> None:
        self.plugin = plugin
        self.name = name
        self.embedder_name = embedder
        self.mode: SearchMode = mode
        self.access = access
        self._open = open_store
        self._store: VectorStore | None = None
        self._opening: concurrent.futures.Future[VectorStore | None] | None = None
        self._lock = threading.Lock()
        self._service: EmbeddingService | None = None
        self._bound: Fingerprint | None = None
        self._writing = 0
        self._reindexing = False

    async def store(self) -> VectorStore:
        """Return the store; open it at the first call."""
        while self._store is None:
            with self._lock:  # a future of no event loop: callers in other threads and loops wait for the same store
                opening = self._opening
                if opening is None:
                    opening = self._opening = concurrent.futures.Future()
                    self._task = asyncio.ensure_future(self._open_into(opening))
            store = await asyncio.shield(asyncio.wrap_future(opening))
            if self._opening is not opening and store is not None:
                return store  # closed in the meantime: it says so itself
            self._store = store
        return self._store

    async def _open_into(self, opening: concurrent.futures.Future[VectorStore | None]) -> None:
        try:
            opening.set_result(await self._open())
        except BaseException as error:  # it failed: the next call tries again
            if self._opening is opening:
                self._opening = None
            if not isinstance(error, Exception):
                opening.set_result(None)  # this event loop ends, those who wait in others do not: one of them opens it
                raise
            opening.set_exception(error)

    async def close(self) -> None:
        """Close the store if it was opened."""
        opening, self._store, self._opening, self._bound = self._opening, None, None, None
        if opening is None:
            return
        try:
            store = await asyncio.wrap_future(opening)
        except Exception:  # whoever asked for it got the error
            return
        if store is not None:
            await store.close()

    # -- the embedder

    async def service(self) -> EmbeddingService:
        """Return the embedding service of the store; NOT_FOUND lists the registered embedders."""
        if self._service is None:
            self._service = await self._service_of(self.embedder_name)
        return self._service

    async def _service_of(self, name: str) -> EmbeddingService:
        action = await self.plugin.registry.get(ActionKind.EMBEDDER, name)
        if not isinstance(action, EmbedderAction):
            raise GenkitError(
                "FAILED_PRECONDITION",
                f"`{action.key}` was not made with `embedder_action` or `@ai.embedder`.",
                hint="Make it with one of them: a store must know the fingerprint of its vectors.",
            )
        return service_of(action)

    async def bind(self, store: VectorStore, embedder: EmbedderAction, dimensions: int) -> None:
        """Ties the store to the embedder, or checks that it is tied to this one."""
        if self._bound is None or self._bound.dimensions != dimensions:
            fingerprint = embedder.fingerprint(dimensions)
            await store.bind(fingerprint)
            self._bound = fingerprint

    async def query_vector(self, store: VectorStore, query: Document) -> Vectors:
        """Embed a query with the embedding model that the store is bound to."""
        service = self._service or await self.service()
        vector = await service.query(query)
        while service is not self._service:  # the store has changed its embedder while this one was at work
            service = await self.service()
            vector = await service.query(query)
        if self._bound is None or self._bound.dimensions != vector.shape[0]:
            await self.bind(store, service.embedder, int(vector.shape[0]))
        return vector

    async def reindex(
        self, embedder: str | None = None, *, batch_size: int = 256, progress: Callable[[int, int], None] | None = None
    ) -> int:
        """Re-embed all documents; see `Genkit.reindex`."""
        if not isinstance(batch_size, int) or batch_size < 1:
            raise invalid("batch_size", batch_size, "must be at least 1")
        self._check_not_reindexing()
        self._reindexing = True
        try:
            while self._writing:  # noqa: ASYNC110 - of any event loop; what they write is of the embedder that goes
                await asyncio.sleep(0.01)
            return await self._reindex(embedder, batch_size, progress)
        finally:
            self._reindexing = False

    def _check_not_reindexing(self) -> None:
        if self._reindexing:
            raise GenkitError(
                "UNAVAILABLE",
                f"The store `{self.name}` is changing its embedder.",
                hint="Search it meanwhile; write again when that is done.",
            )

    async def _reindex(self, embedder: str | None, batch_size: int, progress: Callable[[int, int], None] | None) -> int:
        store, service = await self.store(), await self._service_of(embedder or self.embedder_name)
        probe = (await service.documents([Document("probe")])).dimensions
        total, done = await store.count(), 0

        async def embed(documents: Sequence[Document]) -> Vectors:
            nonlocal done
            response = await service.documents(documents)
            if len(response) != len(documents):
                raise GenkitError(
                    "FAILED_PRECONDITION",
                    f"`{service.embedder.name}` gives several vectors for a document, which a change cannot follow.",
                    hint="Index the documents again into a new store.",
                )
            done += len(documents)
            if progress is not None:
                progress(min(done, total), total)
            return response.vectors

        fingerprint = service.embedder.fingerprint(probe)
        changed = await store.reindex(fingerprint, embed, batch_size=batch_size)
        self.embedder_name, self._service, self._bound = service.embedder.name, service, fingerprint
        return changed

    # -- writing

    async def index(
        self, documents: Sequence[Document], options: IndexerOptions, ctx: ActionContext
    ) -> IndexerResponse:
        """Embed documents and write them durably; each batch is written atomically. Return their ids.

        While one batch is written the next one is embedded.
        """
        check_names("options.namespace", [options.namespace])
        check_documents(documents)  # before anything is paid for
        self._check_not_reindexing()
        self._writing += 1
        try:
            return await self._index(documents, options, ctx)
        finally:
            self._writing -= 1

    async def _index(
        self, documents: Sequence[Document], options: IndexerOptions, ctx: ActionContext
    ) -> IndexerResponse:
        store, service = await self.store(), await self.service()
        scope = self.access.scope(ctx, options.namespace)
        if scope.filter is not None:
            there = await store.get([document.id for document in documents], namespace=scope.namespace)
            refuse_foreign(scope, documents, there)
        ids: list[str] = []
        writing: asyncio.Task[None] | None = None
        try:
            for start in range(0, len(documents), options.batch_size):
                batch = documents[start : start + options.batch_size]
                response = await service.documents(batch)
                await self.bind(store, service.embedder, response.dimensions)
                entries = entries_of(batch, response)
                if writing is not None:
                    await writing
                writing = asyncio.create_task(self._write(store, batch, entries, response.vectors, scope))
                ids += [document.id for document in entries]
        finally:
            if writing is not None:
                await writing
        return IndexerResponse(ids=ids)

    async def _write(
        self, store: VectorStore, batch: Sequence[Document], entries: Sequence[Document], vectors: Vectors, scope: Scope
    ) -> None:
        if entries is batch:
            await store.upsert(entries, vectors, namespace=scope.namespace)
        else:
            await _to_the_end(self._replace(store, batch, entries, vectors, scope))

    async def _replace(
        self, store: VectorStore, batch: Sequence[Document], entries: Sequence[Document], vectors: Vectors, scope: Scope
    ) -> None:
        space = scope.namespace
        if scope.filter is not None:  # the ids of entries are others than those that were looked at
            refuse_foreign(scope, entries, await store.get([entry.id for entry in entries], namespace=space))
        await store.upsert(entries, vectors, namespace=space)
        ids = [document.id for document in batch]
        # A document that had several vectors may leave entries behind; one that had a single vector leaves its own id.
        stale = sorted({*ids, *await _parts(store, ids, space)} - {entry.id for entry in entries})
        if stale and scope.filter is not None:
            there = await store.get(stale, namespace=space)
            stale = [id_ for id_, document in zip(stale, there, strict=True) if scope.sees(document)]
        if stale:
            await store.delete(ids=stale, namespace=space)

    async def delete(self, request: DeleteRequest, ctx: ActionContext) -> DeleteResponse:
        """Delete documents by id, filter or source."""
        given = [name for name in ("ids", "filter", "source") if getattr(request, name) is not None]
        if len(given) != 1:
            raise GenkitError(
                "INVALID_ARGUMENT",
                f"A deletion takes one of `ids`, `filter` and `source`, got {', '.join(given) or 'none'}.",
                hint="To delete everything in a namespace pass an empty filter: {}.",
            )
        check_names("namespace", [request.namespace])
        check_names("ids", request.ids or ())
        store = await self.store()
        if request.ids is not None:
            scope = self.access.scope(ctx, request.namespace)
            ids = [*request.ids, *await _parts(store, request.ids, scope.namespace)]
            if scope.filter is not None:
                there = await store.get(ids, namespace=scope.namespace)
                ids = [id_ for id_, document in zip(ids, there, strict=True) if scope.sees(document)]
            return DeleteResponse(deleted=await store.delete(ids=ids, namespace=scope.namespace))
        tree: Filter | None = (
            Compare("source", "$eq", request.source) if request.source is not None else parse_filter(request.filter)
        )
        scope = self.access.scope(ctx, request.namespace, tree)
        return DeleteResponse(deleted=await store.delete(filter=scope.filter or And(()), namespace=scope.namespace))

    # -- reading without a query

    async def fetch(
        self,
        *,
        ids: Sequence[str] | None = None,
        filter: Filter | None = None,
        namespace: str = DEFAULT_NAMESPACE,
        ctx: ActionContext,
    ) -> list[Document]:
        """Return the visible documents with these ids, or all that match the filter, oldest first.

        With ids, in their order; those that are not there, or not to be seen, are left out.
        """
        check_names("namespace", [namespace])
        check_names("ids", ids or ())
        store = await self.store()
        scope = self.access.scope(ctx, namespace, filter)
        if ids is None:
            ids = await store.ids(filter=scope.filter, namespace=scope.namespace)
            scope = self.access.scope(ctx, namespace)  # the store looked at the filter; what it hides is asked again
        found = await store.get(ids, namespace=scope.namespace)
        return [document for document in found if document is not None and scope.sees(document)]

    def scope(self, ctx: ActionContext, namespace: str, filter: Filter | None) -> Scope:
        """Return the part of the store that a call may access."""
        return Scope(namespace, filter) if self.access.open else self.access.scope(ctx, namespace, filter)


async def _to_the_end(steps: Coroutine[Any, Any, None]) -> None:
    """Run steps to completion even if the caller is cancelled; raise the cancellation afterwards."""
    task = asyncio.create_task(steps)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def entries_of(documents: Sequence[Document], response: EmbedResponse) -> Sequence[Document]:
    """Return one document for each vector; several vectors become `<id>#0`, `<id>#1`, with the metadata `parent`."""
    if response.owners is None:
        return documents
    entries: list[Document] = []
    counts: dict[int, int] = {}
    notes: Sequence[Any] = response.metadata or [None] * len(response)
    several = len(set(response.owners)) != len(response)
    for owner, note in zip(response.owners, notes, strict=True):
        number = counts[owner] = counts.get(owner, -1) + 1
        document = documents[owner]
        copy = document.copy(id=f"{document.id}#{number}" if several else document.id)
        if several:
            copy.metadata["parent"] = document.id
        if note:
            copy.metadata["embedMetadata"] = dict(note)
        entries.append(copy)
    return entries


async def _parts(store: VectorStore, ids: Sequence[str], namespace: str) -> list[str]:
    """Return the ids of the entries of documents with several vectors."""
    first = await store.get([f"{id_}#0" for id_ in ids], namespace=namespace)
    owners = [
        id_ for id_, entry in zip(ids, first, strict=True) if entry is not None and entry.metadata.get("parent") == id_
    ]
    if not owners:
        return []
    return await store.ids(filter=Compare("parent", "$in", tuple(owners)), namespace=namespace)
