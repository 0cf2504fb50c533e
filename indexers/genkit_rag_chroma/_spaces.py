"""The namespaces of a store: found, read consistently, and written by one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from genkit_rag.plugin_api import Fingerprint, GenkitError, fingerprint_mismatch
from genkit_rag_chroma._batches import recover
from genkit_rag_chroma._catalog import Catalog, Head
from genkit_rag_chroma._engine import Engine, Gone, Moved
from genkit_rag_chroma._space import Space

_T = TypeVar("_T")

ATTEMPTS = 3
"""How often a read disturbed by a writer is repeated before it locks writers out."""
PAUSE_SECONDS = 0.02


class _Again(Exception):
    """The read did not see one moment."""


class Spaces:
    """Gives namespaces to read and to write.

    Attributes:
        bound: The embedder that this object was bound to; the store may have been given another one meanwhile.
    """

    def __init__(self, engine: Engine, catalog: Catalog, store: str) -> None:
        self.engine = engine
        self.catalog = catalog
        self.bound: Fingerprint | None = None
        self._store = store
        self._head: Head | None = None
        self._collections: dict[str, Any] = {}

    def moved(self, head: Head | None) -> None:
        """Apply new catalog content."""
        if self._head is None or head is None or head.generation != self._head.generation:
            self._collections.clear()
        self._head = head

    # -- reading

    async def read(self, namespace: str, work: Callable[[Space], Awaitable[_T]], nothing: _T) -> _T:
        """Run work on a consistent snapshot of a namespace; return `nothing` if it does not exist."""
        for attempt in range(ATTEMPTS):
            try:
                return await self._attempt(namespace, work, nothing)
            except _Again:
                await asyncio.sleep(PAUSE_SECONDS * attempt)
        try:
            async with self.engine.writing():
                return await self._attempt(namespace, work, nothing)
        except _Again as error:
            raise GenkitError(
                "ABORTED",
                f"The store `{self._store}` changes faster than it can be read ({error.__cause__}).",
                hint="Try again.",
            ) from error

    async def _attempt(self, namespace: str, work: Callable[[Space], Awaitable[_T]], nothing: _T) -> _T:
        space = await self._space(namespace)
        if space is None:
            return nothing
        try:
            result = await work(space)
        except (Gone, Moved) as error:
            self._collections.clear()
            raise _Again from error
        if not await self._unchanged(space):
            raise _Again
        return result

    async def _space(self, namespace: str) -> Space | None:
        head = self._head
        if head is None:
            head = await self._current()
        while head is not None:
            try:
                return Space(self.engine, await self._collection(head, namespace))
            except Gone:
                current = await self._current()
                if current is None or current.generation == head.generation:
                    return None
                head = current
        return None

    async def _current(self) -> Head | None:
        head = await self.catalog.load()
        if head is not None and self.bound is not None and head.fingerprint != self.bound:
            raise fingerprint_mismatch(self._store, head.fingerprint, self.bound)
        self.moved(head)
        return head

    async def _collection(self, head: Head, namespace: str) -> Any:
        if not self.engine.shared:
            return await self.catalog.collection(head.generation, namespace)
        # A server's clients write each batch in one call, so there is no state to check: ask once.
        name = self.catalog.name_of(head.generation, namespace)
        if name not in self._collections:
            self._collections[name] = await self.catalog.collection(head.generation, namespace)
        return self._collections[name]

    async def _unchanged(self, space: Space) -> bool:
        if self.engine.shared:
            return True
        try:
            now = await self.catalog.named(space.collection.name)
        except Gone:
            return False
        return bool(now.id == space.collection.id and now.metadata == space.collection.metadata)

    # -- writing

    @asynccontextmanager
    async def writing(self, namespace: str, *, make: bool) -> AsyncGenerator[Space | None, None]:
        """Open a namespace for writing, None if it does not exist and is not to be created.

        A write during a re-embedding counts only if it happened before the last step; otherwise leaving the context
        raises.
        """
        bound = self.bound  # before waiting: vectors made for it must not follow a change of the embedder
        async with self.engine.writing():
            head = await self.catalog.settled(bound)
            self.moved(head)
            try:
                yield await self._writable(head, namespace, make=make)
            except Gone as error:
                await self.catalog.settled(bound)
                raise self._replaced() from error
            if self.engine.shared and (await self.catalog.settled(bound)).generation != head.generation:
                raise self._replaced()

    def _replaced(self) -> GenkitError:
        return GenkitError(
            "ABORTED",
            f"The vectors of the store `{self._store}` were replaced while it was written.",
            hint="Write again.",
        )

    async def _writable(self, head: Head, namespace: str, *, make: bool) -> Space | None:
        try:
            collection = await (self.catalog.made if make else self.catalog.collection)(head.generation, namespace)
        except Gone:
            return None
        space = Space(self.engine, collection)
        if space.state.hidden is not None:
            self._collections.clear()
            await recover(space)
        return space
