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
        """The index and its namespace, under which ingested sources are remembered."""
        ...

    async def index(self, documents: list[Document]) -> None:
        """Embeds and stores documents, replacing those with the same ids; returning means that they are durable."""
        ...

    async def refresh(self, documents: list[Document]) -> None:
        """Replace the metadata of documents in the store; their text and vectors are kept."""
        ...

    async def existing(self, ids: list[str]) -> set[str]:
        """Return those of the ids that are in the store."""
        ...

    async def delete_ids(self, ids: list[str]) -> None:
        """Delete documents by id; unknown ids are ignored."""
        ...


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """How to ingest.

    Attributes:
        splitter: The splitter; `Splitters` has one for each kind of text.
        loaders: The loaders of files.
        base: The folder for relative source names; None for the working directory.
        state_dir: The folder of the manifest, relative to `base`.
        name: The name of the manifest file; None to derive it from the sink's target. One ingestion at a time can use
            it.
        batch_size: Chunks in one call of the index.
        concurrency: Concurrent calls of the index.
        prune: Whether removed sources are deleted from the index. None: those below given folders and patterns, unless
            no file is found at all. True: even then, and also documents that were not given again.
        near_duplicates: Hold back chunks whose word shingles have at least this Jaccard similarity (0.7 to 1) to an
            indexed chunk, until that one is deleted. None embeds all chunks.
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
        """Return the name of the manifest file: the given one, or the target with `-` for other characters."""
        return self.name or re.sub(r"[^\w.]+", "-", target).strip(".-") or "default"
