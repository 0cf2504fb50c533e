"""Keeps an index in step with its sources."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterable, Awaitable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TypeVar

from genkit_rag._blocks.document import Document
from genkit_rag._core.errors import invalid
from genkit_rag._core.threads import run_in_thread
from genkit_rag._ingest.discover import Roots
from genkit_rag._ingest.events import (
    ChunksDone,
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
from genkit_rag._ingest.manifest import Manifest, SourceKind, State
from genkit_rag._ingest.prepare import Batch, Ended, Item, Preparer, Unchanged
from genkit_rag._ingest.sink import IngestOptions, Sink
from genkit_rag._ingest.source import FileSource, Pulled, Source, grouped

T = TypeVar("T")


async def ingest(
    paths: str | Path | Iterable[str | Path] = (),
    *,
    sink: Sink,
    documents: Iterable[Document] | AsyncIterable[Document] | None = None,
    options: IngestOptions | None = None,
    progress: Progress | None = None,
) -> IngestReport:
    """Returns what was done to bring the index in step with files and documents.

    Unchanged sources cost no loading and no embedding, of changed ones only the chunks that are new are embedded, and
    what is gone is deleted. It may be stopped anywhere, even killed: run it again and it goes on. A source that cannot
    be read is reported and its chunks stay as they were.

    Args:
        paths: Files, folders and glob patterns.
        sink: The index.
        documents: Documents of yours; those with the same `metadata['source']`, one after another, are one source.
        options: How.
        progress: Called with each event.

    Raises:
        GenkitError: NOT_FOUND for a path that does not exist; FAILED_PRECONDITION while another ingestion runs.
        IngestStopped: The index failed; it has the report until then.
    """
    options = options or IngestOptions()
    roots = await run_in_thread(Roots.parse, paths, options.base or Path())
    if documents is None and not (roots.files or roots.folders or roots.globs):
        raise invalid("paths", paths, "must name a file, a folder or a pattern", hint="Or give `documents`.")
    path = roots.base / options.state_dir / f"{options.state_name(sink.target)}.db"
    manifest = await run_in_thread(Manifest, path, sink.target, discard=options.dry_run)
    try:
        pulled = Pulled(documents) if isinstance(documents, AsyncIterable) else documents
        return await _Run(sink, manifest, options, progress).ingest(roots, pulled)
    finally:
        await run_in_thread(manifest.close)


class _Run:
    def __init__(self, sink: Sink, manifest: Manifest, options: IngestOptions, progress: Progress | None) -> None:
        self.sink = sink
        self.manifest = manifest
        self.options = options
        self.progress = progress
        self.report = IngestReport(dry_run=options.dry_run)
        self.preparer = Preparer(manifest, options.splitter, sink.embedder, options.batch_size)
        self.redo: list[Source] = []
        self.found = 0
        self.pulled: Pulled | None = None

    async def ingest(self, roots: Roots, documents: Iterable[Document] | None) -> IngestReport:
        started = time.monotonic()
        if self.progress is not None:
            self.emit(await run_in_thread(self.totals, roots) if documents is None else Started(None, None))
        self.pulled = documents if isinstance(documents, Pulled) else None
        await self.feed(chain(self.files(roots), self.given(documents)), force=False)
        if self.redo:
            await self.feed(self.redo, force=True)
        await self.prune(roots, documents is not None)
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

    def files(self, roots: Roots) -> Iterator[Source]:
        def problem(name: str, reason: str) -> None:
            if self.manifest.see(name):  # it is there, so what was indexed of it stays
                self.preparer.events.append(SourceDone(name, "failed", reason=reason))

        for found in roots.files_found(problem):
            self.found += 1
            if self.options.loaders.find(found.path) is None:
                self.preparer.events.append(SourceDone(found.name, "skipped", reason=no_loader(found.path)))
            elif self.manifest.see(found.name):
                yield FileSource(found, self.options.loaders)

    def given(self, documents: Iterable[Document] | None) -> Iterator[Source]:
        for source in grouped(documents or ()):
            if self.manifest.see(source.name):
                yield source
            else:
                reason = "came twice: give the documents of a source one after another"
                self.preparer.events.append(SourceDone(source.name, "failed", reason=reason))

    # On the event loop.

    async def feed(self, sources: Iterable[Source], *, force: bool) -> None:
        """Pulls batches while earlier ones are being indexed; batches end in their order."""
        batches = self.preparer.batches(sources, force=force)
        running: deque[tuple[Batch, asyncio.Task[ChunksDone]]] = deque()
        pull = asyncio.ensure_future(run_in_thread(next, batches, None))
        try:
            while (batch := await asyncio.shield(pull)) is not None:
                pull = asyncio.ensure_future(run_in_thread(next, batches, None))
                running.append((batch, asyncio.create_task(self.index(batch.items))))
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

    async def index(self, items: Sequence[Item]) -> ChunksDone:
        """Brings a batch of chunks into the index."""
        if not items:
            return ChunksDone()
        claims = [item.claim for item in items]
        kinds: dict[str, SourceKind] = {item.source.name: item.source.kind for item in items}
        states = await run_in_thread(self.manifest.claim, claims, kinds)
        wanted = [(item, state) for item, state in zip(items, states, strict=True) if state != "duplicate"]
        held = await self.call(self.sink.existing([item.claim.id for item, _ in wanted]))
        new = [item.document for item, _ in wanted if item.again or item.claim.id not in held]
        moved = [
            item.document for item, state in wanted
            if not item.again and item.claim.id in held and state != "same"
        ]  # fmt: skip
        if not self.options.dry_run:
            if new:
                await self.call(self.sink.index(new))
            if moved:
                await self.call(self.sink.refresh(moved))
        await run_in_thread(self.manifest.settle, claims)
        return ChunksDone(embedded=len(new), kept=len(wanted) - len(new))

    async def finish(self, batch: Batch, task: asyncio.Task[ChunksDone]) -> None:
        """Closes the sources that end with a batch, once everything of them is in the index."""
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
        """Takes back what this run added of a source, so that the index has what it had before."""
        await self.delete(ended.source.name, stale=False)
        await run_in_thread(self.manifest.abandon, ended.source.name)
        self.emit(SourceDone(ended.source.name, "failed", bytes=ended.source.size, reason=ended.failure))

    async def delete(self, name: str, *, stale: bool) -> int:
        """Deletes chunks of a source: those that it no longer has, or those that this run has added."""
        deleted = 0
        while ids := await run_in_thread(self.manifest.stale if stale else self.manifest.fresh, name):
            if not self.options.dry_run:
                await self.call(self.sink.delete_ids(ids))
            await run_in_thread(self.manifest.forget, name, ids)
            deleted += len(ids)
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
                await self.remove(name)

    async def remove(self, name: str) -> None:
        deleted = await self.delete(name, stale=True)
        await run_in_thread(self.manifest.drop, name)
        self.emit(SourceDone(name, "removed", deleted))

    async def call(self, work: Awaitable[T]) -> T:
        """Returns what the index gives; its failure ends the run."""
        try:
            return await work
        except Exception as error:
            raise IngestStopped(error, self.report) from error
