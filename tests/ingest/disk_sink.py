"""An index on disk that kills its process on request."""

from __future__ import annotations

import os
import signal
import sqlite3
from pathlib import Path

from genkit_rag import Document
from genkit_rag.ingest import Splitter


class DiskSink:
    """A durable index in SQLite that kills its process at a given call."""

    target = "disk"
    embedder = "fake/1"

    def __init__(self, path: Path, kill: str = "", at: int = 0) -> None:
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.execute("CREATE TABLE IF NOT EXISTS doc (id TEXT PRIMARY KEY, text TEXT, source TEXT, start INTEGER)")
        self.db.execute("CREATE TABLE IF NOT EXISTS embedded (id TEXT)")
        self.kill, self.left = kill, at

    def point(self, name: str) -> None:
        if name == self.kill:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    async def index(self, documents: list[Document]) -> None:
        self.point("before index")
        self.db.execute("BEGIN")
        self.db.executemany("INSERT INTO embedded VALUES (?)", [(document.id,) for document in documents])
        self._write(documents)
        self.db.execute("COMMIT")
        self.point("after index")

    async def refresh(self, documents: list[Document]) -> None:
        self._write(documents)
        self.point("after refresh")

    def _write(self, documents: list[Document]) -> None:
        rows = [(doc.id, doc.text, doc.metadata["source"], doc.metadata["start"]) for doc in documents]
        self.db.executemany("INSERT OR REPLACE INTO doc VALUES (?, ?, ?, ?)", rows)

    async def existing(self, ids: list[str]) -> set[str]:
        marks = ",".join("?" * len(ids))
        return {row[0] for row in self.db.execute(f"SELECT id FROM doc WHERE id IN ({marks})", ids)}

    async def delete_ids(self, ids: list[str]) -> None:
        self.point("before delete")
        self.db.executemany("DELETE FROM doc WHERE id = ?", [(id,) for id in ids])
        self.point("after delete")


OPTIONS = {"splitter": Splitter(60, 0, len), "batch_size": 7}
