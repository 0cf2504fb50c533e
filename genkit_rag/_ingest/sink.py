"""Where chunks go, and how to ingest."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from genkit_rag._core.errors import invalid
from genkit_rag._documents.document import Document
from genkit_rag._ingest.loaders import Loaders
from genkit_rag._ingest.near_duplicates.similarity import LEAST_SIMILARITY
from genkit_rag._ingest.splitters.chunk import TextSplitter
from genkit_rag._ingest.splitters.text import Splitter


class Sink(Protocol):
    """Where chunks go: an embedder and a store. Its methods may be called concurrently."""

    @property
    def target(self) -> str:
        """The index and its namespace; what was ingested is remembered for each."""
        ...

    async def index(self, documents: list[Document]) -> None:
        """Embeds and stores documents, replacing those with the same ids; returning means that they are durable."""
        ...

    async def refresh(self, documents: list[Document]) -> None:
        """Replaces the metadata of documents that are in the store; their text and so their vectors stay."""
        ...

    async def existing(self, ids: list[str]) -> set[str]:
        """Returns those of the ids that are in the store."""
        ...

    async def delete_ids(self, ids: list[str]) -> None:
        """Deletes documents; ids that are not there are no error."""
        ...


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """How to ingest.

    Attributes:
        splitter: How text becomes chunks; `Splitters` takes one for each kind of text.
        loaders: How files become text.
        base: Sources are named relative to it where they lie below it; None for the working directory.
        state_dir: Where what was ingested is remembered, relative to `base`.
        name: The file's name there, by the sink's target when None; one ingestion at a time can use it.
        batch_size: Chunks in one call of the index.
        concurrency: Calls of the index at a time.
        prune: Whether sources that are gone are deleted from the index. None: those below given folders and patterns,
            unless no file at all is found there. True: even then, and documents that were not given again.
        near_duplicates: Chunks are not embedded when their word shingles have at least this Jaccard similarity (0.7
            to 1) to a chunk that is indexed; they come back when that one goes. None embeds all.
        dry_run: Change nothing, and report what would be done.
    """

    splitter: TextSplitter = field(default_factory=Splitter)
    loaders: Loaders = field(default_factory=Loaders)
    base: Path | None = None
    state_dir: Path = Path(".genkit_rag/ingest")
    name: str | None = None
    batch_size: int = 128
    concurrency: int = 2
    prune: bool | None = None
    near_duplicates: float | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        if self.name is not None and not re.fullmatch(r"[\w-][\w.-]*", self.name):
            raise invalid("name", self.name, "must be a file name", hint="Use letters, digits, `-` and `_`.")
        for argument in ("batch_size", "concurrency"):
            if getattr(self, argument) < 1:
                raise invalid(argument, getattr(self, argument), "must be at least 1")

        if self.near_duplicates is not None and not LEAST_SIMILARITY <= self.near_duplicates <= 1:
            raise invalid(
                "near_duplicates",
                self.near_duplicates,
                f"must lie between {LEAST_SIMILARITY} and 1",
                hint="0.9 is common; None embeds near duplicates too.",
            )

    def state_name(self, target: str) -> str:
        """Returns the name of the file: the one given, else the target with `-` for what is no letter or digit."""
        return self.name or re.sub(r"[^\w.]+", "-", target).strip(".-") or "default"
