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
        """Returns a document that shares nothing that can be changed."""
        metadata = self.metadata
        if isinstance(metadata, str):
            metadata = cast("dict[str, Any]", from_json(metadata))
        content: str | list[Part] = self.content
        if self.kind == PARTS:
            content = [Part.model_validate(part) for part in from_json(self.content)]
        return Document(content, metadata, id=self.id, score=score)


def encode(documents: Sequence[Document], first_seq: int, namespace: str) -> tuple[list[Row], int]:
    """Returns the rows of documents, which were checked, and the sum of their key checksums."""
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
    """Returns the payload of a row; raises DATA_LOSS when its checksum does not hold."""
    check_row(row)
    _, _, name, kind, content, metadata, _ = row
    parsed = cast("dict[str, Any]", from_json(metadata))
    flat = not any(isinstance(value, dict | list) for value in parsed.values())
    return Payload(name, kind, content, parsed if flat else metadata)


def check_row(row: Row) -> None:
    """Raises DATA_LOSS when the row's checksum does not hold."""
    seq, namespace, name, kind, content, metadata, crc = row
    try:
        blob = f"\0{kind}\0{content}\0{metadata}".encode()
        found = zlib.crc32(blob, key_crc(seq, namespace, name))
    except (UnicodeEncodeError, TypeError):
        found = -1
    if found != crc:
        raise damaged(f"the row {seq} (document {name!r}) does not match its checksum")


def key_crc(seq: int, namespace: str, name: str) -> int:
    """Returns the checksum of what identifies a row; the sum of all of them stands in the table `meta`."""
    return zlib.crc32(f"{seq}\0{namespace}\0{name}".encode())


def vector_crc(seq: int, data: bytes | memoryview) -> int:
    """Returns the checksum of a vector in its row."""
    return zlib.crc32(data, seq & 0xFFFFFFFF)


def check_vector(seq: int, data: object, crc: object) -> None:
    """Raises DATA_LOSS when the vector's checksum does not hold."""
    if not isinstance(data, bytes) or vector_crc(seq, data) != crc:
        raise damaged(f"the vector {seq} does not match its checksum")


def metadata_of(row: Row) -> dict[str, Any]:
    """Returns the metadata of a row, checked."""
    check_row(row)
    return cast("dict[str, Any]", from_json(row[5]))


def text_of(row: Row) -> str:
    """Returns the text of a row, checked: what a search by words sees."""
    check_row(row)
    if row[3] == TEXT:
        return row[4]
    return "".join(part.get("text") or "" for part in from_json(row[4]))


def damaged(what: str) -> GenkitError:
    """Returns the DATA_LOSS error for damaged data."""
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
