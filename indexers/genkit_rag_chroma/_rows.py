"""Documents as Chroma's rows and back.

A row's metadata hold the document as JSON beside its facts; its `document`, which Chroma finds by substrings, holds the
folded words. A row's id is the document's behind a slot: a batch that replaces documents writes into the other slot.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from genkit_rag.plugin_api import Document, GenkitError, Part, Vectors
from genkit_rag_chroma._facts import facts_of
from genkit_rag_chroma._where import FACTS
from genkit_rag_chroma._words import folded

JSON, BATCH, GONE = "json", "batch", "gone"
"""The other metadata keys: the document; the batch that wrote the row; the batch that replaces it."""
SLOTS = ("0", "1")


@dataclass(slots=True)
class Rows:
    """Rows to be written: `ids` are without their slots."""

    ids: list[str]
    metadatas: list[dict[str, Any]]
    words: list[str]
    vectors: Vectors

    def __len__(self) -> int:
        return len(self.ids)


def row_id(document_id: str) -> str:
    """Encode a document's id for Chroma; a slot appended to it makes the row's id."""
    try:
        document_id.encode()
    except UnicodeEncodeError:
        return "~" + document_id.encode("utf-8", "surrogatepass").hex()
    return "=" + document_id


def document_id(row: str) -> str:
    """Return the id of the document in a row."""
    return row[2:] if row[1] == "=" else bytes.fromhex(row[2:]).decode("utf-8", "surrogatepass")


def encoded(documents: Sequence[Document], vectors: Vectors, batch: str) -> Rows:
    """Encode documents to rows; INVALID_ARGUMENT names a document that cannot be stored exactly."""
    metadatas: list[dict[str, Any]] = []
    for document in documents:
        blob, metadata = _json(document)
        facts, numbers = facts_of(metadata)
        metadatas.append({JSON: blob, BATCH: batch, FACTS: facts, **numbers})
    return Rows(
        [row_id(document.id) for document in documents],
        metadatas,
        [folded(document.text) for document in documents],
        normalized(documents, vectors),
    )


def decoded(row: str, metadata: Mapping[str, Any]) -> Document:
    """Decode a row to a document that the caller owns."""
    content, facts = json.loads(metadata[JSON])
    if not isinstance(content, str):
        content = [Part.model_validate(part) for part in content]
    return Document(content, facts, id=document_id(row))


def metadata_of(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document's metadata from a row's."""
    return cast("dict[str, Any]", json.loads(metadata[JSON])[1])


def normalized(documents: Sequence[Document], vectors: Vectors) -> Vectors:
    """Return unit vectors; INVALID_ARGUMENT for a zero vector."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not norms.all():
        raise _refused(
            documents[int(np.flatnonzero(norms[:, 0] == 0)[0])],
            "has a zero vector: it has no direction",
            "Check what the embedder makes of its text.",
        )
    return cast(Vectors, vectors / norms)


def _json(document: Document) -> tuple[str, dict[str, Any]]:
    text = document.plain_text
    content: Any = [part.to_wire() for part in document.content] if text is None else text
    hint = "Metadata is JSON: strings, finite numbers, booleans, None, lists and objects with strings as keys."
    try:
        blob = json.dumps([content, document.metadata], allow_nan=False)  # ASCII: lone surrogates come back
        metadata = json.loads(blob)[1]
    except (TypeError, ValueError, RecursionError) as error:
        raise _refused(document, f"has metadata that is not JSON ({error})", hint) from error
    if metadata != document.metadata and metadata != _listed(document.metadata):
        raise _refused(document, "has metadata that JSON would change", hint)
    return blob, metadata


def _listed(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_listed(item) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        entries: dict[Any, Any] = value
        return {key: _listed(item) for key, item in entries.items()}
    return value


def _refused(document: Document, problem: str, hint: str) -> GenkitError:
    return GenkitError(
        "INVALID_ARGUMENT",
        f"The document {document.id!r} {problem}.",
        hint=hint,
        details={"argument": "documents", "id": document.id},
    )
