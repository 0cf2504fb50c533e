"""Feeds embedders: documents in batches, concurrent queries joined into one call, and a bounded cache of queries."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from genkit_rag._core.errors import GenkitError
from genkit_rag._documents.document import Document
from genkit_rag._rag.embedding import Batching, EmbedderAction, EmbedRequest, EmbedResponse
from genkit_rag._rag.options import EmbedderOptions
from genkit_rag._rag.vector_store import Vectors

QUERY_CACHE = 2048
"""Query vectors that are kept for an embedder (3 MB at 384 dimensions)."""

_QUERY = EmbedderOptions(task="query")


def service_of(embedder: EmbedderAction) -> EmbeddingService:
    """Return the service of an embedder; all callers of one embedder share its batches and its cache."""
    if embedder.service is None:
        embedder.service = EmbeddingService(embedder)
    service: EmbeddingService = embedder.service
    return service


class EmbeddingService:
    """Embeds documents in batches and queries together.

    Queries that arrive in the same turn of the event loop, or while the model is busy, share one call: a model
    embeds 32 short texts for little more than one. A query that is alone waits for one turn of the loop only.
    """

    def __init__(self, embedder: EmbedderAction, *, query_cache: int = QUERY_CACHE) -> None:
        self.embedder = embedder
        self.query_cache = query_cache
        self._cache: OrderedDict[str, Vectors] = OrderedDict()
        self._queues: WeakKeyDictionary[asyncio.AbstractEventLoop, _Queue] = WeakKeyDictionary()

    async def documents(self, documents: Sequence[Document]) -> EmbedResponse:
        """Embed documents in batches of the embedder's size, in order."""
        batches = _batches(documents, self.embedder.batching)
        if len(batches) == 1:
            return await self.embedder(EmbedRequest(input=batches[0]))
        gate = asyncio.Semaphore(self.embedder.batching.concurrency)

        async def one(batch: list[Document]) -> EmbedResponse:
            async with gate:
                return await self.embedder(EmbedRequest(input=batch))

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(batch)) for batch in batches]
        except ExceptionGroup as failed:
            first = failed.exceptions[0]
            raise first from first.__cause__  # the same error as from a single batch
        return _joined([task.result() for task in tasks], [len(batch) for batch in batches])

    async def query(self, query: Document) -> Vectors:
        """Return the read-only vector of a query, shape `(dimensions,)`."""
        if not query.is_text:
            return _single(self.embedder, await self.embedder(EmbedRequest(input=[query], options=_QUERY)))
        text = query.text
        cached = self._cache.pop(text, None)
        if cached is not None:
            self._cache[text] = cached  # the last one used is the last one to go
            return cached
        loop = asyncio.get_running_loop()
        queue = self._queues.get(loop)
        if queue is None:
            queue = self._queues[loop] = _Queue(self.embedder, self._remember)
        return await queue.vector(text)

    def _remember(self, text: str, vector: Vectors) -> None:
        if self.query_cache:
            self._cache[text] = vector
            if len(self._cache) > self.query_cache:
                self._cache.popitem(last=False)


