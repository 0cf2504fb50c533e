"""What the framework derives from a store: its indexer, its retriever and the deletion of documents."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from genkit_rag._blocks.document import Document
from genkit_rag._blocks.embedding import EmbedderAction, EmbedResponse
from genkit_rag._blocks.embedding_service import EmbeddingService, service_of
from genkit_rag._blocks.filters import And, Compare, Filter, parse_filter
from genkit_rag._blocks.fusion import fuse
from genkit_rag._blocks.mmr import mmr_order
from genkit_rag._blocks.options import IndexerOptions, RetrieverOptions, retriever_options
from genkit_rag._blocks.retrieval import (
    EMPTY_QUERY,
    IndexerResponse,
    RetrieverRequest,
    RetrieverResponse,
    indexer_action,
    make_retriever,
)
from genkit_rag._blocks.vector_store import DEFAULT_NAMESPACE, Fingerprint, Hit, SearchMode, Vectors, VectorStore
from genkit_rag._blocks.wire import WireModel
from genkit_rag._core.action import Action, ActionKind
from genkit_rag._core.context import ActionContext
from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._core.plugin import Plugin

HYBRID_CANDIDATES = 150
"""How many candidates each leg of a hybrid search looks at, unless the options say otherwise."""

VECTOR_WEIGHT = 0.5
"""The share of the vector ranking in convex fusion."""


class DeleteRequest(WireModel):
    """Which documents go: by id, by filter, or all that came from a source."""

    ids: list[str] | None = None
    filter: dict[str, Any] | None = None
    source: str | None = None
    namespace: str = DEFAULT_NAMESPACE


class DeleteResponse(WireModel):
    """How many documents were there and are gone."""

    deleted: int


class StoreHandle:
    """A store that opens at its first use, with the embedder that fills it.

    Args:
        plugin: The plugin that owns it; its registry is where the embedder is found.
        name: The name of its actions, `<plugin>/<store>`.
        open_store: Gives the store; called once, when first needed.
        embedder: The name of the embedder action.
        mode: The search mode when a call names none.
    """

    def __init__(
        self, plugin: Plugin, name: str, open_store: Callable[[], Awaitable[VectorStore]], *, embedder: str,
        mode: SearchMode = "vector",
    ) -> None:  # fmt: skip
        self.plugin = plugin
        self.name = name
        self.embedder_name = embedder
        self.mode: SearchMode = mode
        self._open = open_store
        self._store: VectorStore | None = None
        self._opening: concurrent.futures.Future[VectorStore | None] | None = None
        self._lock = threading.Lock()
        self._service: EmbeddingService | None = None
        self._bound: Fingerprint | None = None

    async def store(self) -> VectorStore:
        """Returns the store, opening it when this is the first call."""
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
        """Closes the store if it was opened."""
        opening, self._store, self._opening, self._bound = self._opening, None, None, None
        if opening is None:
            return
        try:
            store = await asyncio.wrap_future(opening)
        except Exception:  # whoever asked for it got the error
            return
        if store is not None:
            await store.close()

    async def service(self) -> EmbeddingService:
        """Returns the service of the store's embedder; NOT_FOUND names the embedders that there are."""
        if self._service is None:
            action = await self.plugin.registry.get(ActionKind.EMBEDDER, self.embedder_name)
            if not isinstance(action, EmbedderAction):
                raise GenkitError(
                    "FAILED_PRECONDITION",
                    f"`{action.key}` was not made with `embedder_action` or `@ai.embedder`.",
                    hint="Make it with one of them: a store must know the fingerprint of its vectors.",
                )
            self._service = service_of(action)
        return self._service

    async def bind(self, store: VectorStore, embedder: EmbedderAction, dimensions: int) -> None:
        """Ties the store to the embedder, or checks that it is tied to this one."""
        if self._bound is None or self._bound.dimensions != dimensions:
            fingerprint = embedder.fingerprint(dimensions)
            await store.bind(fingerprint)
            self._bound = fingerprint

    # -- indexing

    async def index(self, documents: Sequence[Document], options: IndexerOptions) -> IndexerResponse:
        """Returns the ids of the documents, now embedded and durable; each batch is written at once or not at all.

        While one batch is written the next one is embedded.
        """
        store, service = await self.store(), await self.service()
        ids: list[str] = []
        writing: asyncio.Task[None] | None = None
        try:
            for start in range(0, len(documents), options.batch_size):
                batch = documents[start : start + options.batch_size]
                response = await service.documents(batch)
                await self.bind(store, service.embedder, response.dimensions)
                entries = _entries(batch, response)
                if writing is not None:
                    await writing
                writing = asyncio.create_task(store.upsert(entries, response.vectors, namespace=options.namespace))
                ids += [document.id for document in entries]
        finally:
            if writing is not None:
                await writing
        return IndexerResponse(ids=ids)

    async def delete(self, request: DeleteRequest) -> DeleteResponse:
        """Returns how many documents were there and are gone."""
        given = [name for name in ("ids", "filter", "source") if getattr(request, name) is not None]
        if len(given) != 1:
            raise GenkitError(
                "INVALID_ARGUMENT",
                f"A deletion takes one of `ids`, `filter` and `source`, got {', '.join(given) or 'none'}.",
                hint="To delete everything in a namespace pass an empty filter: {}.",
            )
        store = await self.store()
        if request.ids is not None:
            return DeleteResponse(deleted=await store.delete(ids=request.ids, namespace=request.namespace))
        tree: Filter | None = (
            Compare("source", "$eq", request.source) if request.source is not None else parse_filter(request.filter)
        )
        return DeleteResponse(deleted=await store.delete(filter=tree or And(()), namespace=request.namespace))

    # -- retrieving

    async def retrieve(self, request: RetrieverRequest, ctx: ActionContext) -> RetrieverResponse:
        """Returns the documents for a query."""
        options = retriever_options(request.options)
        tree = None if options.filter is None else parse_filter(options.filter)
        if options.k == 0:
            return RetrieverResponse()
        query = request.query
        if not query.data.strip():
            return RetrieverResponse(notices=[EMPTY_QUERY])
        store = self._store or await self.store()
        mode = options.mode or self.mode
        if mode not in store.modes:
            raise GenkitError(
                "UNIMPLEMENTED",
                f"The store `{self.name}` has no mode {mode!r}.",
                hint=f"It has {', '.join(store.modes)}.",
                details={"argument": "options.mode"},
            )
        if mode == "hybrid":
            hits, scores = await self._hybrid(store, query, options, tree)
        elif mode == "text":
            if options.mmr_lambda is not None:
                raise _no_mmr("text")
            hits = await store.search_text(query.text, options.k, filter=tree, namespace=options.namespace)
            scores = None
        elif options.mmr_lambda is not None:
            hits, scores = await self._diverse(store, query, options, tree), None
        else:
            vector = await self._query_vector(store, query)
            found = await store.search(vector[None, :], options.k, filter=tree, namespace=options.namespace)
            hits, scores = found[0], None
        return self._response(hits, options, scores)

    async def _query_vector(self, store: VectorStore, query: Document) -> Vectors:
        service = self._service or await self.service()
        vector = await service.query(query)
        if self._bound is None or self._bound.dimensions != vector.shape[0]:
            await self.bind(store, service.embedder, int(vector.shape[0]))
        return vector

    async def _diverse(
        self, store: VectorStore, query: Document, options: RetrieverOptions, tree: Filter | None
    ) -> list[Hit]:
        """Maximal marginal relevance over more candidates than wanted."""
        import numpy as np

        assert options.mmr_lambda is not None
        vector = await self._query_vector(store, query)
        candidates = max(options.candidates or 4 * options.k, options.k)
        hits = (
            await store.search(vector[None, :], candidates, filter=tree, namespace=options.namespace, payload=False)
        )[0]
        vectors = await store.vectors([hit.id for hit in hits], namespace=options.namespace)
        pairs = [(hit, row) for hit, row in zip(hits, vectors, strict=True) if row is not None]
        if not pairs:
            return []
        order = mmr_order(vector, np.stack([row for _, row in pairs]), options.k, options.mmr_lambda)
        return await self._with_payload(store, [pairs[position][0] for position in order], options.namespace)

    async def _hybrid(
        self, store: VectorStore, query: Document, options: RetrieverOptions, tree: Filter | None
    ) -> tuple[list[Hit], dict[str, dict[str, float]]]:
        """Both legs at once, fused; also returns each leg's scores by id."""
        if options.mmr_lambda is not None:
            raise _no_mmr("hybrid")
        vector = await self._query_vector(store, query)
        many = max(options.candidates or HYBRID_CANDIDATES, options.k)
        by_vector, by_text = await asyncio.gather(
            store.search(vector[None, :], many, filter=tree, namespace=options.namespace, payload=False),
            store.search_text(query.text, many, filter=tree, namespace=options.namespace, payload=False),
        )
        legs = {
            "vector": [(hit.id, hit.score) for hit in by_vector[0]],
            "text": [(hit.id, hit.score) for hit in by_text],
        }
        weight = VECTOR_WEIGHT if options.vector_weight is None else options.vector_weight
        method = options.fusion or "convex"
        # Reciprocal ranks are unweighted by definition, unless somebody asks for weights.
        weights = {"vector": weight, "text": 1 - weight}
        if method == "rrf" and options.vector_weight is None:
            weights = {}
        fused = fuse(legs, method=method, weights=weights, floors={"text": 0.0})[: options.k]
        scores: dict[str, dict[str, float]] = {}
        for name, leg in legs.items():
            for id_, score in leg:
                scores.setdefault(id_, {})[name] = score
        hits = [Hit(id_, score) for id_, score in fused]
        return await self._with_payload(store, hits, options.namespace), scores

    async def _with_payload(self, store: VectorStore, hits: list[Hit], namespace: str) -> list[Hit]:
        """Fetches the documents of the hits; those deleted in the meantime fall out."""
        documents = await store.get([hit.id for hit in hits], namespace=namespace)
        return [
            Hit(hit.id, hit.score, document)
            for hit, document in zip(hits, documents, strict=True)
            if document is not None
        ]

    def _response(
        self, hits: list[Hit], options: RetrieverOptions, scores: dict[str, dict[str, float]] | None
    ) -> RetrieverResponse:
        response = RetrieverResponse()
        for hit in hits:
            document = hit.document
            if document is None or (options.score_threshold is not None and hit.score < options.score_threshold):
                continue
            document.score = hit.score
            document.rank = len(response)
            document.retriever = self.name
            if scores is not None:
                document.scores = scores.get(hit.id)
            response.append(document)
        return response


