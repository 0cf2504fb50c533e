"""Saving what can be saved of a damaged store: every document whose checksums hold goes into a new one."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genkit_rag.plugin_api import Document, Fingerprint, GenkitError, Vectors, VectorStore, run_in_thread
from genkit_rag_faiss._storage.records import Row, check_row, check_vector, decode

BATCH = 1000
Good = defaultdict[str, dict[str, tuple[Document, bytes]]]
_ROWS = (
    "SELECT d.seq, d.namespace, d.id, d.kind, d.content, d.metadata, d.crc, v.data, v.crc "
    "FROM doc d NOT INDEXED JOIN vec v ON v.seq = d.seq WHERE d.seq BETWEEN ? AND ?"
)


@dataclass(frozen=True, slots=True)
class Salvage:
    """The result of a salvage.

    Attributes:
        copied: The number of documents in the new store.
        lost: The number of documents found unreadable; a lower bound, since damage may hide others.
        notes: Further notes for people.
    """

    copied: int
    lost: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Saved:
    """Documents of one namespace with their vectors."""

    namespace: str
    documents: list[Document]
    vectors: Vectors


class Wreck:
    """A damaged `store.db`, read row by row. Blocks; never writes."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise GenkitError("NOT_FOUND", f"There is no `{path}`.", hint="Name the folder of a FAISS store.")
        self._connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)
        self.lost = 0

    def setting(self, key: str) -> str | None:
        """Return a setting; None if it is lost."""
        try:
            found = self._connection.execute("SELECT value, crc FROM meta WHERE key = ?", (key,)).fetchone()
        except sqlite3.Error:
            return None
        if found is None or zlib.crc32(f"{key}\0{found[0]}".encode()) != found[1]:
            return None
        return str(found[0])

    def fingerprint(self) -> Fingerprint | None:
        """Return the fingerprint of the embedding model; None if it is lost."""
        raw = self.setting("fingerprint")
        if raw is None:
            return None
        stored: dict[str, Any] = json.loads(raw)
        stored["prefixes"] = tuple(stored["prefixes"])
        return Fingerprint(**stored)

    def batches(self) -> Iterator[Saved]:
        """Yield the readable documents in batches."""
        last = self._last()
        for first in range(1, last + 1, BATCH):
            good: Good = defaultdict(dict)
            for row in self._between(first, min(first + BATCH - 1, last)):
                self._keep(row, good)
            for namespace, by_id in good.items():
                pairs = list(by_id.values())
                vectors = np.frombuffer(b"".join(data for _, data in pairs), "<f4").reshape(len(pairs), -1)
                yield Saved(namespace, [document for document, _ in pairs], vectors)

    def _last(self) -> int:
        for query in ("SELECT seq FROM sqlite_sequence WHERE name = 'doc'", "SELECT max(seq) FROM doc NOT INDEXED"):
            try:
                found = self._connection.execute(query).fetchone()
            except sqlite3.Error:
                continue
            if found and isinstance(found[0], int) and 0 < found[0] < 2**40:
                return found[0]
        return 0

    def _between(self, first: int, last: int) -> list[Any]:
        """Return the rows of a range, bisecting it around damaged rows."""
        try:
            return self._connection.execute(_ROWS, (first, last)).fetchall()
        except sqlite3.Error:
            if first == last:
                self.lost += 1
                return []
            middle = (first + last) // 2
            return self._between(first, middle) + self._between(middle + 1, last)

    def _keep(self, raw: Any, good: Good) -> None:
        row: Row = raw[:7]
        try:
            check_row(row)
            check_vector(row[0], raw[7], raw[8])
            good[row[1]][row[2]] = decode(row).document(), raw[7]  # of one id the newest row counts
        except (GenkitError, ValueError):
            self.lost += 1

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


async def copy_documents(wreck: Wreck, store: VectorStore) -> Salvage:
    """Copy every document whose checksums hold, with its vector, into another store."""
    notes: list[str] = []
    fingerprint = wreck.fingerprint()
    if fingerprint is None:
        notes.append("the name of the embedding model is lost: the first one that uses the new store is trusted")
    else:
        await store.bind(fingerprint)
    copied = 0
    batches = wreck.batches()
    while (batch := await run_in_thread(next, batches, None)) is not None:
        await store.upsert(batch.documents, batch.vectors, namespace=batch.namespace)
        copied += len(batch.documents)
    return Salvage(copied, wreck.lost, tuple(notes))
