"""The half of the pipeline that runs in a worker thread: decide, load, split, and hand over batches."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace

from genkit_rag._core.errors import GenkitError
from genkit_rag._documents.document import Document
from genkit_rag._ingest.events import Event, Note
from genkit_rag._ingest.manifest.claims import Claim, State
from genkit_rag._ingest.manifest.manifest import Manifest
from genkit_rag._ingest.near_duplicates.similarity import sketch
from genkit_rag._ingest.section import UnreadableFile
from genkit_rag._ingest.source import Source
from genkit_rag._ingest.splitters.chunk import TextSplitter
from genkit_rag._ingest.splitters.chunking import ChunkMaker, metadata_hash

_MANY = 500
_BREATH_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Item:
    """A chunk of a source, with its claim in the manifest."""

    source: Source
    claim: Claim
    document: Document


@dataclass(frozen=True, slots=True)
class Ended:
    """A source whose last chunk is in this batch or an earlier one; `failure` says why it ended early."""

    source: Source
    known: bool
    state: State
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Unchanged:
    """An unchanged source; the index is checked for the samples, in case it was emptied."""

    source: Source
    state: State
    samples: list[str]
    restat: bool


@dataclass(slots=True)
class Batch:
    """A part of the stream, in its order."""

    items: list[Item] = field(default_factory=list[Item])
    ended: list[Ended] = field(default_factory=list[Ended])
    unchanged: list[Unchanged] = field(default_factory=list[Unchanged])
    events: list[Event] = field(default_factory=list[Event])


class Preparer:
    """Turns sources into batches of chunks; pulled, so that it never runs ahead of who pulls."""

    def __init__(self, manifest: Manifest, splitter: TextSplitter, batch_size: int) -> None:
        self._manifest = manifest
        self._splitter = splitter
        self._size = batch_size
        self._batch = Batch()
        self.events: list[Event] = []
        """What came up on the way; it goes out with the next batch."""

    def batches(self, sources: Iterable[Source | None], *, force: bool = False) -> Generator[Batch]:
        """Yield full batches, and sometimes an empty one for progress and cancellation.

        Args:
            sources: What to ingest; None where there is nothing but events.
            force: Load sources although they are unchanged.
        """
        last = time.monotonic()
        for source in sources:
            for _ in (None,) if source is None else self._prepare(source, force):
                full = len(self._batch.items) >= self._size or len(self._batch.ended) >= _MANY
                many = max(len(self._batch.unchanged), len(self.events)) >= _MANY
                if full or many or time.monotonic() - last > _BREATH_SECONDS:
                    yield self._take(full)
                    last = time.monotonic()
        yield self._take(True)

    def _take(self, full: bool) -> Batch:
        """Return the batch; unless it is full, hold its chunks back for larger embedding batches."""
        taken, self._batch = self._batch, Batch()
        if not full:
            self._batch.items, taken.items = taken.items, self._batch.items
            self._batch.ended, taken.ended = taken.ended, self._batch.ended
        taken.events, self.events = self.events, []
        return taken

    def _prepare(self, source: Source, force: bool) -> Iterator[None]:
        known = self._manifest.state(source.name)
        try:
            digest = "" if force else self._check(source, known)
            if digest is not None:
                yield from self._load(source, known, digest or source.digest())
        except Exception as error:
            # One file's trouble, whatever it is: loaders and their libraries may raise anything.
            self._batch.ended.append(Ended(source, bool(known and known.hash), State(), _reason(error)))
        yield

    def _check(self, source: Source, known: State | None) -> str | None:
        """Return None after recording an unchanged source, otherwise its hash or an empty string."""
        if known is None or not known.hash:
            return ""
        if known.settings != self._settings(source):
            return ""
        if source.mtime_ns and (known.size, known.mtime_ns) == (source.size, source.mtime_ns):
            self._keep(source, known, restat=False)
            return None
        digest = source.digest()
        if digest != known.hash:
            return digest
        self._keep(source, self._state(source, digest, known.chunks), restat=bool(source.mtime_ns))
        return None

    def _keep(self, source: Source, state: State, *, restat: bool) -> None:
        samples = self._manifest.samples(source.name)
        self._batch.unchanged.append(Unchanged(source, state, samples, restat))

    def _load(self, source: Source, known: State | None, digest: str) -> Iterator[None]:
        maker = ChunkMaker(self._splitter, source.name)
        chunks = 0
        for section in source.sections(lambda text: self.events.append(Note(source.name, text))):
            for document in maker.documents(section):
                self._batch.items.append(Item(source, self._claim(source, document), document))
                chunks += 1
                yield
        if not chunks:
            self.events.append(Note(source.name, "no text in it"))
        if not source.is_steady():
            digest = "it changed while it was read"
        self._batch.ended.append(Ended(source, bool(known and known.hash), self._state(source, digest, chunks)))

    def _claim(self, source: Source, document: Document) -> Claim:
        claim = Claim(source.name, document.id, metadata_hash(document))
        if self._manifest.near_duplicates is None:
            return claim
        return replace(claim, document=document, sketch=sketch(document.text))

    def _state(self, source: Source, digest: str, chunks: int) -> State:
        return State(source.size, source.mtime_ns, digest, self._settings(source), chunks)

    def _settings(self, source: Source) -> str:
        near = self._manifest.near_duplicates
        held_back = "" if near is None else f"; near_duplicates={near:g}"
        return f"{self._splitter.settings}; {source.settings}{held_back}"


def _reason(error: Exception) -> str:
    if isinstance(error, UnreadableFile | ImportError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) if isinstance(error, GenkitError) else f"{type(error).__name__}: {error}"
