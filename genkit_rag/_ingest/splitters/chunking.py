"""Makes documents of chunks: metadata, and ids that outlive changes elsewhere in the source."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from genkit_rag._documents.document import Document
from genkit_rag._ingest.section import Section, UnreadableFile

if TYPE_CHECKING:
    from genkit_rag._ingest.splitters.chunk import TextSplitter

_MAX_PREFIX = 200
"""Stores bound the length of ids; a longer name of a source is hashed within them."""

_PROGRAM = "text/x-"
"""Content types of programs: `text/x-python`."""


class ChunkMaker:
    """Turns the sections of one source into chunk documents."""

    def __init__(self, splitter: TextSplitter, source: str) -> None:
        self._splitter = splitter
        self._source = source
        self._number = 0
        self._seen = _Seen()

    def documents(self, section: Section) -> Iterator[Document]:
        """Yield the documents of a section.

        A section with a key is independent: its chunks are numbered and identified within it. So memory does not grow
        with the rows of a table, and a new row does not change others.
        """
        seen = _Seen() if section.key else self._seen
        number = 0 if section.key else self._number
        for chunk in self._splitter.chunks(section.text, markdown=section.markdown, language=section.language):
            text = chunk.prefix + chunk.text
            digest = _digest(section.key, text, 0)
            if repeated := seen.add(digest):
                digest = _digest(section.key, text, repeated)
            metadata: dict[str, Any] = {
                **section.metadata,
                "source": self._source,
                "chunk": number,
                "start": section.offset + chunk.start,
                "end": section.offset + chunk.end,
            }
            if chunk.prefix:
                metadata["prefix"] = len(chunk.prefix)
            if chunk.heading_path:
                metadata["heading_path"] = list(chunk.heading_path)
            yield Document(text, metadata, id=f"{self._prefix(section)}#{digest.hex()}")
            number += 1
        if not section.key:
            self._number = number

    def _prefix(self, section: Section) -> str:
        prefix = self._source if section.row_id is None else f"{self._source}#{section.row_id}"
        return prefix if len(prefix) <= _MAX_PREFIX else hashlib.blake2b(_bytes(prefix), digest_size=16).hexdigest()


class _Seen:
    """Counts how often a chunk came before: a text of a gigabyte has a million, nearly all of them once."""

    def __init__(self) -> None:
        self._once: set[int] = set()
        self._again: Counter[int] = Counter()

    def add(self, digest: bytes) -> int:
        """Return how often the digest occurred before."""
        number = int.from_bytes(digest[:7], "big")
        if number not in self._once:
            self._once.add(number)
            return 0
        self._again[number] += 1
        return self._again[number]


def document_section(document: Document) -> Section:
    """Convert a document to a section; UnreadableFile if it is not text."""
    if not document.is_text:
        raise UnreadableFile("only text is split: index documents with media directly")
    content_type = str(document.metadata.get("content_type") or "")
    language = content_type.removeprefix(_PROGRAM) if content_type.startswith(_PROGRAM) else ""
    return Section(document.text, document.metadata, markdown=content_type == "text/markdown", language=language)


def split_document(document: Document, splitter: TextSplitter) -> Iterator[Document]:
    """Yield the chunks of a text document with its metadata and `source`, `chunk`, `start`, `end`, `heading_path`.

    Their ids come from the source and their text, so that a chunk keeps its id when others change. Metadata
    `content_type: text/markdown` makes it Markdown, `text/x-python` a program in Python.
    """
    source = str(document.metadata.get("source") or document.id)
    return ChunkMaker(splitter, source).documents(document_section(document))


def metadata_hash(document: Document) -> bytes:
    """Hash the metadata of a chunk."""
    return hashlib.blake2b(_bytes(json.dumps(document.metadata, sort_keys=True, default=str)), digest_size=8).digest()


def _digest(key: str, text: str, repeated: int) -> bytes:
    return hashlib.blake2b(_bytes(f"{key}\0{text}\0{repeated}"), digest_size=10).digest()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
