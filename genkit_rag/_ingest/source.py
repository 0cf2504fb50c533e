"""The sources of an ingestion: files, and documents of the caller."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

from genkit_rag._documents.document import Document
from genkit_rag._ingest.discover import Found
from genkit_rag._ingest.events import Event
from genkit_rag._ingest.loaders import Loaders
from genkit_rag._ingest.manifest.claims import SourceKind
from genkit_rag._ingest.section import Section
from genkit_rag._ingest.splitters.chunking import document_section

_RACY_NS = 2_000_000_000


class Source(Protocol):
    """A name, a cheap way to see that nothing changed, and the text.

    Attributes:
        name: Its name in the index.
        size: Bytes, 0 where unknown.
        mtime_ns: Its modification time; 0 when it proves nothing.
        settings: How it is loaded.
    """

    name: str
    kind: SourceKind
    size: int
    mtime_ns: int
    settings: str

    def digest(self) -> str:
        """Return a hash of the content."""
        ...

    def sections(self, note: Callable[[str], None]) -> Iterator[Section]:
        """Yield the text in sections."""
        ...

    def is_steady(self) -> bool:
        """Return whether the content is still that of the digest."""
        ...


class FileSource:
    """A file."""

    def __init__(self, found: Found, loaders: Loaders) -> None:
        self.name = found.name
        self.kind: SourceKind = "file"
        self.size = found.size
        # A file changed a moment ago may change again within its clock's tick: then its time proves nothing.
        self.mtime_ns = found.mtime_ns if time.time_ns() - found.mtime_ns > _RACY_NS else 0
        self.settings = loaders.settings(found.path)
        self._found = found
        self._loaders = loaders

    def digest(self) -> str:
        """Return the hash of the file's bytes."""
        with self._found.path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()

    def sections(self, note: Callable[[str], None]) -> Iterator[Section]:
        """Yield the sections of the loader."""
        return self._loaders.load(self._found.path, note)

    def is_steady(self) -> bool:
        """Return whether size and time are unchanged since the file was found."""
        status = self._found.path.stat()
        return (status.st_size, status.st_mtime_ns) == (self._found.size, self._found.mtime_ns)


class DocumentSource:
    """Documents of one source."""

    def __init__(self, name: str, documents: list[Document]) -> None:
        self.name = name
        self.kind: SourceKind = "document"
        self.mtime_ns = 0
        self.settings = ""
        self.size = sum(len(document.text) for document in documents)
        self._documents = documents

    def digest(self) -> str:
        """Return the hash of the documents' hashes."""
        joined = " ".join(document.content_hash for document in self._documents)
        return hashlib.blake2b(joined.encode(), digest_size=16).hexdigest()

    def sections(self, note: Callable[[str], None]) -> Iterator[Section]:
        """Yield each document's text."""
        return (document_section(document) for document in self._documents)

    def is_steady(self) -> bool:
        """Return True: the documents are in memory."""
        return True


@dataclass(frozen=True, slots=True)
class UnreadableSource:
    """A source that exists but cannot be read now: its indexed chunks are kept.

    Attributes:
        name: The `metadata["source"]` of its documents.
        reason: The reason, for the report.
    """

    name: str
    reason: str


Given = Document | UnreadableSource
"""The items of a stream of documents."""


def grouped(documents: Iterable[Given]) -> Iterator[DocumentSource | UnreadableSource]:
    """Yield one source for each run of documents with the same `metadata['source']`, otherwise for each document."""
    for (name, _), group in groupby(documents, _source_name):
        items = list(group)
        unreadable = [item for item in items if isinstance(item, UnreadableSource)]
        if unreadable:
            yield unreadable[0]
        else:
            yield DocumentSource(name, [item for item in items if isinstance(item, Document)])


def _source_name(item: Given) -> tuple[str, bool]:
    if isinstance(item, UnreadableSource):
        return item.name, True
    return str(item.metadata.get("source") or item.id), False


class Pulled:
    """An asynchronous iterable as a plain iterator, for a worker thread; its items are made on the event loop."""

    def __init__(self, documents: AsyncIterable[Given]) -> None:
        self.is_gone: Callable[[str], bool] = getattr(documents, "is_gone", lambda _: True)
        """Whether a missing source was removed; a stream that may end early, such as a crawl, decides."""
        self.take_events: Callable[[], Iterable[Event]] = getattr(documents, "take_events", tuple)
        """Returns events about sources that are not in the stream."""
        self._iterator: AsyncIterator[Given] = aiter(documents)
        self._loop = asyncio.get_running_loop()
        self._pending: Future[Given | None] | None = None
        self._stopped = False

    def __iter__(self) -> Iterator[Given]:
        while not self._stopped:
            self._pending = asyncio.run_coroutine_threadsafe(self._next(), self._loop)
            if self._stopped:  # between the two lines above
                self._pending.cancel()
            document = self._pending.result()
            if document is None:
                return
            yield document

    async def _next(self) -> Given | None:
        return await anext(self._iterator, None)

    def stop(self) -> None:
        """End a wait for the next document, from the event loop."""
        self._stopped = True
        if self._pending is not None:
            self._pending.cancel()