class StorePlugin(Plugin):
    """A plugin that owns stores: for each it registers an indexer and a retriever over one store object.

    A subclass overrides `open_store`, and `knows` when stores that were not named can be found.

    Args:
        stores: The names of its stores; `docs` gives `/indexer/<plugin>/docs` and `/retriever/<plugin>/docs`.
        name: The plugin's name.
        embedder: The name of the embedder action that all its stores use.
        mode: The search mode when a call names none.
    """

    def __init__(self, stores: Sequence[str], *, name: str, embedder: str, mode: SearchMode = "vector") -> None:
        self.name = name
        self.embedder = embedder
        self.mode: SearchMode = mode
        self._handles: dict[str, StoreHandle] = {}
        if isinstance(stores, str):
            raise invalid("stores", stores, "must be a list of names", hint=f"Write [{stores!r}].")
        for store in stores:
            self.handle(store)

    async def open_store(self, store: str) -> VectorStore:
        """Returns the store of this name, opened; called once for each, when first needed."""
        raise NotImplementedError

    def knows(self, store: str) -> bool:
        """Returns whether a store that was not named exists; then it is found by its name all the same."""
        return False

    def handle(self, store: str) -> StoreHandle:
        """Returns the handle of a store, made when it is not there yet."""
        found = self._handles.get(store)
        if found is None:
            found = self._handles[store] = StoreHandle(
                self, f"{self.name}/{store}", lambda: self.open_store(store), embedder=self.embedder, mode=self.mode
            )
        return found

    async def init(self) -> Sequence[Action[Any, Any, Any]]:
        """Returns the actions of the named stores; opens none of them."""
        return [action for handle in self._handles.values() for action in store_actions(handle)]

    async def resolve(self, kind: str, name: str) -> Action[Any, Any, Any] | None:
        """Returns an action of a store that was not named but exists."""
        store = name.split("/")[1] if "/" in name else ""
        if not store or not self.knows(store):
            return None
        actions = store_actions(self.handle(store))
        return next((action for action in actions if (action.kind, action.name) == (kind, name)), None)

    async def close(self) -> None:
        """Closes the stores that were opened; the first error is raised after all were closed."""
        results = await asyncio.gather(*(handle.close() for handle in self._handles.values()), return_exceptions=True)
        for result in results:
            if result is not None:
                raise result