class _Queue:
    """The queries of one event loop: each text that waits for a call, with those who wait for it."""

    def __init__(self, embedder: EmbedderAction, remember: Callable[[str, Vectors], None]) -> None:
        self.embedder = embedder
        self._remember = remember
        self._waiting: dict[str, list[asyncio.Future[Vectors]]] = {}
        self._running = 0
        self._draining = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def vector(self, text: str) -> Vectors:
        if not self._waiting and not self._draining and self._running < self.embedder.batching.concurrency:
            self._waiting[text] = []
            try:
                await asyncio.sleep(0)  # whoever comes in the same turn of the loop joins
            except BaseException:
                if not self._waiting.get(text, True):
                    del self._waiting[text]
                raise
            if self._waiting == {text: []}:
                return await self._alone(text)
        future: asyncio.Future[Vectors] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(text, []).append(future)
        self._drain_soon()
        return await future

    async def _alone(self, text: str) -> Vectors:
        """Embeds in the caller's own task: no other one waits for it."""
        del self._waiting[text]
        self._running += 1
        try:
            return (await self._embed([text]))[0]
        finally:
            self._ended()

    def _drain_soon(self) -> None:
        if not self._draining:
            self._draining = True
            asyncio.get_running_loop().call_soon(self._drain)

    def _drain(self) -> None:
        """Send waiting requests if the embedder has capacity; otherwise the next call that ends sends them."""
        self._draining = False
        limits = self.embedder.batching
        while self._waiting and self._running < limits.concurrency:
            texts = list(self._waiting)[: limits.max_texts]
            waiters = [self._waiting.pop(text) for text in texts]
            self._running += 1
            task = asyncio.ensure_future(self._run(texts, waiters))
            self._tasks.add(task)  # the loop itself holds tasks weakly
            task.add_done_callback(self._tasks.discard)

    async def _run(self, texts: list[str], waiters: list[list[asyncio.Future[Vectors]]]) -> None:
        try:
            for vector, futures in zip(await self._embed(texts), waiters, strict=True):
                for future in futures:
                    if not future.done():
                        future.set_result(vector)
        except BaseException as error:
            _fail([future for futures in waiters for future in futures], error)
            if not isinstance(error, Exception):
                raise
        finally:
            self._ended()

    def _ended(self) -> None:
        self._running -= 1
        if self._waiting:
            self._drain_soon()

    async def _embed(self, texts: list[str]) -> list[Vectors]:
        request = EmbedRequest(input=[Document(text) for text in texts], options=_QUERY)
        response = await self.embedder(request)
        if response.owners is not None:
            raise _several(self.embedder)
        vectors: list[Vectors] = []
        for text, row in zip(texts, response.vectors, strict=True):
            vector = row.copy()  # a row would keep the whole batch alive
            vector.setflags(write=False)
            self._remember(text, vector)
            vectors.append(vector)
        return vectors


def _fail(futures: list[asyncio.Future[Vectors]], error: BaseException) -> None:
    for future in futures:
        if future.done():
            continue
        if isinstance(error, Exception):
            future.set_exception(error)
            future.exception()  # its caller may be gone: no «never retrieved» warning then
        else:
            future.cancel()


def _batches(documents: Sequence[Document], limits: Batching) -> list[list[Document]]:
    """Split the documents into batches within both limits; a longer document gets its own batch."""
    batches: list[list[Document]] = [[]]
    characters = 0
    for document in documents:
        size = len(document.data)
        full = len(batches[-1]) >= limits.max_texts or characters + size > limits.max_characters
        if batches[-1] and full:
            batches.append([])
            characters = 0
        batches[-1].append(document)
        characters += size
    return batches


def _joined(responses: list[EmbedResponse], counts: list[int]) -> EmbedResponse:
    import numpy as np

    vectors = np.concatenate([response.vectors for response in responses])
    if all(response.owners is None and response.metadata is None for response in responses):
        return EmbedResponse(vectors)
    owners: list[int] = []
    notes: list[Any] = []
    offset = 0
    for response, count in zip(responses, counts, strict=True):
        owners += [offset + owner for owner in response.owners or range(count)]
        notes += response.metadata or [None] * len(response)
        offset += count
    return EmbedResponse(vectors, owners, notes)


def _single(embedder: EmbedderAction, response: EmbedResponse) -> Vectors:
    if len(response) != 1:
        raise _several(embedder)
    vector: Vectors = response.vectors[0]
    return vector


def _several(embedder: EmbedderAction) -> GenkitError:
    return GenkitError(
        "INVALID_ARGUMENT",
        f"The embedder `{embedder.name}` gives several vectors for this query.",
        hint="Use a query with one part, or an embedder with one vector for each text.",
    )
