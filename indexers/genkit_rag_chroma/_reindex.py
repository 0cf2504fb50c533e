"""Another embedder's vectors for a whole store: built beside, then put in place by one write to the catalog.

A row keeps its id and the batch that wrote it, so that comparing both shows which rows were written or deleted since
they were copied, and lets a change that was killed go on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from genkit_rag.plugin_api import Embed, Fingerprint, GenkitError, run_in_thread
from genkit_rag_chroma._batches import add, recover, remove
from genkit_rag_chroma._catalog import FREEZE_SECONDS, Catalog, Head, new_id
from genkit_rag_chroma._engine import Engine
from genkit_rag_chroma._rows import BATCH, decoded, encoded
from genkit_rag_chroma._space import Space

PASSES = 3
"""The number of passes over concurrent writes before writers must wait for the rest."""
MARGIN_SECONDS = FREEZE_SECONDS / 2
"""How much of the time that writers wait must be left at the end, for clocks that differ."""


@dataclass
class Reindex:
    """One change of a store's embedder.

    Attributes:
        engine: The database.
        catalog: The store's.
        fingerprint: The other embedder's.
        embed: Gives its vectors.
        batch_size: How many documents it is given at a time.
        placed: Called when the new vectors are in place, before the old ones go.
    """

    engine: Engine
    catalog: Catalog
    fingerprint: Fingerprint
    embed: Embed
    batch_size: int
    placed: Callable[[Head], None]

    async def run(self) -> Head:
        """Re-embed all documents, swap the vectors and return the new catalog content."""
        head = await self._begin()
        if not head.next:
            return head
        for _ in range(PASSES):
            if not await self._copy(head):
                break
        async with self.engine.writing():
            head = await self._put_in_place(head)
            self.placed(head)
            return await finished(self.catalog, head)

    async def _begin(self) -> Head:
        async with self.engine.writing():
            head = await self.catalog.load()
            if head is None:
                return await self.catalog.create(self.fingerprint)
            if head.next and head.next_fingerprint == self.fingerprint:
                return head  # it was begun before: it goes on
            if head.next:
                await self.catalog.drop(head.next)
            head = replace(head, next=new_id(), next_fingerprint=self.fingerprint)
            await self.catalog.save(head)
            return head

    async def _put_in_place(self, head: Head) -> Head:
        """Copy the rest while writers wait, and change the catalog."""
        try:
            until = 0.0
            while time.time() > until - MARGIN_SECONDS:
                head = await self._current(head)
                until = time.time() + FREEZE_SECONDS
                await self.catalog.save(replace(head, frozen_until=until))
                await self._copy(head, settle=True)
            await self._current(head)
        except BaseException:
            await self.catalog.save(replace(await self.catalog.load() or head, frozen_until=0.0))
            raise
        head = Head(self.fingerprint, head.next, previous=head.generation)
        await self.catalog.save(head)
        return head

    async def _current(self, head: Head) -> Head:
        """Return the catalog content; raise if another re-embedding has taken over."""
        now = await self.catalog.load()
        if now is None or (now.generation, now.next) != (head.generation, head.next):
            raise GenkitError(
                "ABORTED", "Another process has begun to change the embedder of the same store.", hint="Let it finish."
            )
        return now

    # -- copying

    async def _copy(self, head: Head, *, settle: bool = False) -> int:
        """Bring the next generation in step with the current one; return the number of written or deleted rows."""
        changed = 0
        for namespace, collection in (await self.catalog.collections(head.generation)).items():
            source = Space(self.engine, collection)
            if settle:
                await recover(source)
            target = Space(self.engine, await self.catalog.made(head.next, namespace))
            changed += await self._copy_space(source, target)
        return changed

    async def _copy_space(self, source: Space, target: Space) -> int:
        done = {row: data[BATCH] async for row, data in target.fetch(await target.ids(), "metadatas")}
        there = await source.ids()
        changed = 0
        waiting: list[tuple[str, Any]] = []
        async for row, metadata in source.fetch(there, "metadatas"):
            if done.get(row) == metadata[BATCH]:
                continue
            waiting.append((row, metadata))
            if len(waiting) == self.batch_size:
                changed += await self._write(target, waiting)
                waiting = []
        changed += await self._write(target, waiting)
        left = list(done.keys() - set(there))
        await remove(target, left)
        return changed + len(left)

    async def _write(self, target: Space, pairs: list[tuple[str, Any]]) -> int:
        if not pairs:
            return 0
        documents = [decoded(row, metadata) for row, metadata in pairs]
        rows = await run_in_thread(encoded, documents, await self.embed(documents), "")
        for metadata, (_, original) in zip(rows.metadatas, pairs, strict=True):
            metadata[BATCH] = original[BATCH]
        for start in range(0, len(rows), self.engine.slice_rows):
            await add(target, rows, [row for row, _ in pairs], start, start + self.engine.slice_rows)
        return len(pairs)


async def finished(catalog: Catalog, head: Head) -> Head:
    """Delete the replaced vectors and return the catalog content."""
    if not head.previous:
        return head
    await catalog.drop(head.previous)
    head = replace(head, previous="")
    await catalog.save(head)
    return head