def store_actions(handle: StoreHandle) -> list[Action[Any, Any, Any]]:
    """Returns the actions of a store: its indexer, its retriever, and `/util/<name>/delete`."""

    async def index(documents: list[Document], options: IndexerOptions) -> IndexerResponse:
        return await handle.index(documents, options)

    async def delete(request: DeleteRequest, ctx: ActionContext) -> DeleteResponse:
        return await handle.delete(request)

    return [
        indexer_action(handle.name, index),
        make_retriever(handle.name, handle.retrieve, options_type=RetrieverOptions, metadata={"store": handle.name}),
        Action(
            ActionKind.UTIL, f"{handle.name}/delete", delete, input_type=DeleteRequest, output_type=DeleteResponse,
            description=f"Deletes documents of {handle.name} by id, filter or source.",
        ),
    ]  # fmt: skip


def _no_mmr(mode: SearchMode) -> GenkitError:
    return GenkitError(
        "UNIMPLEMENTED",
        f"`mmr_lambda` does not go with mode={mode!r}.",
        hint="Use mode='vector', or rerank the result with `mmr`.",
        details={"argument": "options.mmr_lambda"},
    )


def _entries(documents: Sequence[Document], response: EmbedResponse) -> Sequence[Document]:
    """Returns one document for each vector: one with several vectors becomes several, told apart by their ids."""
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
        if note:
            copy.metadata["embedMetadata"] = dict(note)
        entries.append(copy)
    return entries
