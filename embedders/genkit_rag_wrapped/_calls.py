"""The calls of the inner embedder: how much goes into one, when it is made, and what happens when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from genkit_rag.plugin_api import (
    ConcurrencyLimit,
    Document,
    EmbedderAction,
    EmbedderOptions,
    EmbedRequest,
    EmbedResponse,
    GenkitError,
    RateLimiter,
    Vectors,
    run_in_thread,
)
from genkit_rag_wrapped._batching import batches, estimate
from genkit_rag_wrapped._matryoshka import shortened
from genkit_rag_wrapped._options import WrappedConfig
from genkit_rag_wrapped._retry import call_with_retries, retry_after_of

Arrived = Callable[[range, Vectors], Awaitable[None]]
"""Takes the vectors of the documents at these positions."""


class Calls:
    """Calls an embedder within the bounds of a wrap."""

    def __init__(self, wrap: WrappedConfig, inner: EmbedderAction) -> None:
        self._wrap = wrap
        self._inner = inner
        self.max_texts = min(wrap.max_texts or inner.batching.max_texts, inner.batching.max_texts)
        self._gate = None if wrap.max_concurrency is None else ConcurrencyLimit(wrap.max_concurrency)
        self._limits = RateLimiter(wrap.requests_per_minute, wrap.tokens_per_minute)
        self._shortens = wrap.shorten == "model"

    async def make(self, documents: Sequence[Document], options: EmbedderOptions, arrived: Arrived) -> None:
        """Embeds the documents, and hands over the vectors of each call as soon as they are there."""
        sizes = await self._sizes(documents)
        # Without its own limit the wrapper uses the embedder's for each call, so that a query does not wait for
        # documents.
        gate = asyncio.Semaphore(self._inner.batching.concurrency) if self._gate is None else self._gate()

        failed = False

        async def one(positions: range) -> None:
            nonlocal failed
            request = EmbedRequest(input=[documents[at] for at in positions], options=options)
            async with gate:
                if failed:
                    return  # nothing is paid for that nobody gets
                try:
                    vectors = await self._call(request, sum(sizes[at] for at in positions))
                except BaseException:
                    failed = True
                    raise
            await arrived(positions, vectors)

        parts = batches(sizes, self.max_texts, self._wrap.max_tokens)
        # Wait for all running parts and store their vectors before raising the first error.
        ended = await asyncio.gather(*(one(part) for part in parts), return_exceptions=True)
        for result in ended:
            if result is not None:
                raise result

    async def _sizes(self, documents: Sequence[Document]) -> list[int]:
        if not self._wrap.counts:
            return [0] * len(documents)
        count = self._inner.count_tokens or estimate
        return await run_in_thread(lambda: [count(document.text) for document in documents])

    async def _call(self, request: EmbedRequest, tokens: int) -> Vectors:
        seconds = self._wrap.retry_seconds

        async def attempt() -> Vectors:
            await self._limits.wait(tokens)
            try:
                return await self._shortened(request)
            except GenkitError as error:
                if 0 < retry_after_of(error) <= seconds:
                    self._limits.hold(retry_after_of(error))  # the others would only hear the same
                raise

        return await call_with_retries(attempt, retries=self._wrap.retries, seconds=seconds)

    async def _shortened(self, request: EmbedRequest) -> Vectors:
        dimensions = request.options.dimensions
        if dimensions is not None and self._shortens:
            try:
                return shortened(self._in_order(await self._inner(request)), dimensions)
            except GenkitError as error:
                if error.status != "UNIMPLEMENTED":
                    raise
                self._shortens = False
        whole = request.model_copy(update={"options": request.options.model_copy(update={"dimensions": None})})
        return shortened(self._in_order(await self._inner(whole)), dimensions)

    def _in_order(self, response: EmbedResponse) -> Vectors:
        if response.owners is None:
            return response.vectors
        if len(set(response.owners)) != len(response):
            raise GenkitError(
                "UNIMPLEMENTED",
                f"`{self._inner.name}` gives several vectors for a document, and a wrap holds one.",
                hint="Use the embedder without a wrap.",
            )
        vectors: Vectors = response.vectors[sorted(range(len(response)), key=list(response.owners).__getitem__)]
        return vectors
