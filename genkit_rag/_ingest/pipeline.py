"""Keeps an index in step with its sources."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterable, Awaitable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TypeVar

from genkit_rag._core.errors import invalid
from genkit_rag._core.threads import run_in_thread
from genkit_rag._documents.document import Document
from genkit_rag._ingest.discover import Roots
from genkit_rag._ingest.events import (
    ChunksDone,
    Duplicate,
    Event,
    Finished,
    IngestReport,
    IngestStopped,
    Note,
    Progress,
    SourceDone,
    SourceStatus,
    Started,
)
from genkit_rag._ingest.loaders import no_loader
from genkit_rag._ingest.manifest.claims import Claimed, SourceKind, State
from genkit_rag._ingest.manifest.manifest import Manifest
from genkit_rag._ingest.prepare import Batch, Ended, Item, Preparer, Unchanged
from genkit_rag._ingest.sink import IngestOptions, Sink
from genkit_rag._ingest.source import FileSource, Given, Pulled, Source, UnreadableSource, grouped
from genkit_rag._ingest.waiting import LOOP

T = TypeVar("T")


async def ingest(
    paths: str | Path | Iterable[str | Path] = (),
    *,
    sink: Sink,
    documents: Iterable[Given] | AsyncIterable[Given] | None = None,
    options: IngestOptions | None = None,
    progress: Progress | None = None,
) -> IngestReport:
    """Bring the index in step with files and documents.

    Unchanged sources are neither loaded nor embedded, changed ones embed only their new chunks, and removed ones are
    deleted. A run may be stopped or killed at any time: the next one continues. A source that cannot be read is
    reported and keeps its chunks.

    Args:
        paths: Files, folders and glob patterns.
        sink: The index.
        documents: Documents instead of files; consecutive ones with the same `metadata['source']` are one source. An
            `UnreadableSource` is a source that exists but could not be read: it keeps its chunks.
        options: Ingestion options.
        progress: A function that is called with each event.

    Returns:
        A report with counts, failed and skipped sources, and notes about content that was not read.

    Raises:
        GenkitError: NOT_FOUND for a path that does not exist; FAILED_PRECONDITION while another ingestion runs.
        IngestStopped: The index failed; the error has the report up to that point.
    """
    options = options or IngestOptions()
    base = (options.base or Path()).absolute()
    path = base / options.state_dir / f"{options.state_name(sink.target)}.db"
    roots = await run_in_thread(Roots.parse, paths, base, [path.parent])
    if documents is None and not (roots.files or roots.folders or roots.globs):
        raise invalid("paths", paths, "must name a file, a folder or a pattern", hint="Or give `documents`.")
    manifest = await run_in_thread(
        Manifest, path, sink.target, discard=options.dry_run, near_duplicates=options.near_duplicates
    )
    token = LOOP.set(asyncio.get_running_loop())
    try:
        pulled = Pulled(documents) if isinstance(documents, AsyncIterable) else documents
        return await _Run(sink, manifest, options, progress).ingest(roots, pulled)
    finally:
        LOOP.reset(token)
        await run_in_thread(manifest.close)


class _Run:
    def __init__(self, sink: Sink, manifest: Manifest, options: IngestOptions, progress: Progress | None) -> None:
        self.sink = sink
        self.manifest = manifest
        self.options = options
        self.progress = progress
        self.report = IngestReport(dry_run=options.dry_run)
        self.preparer = Preparer(manifest, options.splitter, options.batch_size)
        self.redo: list[Source] = []
        self.found = 0
        self.pulled: Pulled | None = None

    async def ingest(self, roots: Roots, documents: Iterable[Given] | None) -> IngestReport:
        started = time.monotonic()
        if self.progress is not None:
            self.emit(await run_in_thread(self.totals, roots) if documents is None else Started(None, None))
        self.pulled = documents if isinstance(documents, Pulled) else None
        await self.feed(chain(self.files(roots), self.given(documents)), force=False)
        for name in roots.skipped:
            self.emit(Note(name, "left out: it holds a store"))
        if self.redo:
            await self.feed(self.redo, force=True)
        await self.prune(roots, documents is not None)
        await self.bring_back()
        self.report.seconds = time.monotonic() - started
        self.emit(Finished(self.report))
        return self.report

    def emit(self, event: Event) -> None:
        self.report.record(event)
        if self.progress is not None:
            self.progress(event)

    # In the worker thread.

    def totals(self, roots: Roots) -> Started:
        files = size = 0
        for found in roots.files_found(lambda _name, _reason: None):
            if self.options.loaders.find(found.path) is not None:
                files, size = files + 1, size + found.size
        return Started(files, size)

    def files(self, roots: Roots) -> Iterator[Source | None]:
        def problem(name: str, reason: str) -> None:
            if self.manifest.see(name):  # it is there, so what was indexed of it stays
                self.preparer.events.append(SourceDone(name, "failed", reason=reason))

        for found in roots.files_found(problem):
            self.found += 1
            if self.options.loaders.find(found.path) is None:
                self.preparer.events.append(SourceDone(found.name, "skipped", reason=no_loader(found.path)))
                yield None
            elif self.manifest.see(found.name):
                yield FileSource(found, self.options.loaders)

    def given(self, documents: Iterable[Given] | None) -> Iterator[Source | None]:
        for source in grouped(documents or ()):
            self.take_events()
            if not self.manifest.see(source.name):
                reason = "came twice: give the documents of a source one after another"
            elif isinstance(source, UnreadableSource):
                reason = source.reason
            else:
                yield source
                continue
            self.preparer.events.append(SourceDone(source.name, "failed", reason=reason))
            yield None
        self.take_events()

    def take_events(self) -> None:
        if self.pulled is not None:
            self.preparer.events += self.pulled.take_events()

    # On the event loop.

    async def feed(self, sources: Iterable[Source | None], *, force: bool) -> None:
        """Prepare batches while earlier ones are indexed; batches end in order."""
        batches = self.preparer.batches(sources, force=force)
        running: deque[tuple[Batch, asyncio.Task[ChunksDone]]] = deque()
        pull = asyncio.ensure_future(run_in_thread(next, batches, None))
        try:
            while (batch := await asyncio.shield(pull)) is not None:
                pull = asyncio.ensure_future(run_in_thread(next, batches, None))
                # One after another: which of two near duplicates is the first must not depend on a race.
                claimed = await self.claim(batch.items)
                running.append((batch, asyncio.create_task(self.index(batch.items, claimed))))
                while len(running) >= self.options.concurrency or (running and running[0][1].done()):
                    await self.finish(*running.popleft())
            while running:
                await self.finish(*running.popleft())
        finally:
            if self.pulled is not None:
                self.pulled.stop()
            for _, task in running:
                task.cancel()
            # The thread must be done with the manifest before it is closed.
            await asyncio.gather(pull, *(task for _, task in running), return_exceptions=True)
            batches.close()

    async def claim(self, items: Sequence[Item]) -> list[Claimed]:
        kinds: dict[str, SourceKind] = {item.source.name: item.source.kind for item in items}
        return await run_in_thread(self.manifest.claim, [item.claim for item in items], kinds) if items else []

    async def index(self, items: Sequence[Item], claimed: Sequence[Claimed]) -> ChunksDone:
        """Brings a batch of chunks into the index."""
        if not items:
            return ChunksDone()
        wanted = [(item, claim) for item, claim in zip(items, claimed, strict=True) if claim.state != "repeated"]
        held = await self.call(self.sink.existing([item.claim.id for item, _ in wanted]))
        twins = [(item, claim) for item, claim in wanted if claim.original and item.claim.id not in held]
        known = [item.claim for item, claim in wanted if claim.original and item.claim.id in held]
        if known:
            await run_in_thread(self.manifest.adopt, known)
        new = [item.document for item, claim in wanted if item.claim.id not in held and not claim.original]
        moved = [item.document for item, claim in wanted if item.claim.id in held and claim.state != "same"]
        await self.write(new, moved)
        await run_in_thread(self.manifest.settle, [item.claim for item in items])
        duplicates = tuple(
            Duplicate(item.source.name, item.claim.id, claim.original.key.chunk, claim.original.similarity)
            for item, claim in twins
            if claim.original
        )
        return ChunksDone(len(new), len(wanted) - len(new) - len(twins), duplicates=duplicates)

    async def write(self, new: list[Document], moved: list[Document]) -> None:
        if self.options.dry_run:
            return
        if new:
            await self.call(self.sink.index(new))
        if moved:
            await self.call(self.sink.refresh(moved))

    async def finish(self, batch: Batch, task: asyncio.Task[ChunksDone]) -> None:
        """Close the sources that end with a batch, after all of their chunks are indexed."""
        done = await task
        for event in batch.events:
            self.emit(event)
        if done != ChunksDone():
            self.emit(done)
        await self.finish_unchanged(batch.unchanged)
        failed = [ended for ended in batch.ended if ended.failure is not None]
        good = [ended for ended in batch.ended if ended.failure is None]
        if good:
            rows: list[tuple[str, SourceKind, State]] = [
                (ended.source.name, ended.source.kind, ended.state) for ended in good
            ]
            for name in await run_in_thread(self.manifest.with_stale, [name for name, _, _ in rows]):
                await self.delete(name, stale=True)
            await run_in_thread(self.manifest.commit, rows)
        for ended in good:
            status: SourceStatus = "changed" if ended.known else "added"
            self.emit(SourceDone(ended.source.name, status, ended.state.chunks, ended.source.size))
        for ended in failed:
            await self.fail(ended)

    async def finish_unchanged(self, sources: Sequence[Unchanged]) -> None:
        samples = [chunk for source in sources for chunk in source.samples]
        held = await self.call(self.sink.existing(samples)) if samples else set[str]()
        kept = [source for source in sources if held.issuperset(source.samples)]
        self.redo += [source.source for source in sources if not held.issuperset(source.samples)]
        restat: list[tuple[str, SourceKind, State]] = [
            (source.source.name, source.source.kind, source.state) for source in kept if source.restat
        ]
        if restat:
            await run_in_thread(self.manifest.commit, restat)
        for source in kept:
            self.emit(SourceDone(source.source.name, "unchanged", source.state.chunks, source.source.size))

    async def fail(self, ended: Ended) -> None:
        """Delete the chunks that this run added of a failed source, restoring the earlier state."""
        await self.delete(ended.source.name, stale=False)
        await run_in_thread(self.manifest.abandon, ended.source.name)
        self.emit(SourceDone(ended.source.name, "failed", bytes=ended.source.size, reason=ended.failure))

    async def delete(self, name: str, *, stale: bool) -> int:
        """Delete chunks of a source: those that it no longer contains, or those that this run added."""
        deleted = 0
        while ids := await run_in_thread(self.manifest.stale if stale else self.manifest.fresh, name):
            if not self.options.dry_run:
                await self.call(self.sink.delete_ids(ids))
            deleted += await run_in_thread(self.manifest.forget, name, ids)
        if deleted:
            self.emit(ChunksDone(deleted=deleted))
        return deleted

    async def prune(self, roots: Roots, documents: bool) -> None:
        if self.options.prune is False:
            return
        for name in await run_in_thread(lambda: list(self.manifest.unseen("file"))):
            if not roots.is_removed(name):
                continue
            if not self.found and self.options.prune is None:
                where = roots.folders[0] if roots.folders else roots.globs[0].folder
                self.emit(Note(str(where), "no file was found, so nothing was removed (prune=True removes)"))
                break
            await self.remove(name)
        if documents and self.options.prune:
            for name in await run_in_thread(lambda: list(self.manifest.unseen("document"))):
                if self.pulled is None or self.pulled.is_gone(name):
                    await self.remove(name)

    async def remove(self, name: str) -> None:
        deleted = await self.delete(name, stale=True)
        await run_in_thread(self.manifest.drop, name)
        self.emit(SourceDone(name, "removed", deleted))

    async def bring_back(self) -> None:
        """Index near-duplicates whose originals were deleted or never indexed."""
        last = 0
        while doubtful := await run_in_thread(self.manifest.doubtful, last):
            held = await self.call(self.sink.existing([orphan.original for orphan in doubtful]))
            lost = [orphan for orphan in doubtful if orphan.original not in held]
            await run_in_thread(self.manifest.disown, lost)
            last = doubtful[-1].row
        while orphans := await run_in_thread(self.manifest.orphans):
            for start in range(0, len(orphans), self.options.batch_size):
                some = orphans[start : start + self.options.batch_size]
                held = await self.call(self.sink.existing([orphan.document.id for orphan in some]))
                new = [orphan.document for orphan in some if orphan.document.id not in held]
                await self.write(new, [orphan.document for orphan in some if orphan.document.id in held])
                await run_in_thread(self.manifest.release, some)
                self.emit(ChunksDone(embedded=len(new), kept=len(some) - len(new)))

    async def call(self, work: Awaitable[T]) -> T:
        """Await a call of the index; its failure ends the run."""
        try:
            return await work
        except Exception as error:
            raise IngestStopped(error, self.report) from error
