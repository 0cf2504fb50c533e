"""The requests and answers of the manifest about sources and chunks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from genkit_rag._documents.document import Document
from genkit_rag._ingest.near_duplicates.records import Original
from genkit_rag._ingest.near_duplicates.similarity import Sketch

SourceKind = Literal["file", "document"]
ClaimState = Literal["new", "known", "same", "repeated", "twin"]
"""Of a chunk: not seen before; seen; seen with the same metadata; given twice in this run; held back for another."""


@dataclass(frozen=True, slots=True)
class State:
    """A source as it was indexed. `hash` is empty until it was indexed completely once."""

    size: int = 0
    mtime_ns: int = 0
    hash: str = ""
    settings: str = ""
    chunks: int = 0


@dataclass(frozen=True, slots=True)
class Claim:
    """A chunk to be written, with its source; document and sketch are set if near-duplicates are checked."""

    source: str
    id: str
    metadata: bytes
    document: Document | None = None
    sketch: Sketch | None = None


@dataclass(frozen=True, slots=True)
class Claimed:
    """The decision about a chunk. `original` is the indexed near-duplicate for which it is held back."""

    state: ClaimState
    original: Original | None = None
