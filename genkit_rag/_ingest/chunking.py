"""Makes documents of chunks: metadata, and ids that outlive changes elsewhere in the source."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from genkit_rag._blocks.document import Document
from genkit_rag._ingest.section import Section, UnreadableFile

if TYPE_CHECKING:
    from genkit_rag._ingest.splitter import Splitter

_MAX_PREFIX = 200
"""Stores bound the length of ids; a longer name of a source is hashed within them."""


class ChunkMaker:
    """Turns the sections of one source into chunk documents."""

    def __init__(self, splitter: Splitter, source: str) -> None:
        self._splitter = splitter
        self._source = source
        self._number = 0
        self._seen: Counter[bytes] = Counter()

    def documents(self, section: Section) -> Iterator[Document]:
        """Yields the documents of a section.

        A section with a key stands for itself: its chunks are numbered, and told apart, within it. So memory does not
        grow with the rows of a table, and a new row changes nothing of the others.
        """
        seen = Counter[bytes]() if section.key else self._seen
        number = 0 if section.key else self._number
        for chunk in self._splitter.chunks(section.text, markdown=section.markdown):
            digest = _digest(section.key, chunk.text, 0)
            repeated = seen[digest]
            seen[digest] += 1
            if repeated:
                digest = _digest(section.key, chunk.text, repeated)
            metadata: dict[str, Any] = {
                **section.metadata, "source": self._source, "chunk": number, "start": chunk.start, "end": chunk.end,
            }  # fmt: skip
            if chunk.heading_path:
                metadata["heading_path"] = list(chunk.heading_path)
            yield Document(chunk.text, metadata, id=f"{self._prefix(section)}#{digest.hex()}")
            number += 1
        if not section.key:
            self._number = number

    def _prefix(self, section: Section) -> str:
        prefix = self._source if section.row_id is None else f"{self._source}#{section.row_id}"
        return prefix if len(prefix) <= _MAX_PREFIX else hashlib.blake2b(_bytes(prefix), digest_size=16).hexdigest()


def document_section(document: Document) -> Section:
    """Returns a document as a section; raises UnreadableFile for one that is not text."""
    if not document.is_text:
        raise UnreadableFile("only text is split: index documents with media directly")
    markdown = document.metadata.get("content_type") == "text/markdown"
    return Section(document.text, document.metadata, markdown=markdown)


def metadata_hash(document: Document) -> bytes:
    """Returns a hash of the metadata of a chunk."""
    return hashlib.blake2b(_bytes(json.dumps(document.metadata, sort_keys=True, default=str)), digest_size=8).digest()


def _digest(key: str, text: str, repeated: int) -> bytes:
    return hashlib.blake2b(_bytes(f"{key}\0{text}\0{repeated}"), digest_size=10).digest()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
