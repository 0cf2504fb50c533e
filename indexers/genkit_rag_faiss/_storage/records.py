"""Documents to rows and back: checked on the way in, checksummed on both."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias, cast

from pydantic_core import from_json, to_json

from genkit_rag.plugin_api import Document, GenkitError, Part

TEXT, PARTS = 0, 1
"""What `content` holds: the text itself, or the parts as JSON."""

Row: TypeAlias = tuple[int, str, str, int, str, str, int]
"""`(seq, namespace, id, kind, content, metadata, crc)`: a row of the table `doc`."""


class Payload(NamedTuple):
    """A row as it is kept in memory. `metadata` is parsed once when it is flat, else at every use."""

    id: str
    kind: int
    content: str
    metadata: dict[str, Any] | str

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return 400 + len(self.content) + (len(self.metadata) if isinstance(self.metadata, str) else 100)

    def document(self, score: float | None = None) -> Document:
        """Create a document that shares no mutable state."""
        metadata = self.metadata
        if isinstance(metadata, str):
            metadata = cast("dict[str, Any]", from_json(metadata))
        content: str | list[Part] = self.content
        if self.kind == PARTS:
            content = [Part.model_validate(part) for part in from_json(self.content)]
        return Document(content, metadata, id=self.id, score=score)


def encode(documents: Sequence[Document], first_seq: int, namespace: str) -> tuple[list[Row], int]:
    """Encode validated documents to rows; also return the sum of their key checksums."""
    rows: list[Row] = []
    digest = 0
    for seq, document in enumerate(documents, first_seq):
        name = document.id
        kind, content = _content(document)
        metadata = to_json(document.metadata).decode()
        key = key_crc(seq, namespace, name)
        crc = zlib.crc32(f"\0{kind}\0{content}\0{metadata}".encode(), key)
        rows.append((seq, namespace, name, kind, content, metadata, crc))
        digest += key
    return rows, digest


def decode(row: Row) -> Payload:
    """Decode a row to its payload; DATA_LOSS if its checksum does not match."""
    check_row(row)
    _, _, name, kind, content, metadata, _ = row
    parsed = cast("dict[str, Any]", from_json(metadata))
    flat = not any(isinstance(value, dict | list) for value in parsed.values())
    return Payload(name, kind, content, parsed if flat else metadata)


def check_row(row: Row) -> None:
    """Raise DATA_LOSS if the row's checksum does not match."""
    seq, namespace, name, kind, content, metadata, crc = row
    try:
        blob = f"\0{kind}\0{content}\0{metadata}".encode()
        found = zlib.crc32(blob, key_crc(seq, namespace, name))
    except (UnicodeEncodeError, TypeError):
        found = -1
    if found != crc:
        raise damaged(f"the row {seq} (document {name!r}) does not match its checksum")


def key_crc(seq: int, namespace: str, name: str) -> int:
    """Return the checksum of a row's key; the table `meta` has the sum of all of them."""
    return zlib.crc32(f"{seq}\0{namespace}\0{name}".encode())


def vector_crc(seq: int, data: bytes | memoryview) -> int:
    """Return the checksum of a vector in its row."""
    return zlib.crc32(data, seq & 0xFFFFFFFF)


def check_vector(seq: int, data: object, crc: object) -> None:
    """Raise DATA_LOSS if the vector's checksum does not match."""
    if not isinstance(data, bytes) or vector_crc(seq, data) != crc:
        raise damaged(f"the vector {seq} does not match its checksum")


def metadata_of(row: Row) -> dict[str, Any]:
    """Return the checked metadata of a row."""
    check_row(row)
    return cast("dict[str, Any]", from_json(row[5]))


def text_of(row: Row) -> str:
    """Return the checked text of a row, as the text index sees it."""
    check_row(row)
    if row[3] == TEXT:
        return row[4]
    return "".join(part.get("text") or "" for part in from_json(row[4]))


def damaged(what: str) -> GenkitError:
    """Create the DATA_LOSS error for damaged data."""
    return GenkitError(
        "DATA_LOSS",
        f"The store is damaged: {what}.",
        hint="Restore it from a backup, or save the rest into a new store with `genkit-rag store salvage`. "
        "`await store.verify()` lists what is damaged.",
    )


def _content(document: Document) -> tuple[int, str]:
    if document.is_text:
        text = document.plain_text
        if text is not None:
            return TEXT, text
    return PARTS, to_json([part.to_wire() for part in document.content]).decode()
