"""A sink that counts, and a folder of files to ingest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genkit_rag import Document
from genkit_rag.ingest import IngestOptions, IngestReport, Loaders, Section, ingest


class MemorySink:
    """An index in memory that counts what it was asked to embed, and can fail or wait at its n-th call."""

    def __init__(self, target: str = "memory") -> None:
        self.target = target
        self.documents: dict[str, Document] = {}
        self.embedded: list[str] = []
        self.refreshed: list[str] = []
        self.deleted: list[str] = []
        self.calls = 0
        self.fail_at: int | None = None
        self.before_index: Callable[[], Any] | None = None

    async def index(self, documents: list[Document]) -> None:
        self.calls += 1
        if self.before_index is not None:
            await self.before_index()
        if self.calls == self.fail_at:
            raise RuntimeError("the embedder is down")
        assert len({document.id for document in documents}) == len(documents)
        for document in documents:
            self.documents[document.id] = document
            self.embedded.append(document.text)

    async def refresh(self, documents: list[Document]) -> None:
        for document in documents:
            assert self.documents[document.id].text == document.text
            self.documents[document.id] = document
            self.refreshed.append(document.text)

    async def existing(self, ids: list[str]) -> set[str]:
        return {id for id in ids if id in self.documents}

    async def delete_ids(self, ids: list[str]) -> None:
        for id in ids:
            self.documents.pop(id, None)
            self.deleted.append(id)

    def texts(self, source: str | None = None) -> list[str]:
        found = [doc for doc in self.documents.values() if source in (None, doc.metadata["source"])]
        return [doc.text for doc in sorted(found, key=lambda doc: (doc.metadata["source"], doc.metadata["start"]))]

    def sources(self) -> set[str]:
        return {doc.metadata["source"] for doc in self.documents.values()}


class Corpus:
    """A folder with an index over it."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.folder = base / "docs"
        self.folder.mkdir()
        self.sink = MemorySink()

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    async def ingest(
        self, paths: Any = "docs", *, sink: Any = None, progress: Any = None, **options: Any
    ) -> IngestReport:
        documents = options.pop("documents", None)
        return await ingest(
            paths,
            sink=sink or self.sink,
            documents=documents,
            progress=progress,
            options=IngestOptions(base=self.base, **{"name": "default", **options}),
        )


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return Corpus(tmp_path)


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., tuple[list[Section], list[str]]]:
    """Writes a file and returns its sections and notes."""

    def load(name: str, content: str | bytes, loaders: Loaders | None = None) -> tuple[list[Section], list[str]]:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        notes: list[str] = []
        return list((loaders or Loaders()).load(path, notes.append)), notes

    return load
