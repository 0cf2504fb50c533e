"""Documents of hits: from a bounded memory, else from the database. A row of a sequence number never changes."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from genkit_rag_faiss._storage.database import Database
from genkit_rag_faiss._storage.records import Payload, decode

MAX_BYTES = 64 << 20
MAX_ROWS = 50_000


class Payloads:
    """A cache of rows in two generations: used rows move to the young one; the old one is dropped when it fills."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._young: dict[int, Payload] = {}
        self._old: dict[int, Payload] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def fetch(self, seqs: Sequence[int]) -> dict[int, Payload]:
        """Return the payloads of existing rows by sequence number; may read the disk."""
        found: dict[int, Payload] = {}
        missing: list[int] = []
        for seq in seqs:
            payload = self._young.get(seq) or self._old.get(seq)
            if payload is None:
                missing.append(seq)
            else:
                found[seq] = payload
        for start in range(0, len(missing), 1000):
            for row in self._database.rows(missing[start : start + 1000]):
                found[row[0]] = payload = decode(row)
                self._keep(row[0], payload)
        return found

    def forget(self) -> None:
        """Drop all cached rows."""
        with self._lock:
            self._young, self._old, self._bytes = {}, {}, 0

    def _keep(self, seq: int, payload: Payload) -> None:
        with self._lock:
            self._young[seq] = payload
            self._bytes += payload.size
            if self._bytes > MAX_BYTES // 2 or len(self._young) > MAX_ROWS // 2:
                self._young, self._old, self._bytes = {}, self._young, 0
