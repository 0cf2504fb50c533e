"""The tables of `store.db`, the single source of truth of a store. All other files are derived from it."""

from __future__ import annotations

import json
import sqlite3
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from genkit_rag.plugin_api import Vectors, create_private
from genkit_rag_faiss._storage.connections import Connections
from genkit_rag_faiss._storage.files import FORMAT, other_format
from genkit_rag_faiss._storage.records import Row, check_row, check_vector, damaged, key_crc, vector_crc

VECTOR_TABLE = "(seq INTEGER PRIMARY KEY, data BLOB NOT NULL, crc INTEGER NOT NULL)"
"""The columns of vectors: those in force, and those that are laid aside for another embedder."""

_SCHEMA = f"""
CREATE TABLE doc (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, namespace TEXT NOT NULL, id TEXT NOT NULL, kind INTEGER NOT NULL,
    content TEXT NOT NULL, metadata TEXT NOT NULL, crc INTEGER NOT NULL, UNIQUE (namespace, id));
CREATE TABLE vec {VECTOR_TABLE};
CREATE TABLE next_vec {VECTOR_TABLE};
CREATE TABLE gone (seq INTEGER PRIMARY KEY);
CREATE TABLE segment (name TEXT PRIMARY KEY, kind TEXT NOT NULL, digest TEXT NOT NULL, params TEXT NOT NULL)
    WITHOUT ROWID;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID;
"""
_FINDABLE = """
SELECT count(*) FROM doc a NOT INDEXED CROSS JOIN doc b INDEXED BY sqlite_autoindex_doc_1
ON b.namespace = a.namespace AND b.id = a.id WHERE b.seq = a.seq
"""
_IN_SEGMENT = "SELECT coalesce(max(json_extract(params, '$.last')), 0) FROM segment WHERE kind = 'keys'"
ROW = "d.seq, d.namespace, d.id, d.kind, d.content, d.metadata, d.crc"


class State(NamedTuple):
    """How many documents there are, and the sum of their key checksums: a view that has both has all of them."""

    live: int
    digest: int


class Segment(NamedTuple):
    """A derived file with its expected checksum and parameters."""

    name: str
    kind: str
    digest: str
    params: dict[str, Any]


class Key(NamedTuple):
    """What identifies a live row."""

    seq: int
    namespace: str
    id: str


class Database(Connections):
    """Reads and writes the documents, vectors, settings and segments of a store."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.is_lost: Callable[[set[int]], bool] = lambda _: False
        """Set by the owner of the rows in memory: whether rows that were not found should exist."""

    def create(self) -> None:
        """Create the tables if they do not exist; the caller holds the writer lock."""
        with self.errors():
            create_private(self.path)
            writer = self.writer  # also takes back what a crash left half done, which a reading connection may not
            if writer.execute("PRAGMA user_version").fetchone()[0]:
                return
            writer.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA.strip().split(";\n"):
                writer.execute(statement)
            writer.execute(f"PRAGMA user_version = {FORMAT}")
            self.set_meta(writer, "store", uuid.uuid4().hex)
            self._write_state(writer, State(0, 0))
            writer.execute("COMMIT")

    def initialised(self) -> bool:
        """Return whether the tables exist; FAILED_PRECONDITION if they have a newer format."""
        if not self.path.exists() or self.path.stat().st_size == 0:
            return False
        with self.errors():
            version = self.reader.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, FORMAT):
            raise other_format(self.path, version)
        return bool(version)

    # Reading.

    def state(self, connection: sqlite3.Connection) -> State:
        """Return count and digest of the live rows."""
        raw = self.meta("state", connection)
        live, digest, settings = json.loads(raw) if raw is not None else (0, 0, -1)
        if settings != _settings(connection):
            raise damaged("its settings are not all there")
        return State(live, digest)

    def meta(self, key: str, connection: sqlite3.Connection | None = None) -> str | None:
        """Return a value of the table `meta`."""
        with self.errors():
            found = (connection or self.reader).execute("SELECT value, crc FROM meta WHERE key = ?", (key,)).fetchone()
        if found is not None and zlib.crc32(f"{key}\0{found[0]}".encode()) != found[1]:
            raise damaged(f"the record `{key}` does not match its checksum")
        return None if found is None else cast(str, found[0])

    def keys(self, connection: sqlite3.Connection, after: int = 0) -> list[Key]:
        """Return the keys of the live rows above a sequence number, in order."""
        query = "SELECT seq, namespace, id FROM doc NOT INDEXED WHERE seq > ? ORDER BY seq"
        keys = [Key(*row) for row in connection.execute(query, (after,))]
        if not after:
            indexed = connection.execute(_FINDABLE).fetchone()[0]
            if indexed != len(keys):
                raise damaged(f"{len(keys) - indexed} documents cannot be found by their ids")
        return keys

    def gone(self, connection: sqlite3.Connection) -> list[int]:
        """Return the sequence numbers in the segment of keys that were removed since it was written."""
        return [row[0] for row in connection.execute("SELECT seq FROM gone")]

    def vectors(self, connection: sqlite3.Connection, after: int, dimensions: int) -> tuple[list[int], Vectors]:
        """Return checked sequence numbers and vectors of the rows above a sequence number, in order."""
        seqs: list[int] = []
        blobs: list[bytes] = []
        for seq, data, crc in connection.execute("SELECT seq, data, crc FROM vec WHERE seq > ? ORDER BY seq", (after,)):
            check_vector(seq, data, crc)
            if len(data) != 4 * dimensions:
                raise damaged(f"the vector {seq} has another length")
            seqs.append(seq)
            blobs.append(data)
        return seqs, np.frombuffer(b"".join(blobs), dtype="<f4").reshape(-1, dimensions)

    def rows(self, seqs: Sequence[int]) -> list[Row]:
        """Return the existing rows of sequence numbers, in any order, unchecked."""
        query = f"SELECT {ROW} FROM json_each(?) j CROSS JOIN doc d ON d.seq = j.value"  # noqa: S608
        with self.errors():
            return self.reader.execute(query, (json.dumps(list(seqs)),)).fetchall()

    def check_lost(self, missing: set[int]) -> None:
        """Raise DATA_LOSS if missing rows were not deleted."""
        if missing and self.is_lost(missing):
            raise damaged(f"{len(missing)} documents are missing, such as the row {min(missing)}")

    def rows_between(self, first: int, last: int) -> Iterator[Row]:
        """Yield the rows of a range of sequence numbers, both ends included, in order, unchecked."""
        query = f"SELECT {ROW} FROM doc d WHERE d.seq BETWEEN ? AND ? ORDER BY d.seq"  # noqa: S608
        with self.errors():
            yield from self.reader.execute(query, (first, last))

    def rows_of(self, namespace: str, ids: Sequence[str]) -> list[Row]:
        """Return the existing rows of ids, in any order, checked."""
        query = f"SELECT {ROW} FROM json_each(?) j CROSS JOIN doc d ON d.namespace = ? AND d.id = j.value"  # noqa: S608
        with self.errors():
            rows: list[Row] = self.reader.execute(query, (json.dumps(list(ids)), namespace)).fetchall()
        for row in rows:
            check_row(row)
        return rows

    def seqs_of(self, namespace: str, ids: Sequence[str]) -> dict[str, int]:
        """Return the sequence numbers of the existing ids."""
        with self.errors():
            return {key.id: key.seq for key in self.find(self.reader, namespace, ids)}

    def segments(self, connection: sqlite3.Connection | None = None) -> list[Segment]:
        """Return the manifest of derived files."""
        with self.errors():
            rows = (connection or self.reader).execute("SELECT name, kind, digest, params FROM segment").fetchall()
        try:
            return [Segment(name, kind, digest, json.loads(params)) for name, kind, digest, params in rows]
        except (ValueError, TypeError):
            return []  # a manifest that cannot be read covers nothing: everything is made again

    # What changes it; always inside `transaction()`.

    def next_seq(self, writer: sqlite3.Connection) -> int:
        """Return the sequence number of the next row; numbers are never reused."""
        found = writer.execute("SELECT seq FROM sqlite_sequence WHERE name = 'doc'").fetchone()
        return 1 + (found[0] if found else 0)

    def insert(self, writer: sqlite3.Connection, rows: list[Row], vectors: Vectors) -> None:
        """Insert rows and their vectors."""
        width = 4 * vectors.shape[1]
        block = vectors.data.cast("B")
        blobs = [
            (row[0], blob := block[at : at + width], vector_crc(row[0], blob))
            for row, at in zip(rows, range(0, len(block), width), strict=True)
        ]
        writer.executemany("INSERT INTO doc VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        writer.executemany("INSERT INTO vec VALUES (?, ?, ?)", blobs)

    def find(self, connection: sqlite3.Connection, namespace: str, ids: Sequence[str]) -> list[Key]:
        """Return the keys of the existing ids."""
        query = (
            "SELECT d.seq, d.namespace, d.id FROM json_each(?) j CROSS JOIN doc d ON d.namespace = ? AND d.id = j.value"
        )
        return [Key(*row) for row in connection.execute(query, (json.dumps(list(ids)), namespace))]

    def remove(self, writer: sqlite3.Connection, keys: Sequence[Key]) -> int:
        """Delete rows and return the sum of their key checksums."""
        seqs = [(key.seq,) for key in keys]
        writer.executemany("DELETE FROM doc WHERE seq = ?", seqs)
        writer.executemany("DELETE FROM vec WHERE seq = ?", seqs)
        if writer.execute(_IN_SEGMENT).fetchone()[0] >= min(seqs, default=(1,))[0]:
            writer.executemany("INSERT OR REPLACE INTO gone VALUES (?)", seqs)
        return sum(key_crc(*key) for key in keys)

    def add_to_state(
        self,
        writer: sqlite3.Connection,
        count: int,
        digest: int,
        settings: Mapping[str, str] | None = None,
        *,
        without: str = "",
    ) -> State:
        """Update count, digest and settings, optionally removing one setting; return the new state."""
        old = self.state(writer)
        new = State(old.live + count, (old.digest + digest) % 2**62)
        for key, value in (settings or {}).items():
            self.set_meta(writer, key, value)
        writer.execute("DELETE FROM meta WHERE key = ?", (without,))
        self._write_state(writer, new)
        return new

    def set_meta(self, writer: sqlite3.Connection, key: str, value: str) -> None:
        """Set a value of the table `meta`."""
        crc = zlib.crc32(f"{key}\0{value}".encode())
        writer.execute("INSERT OR REPLACE INTO meta VALUES (?, ?, ?)", (key, value, crc))

    def _write_state(self, writer: sqlite3.Connection, state: State) -> None:
        self.set_meta(writer, "state", json.dumps([*state, _settings(writer)]))

    def set_segments(self, writer: sqlite3.Connection, kinds: Sequence[str], segments: Sequence[Segment]) -> None:
        """Replace the manifest entries of some kinds."""
        writer.executemany("DELETE FROM segment WHERE kind = ?", [(kind,) for kind in kinds])
        if "keys" in kinds:
            writer.execute("DELETE FROM gone")  # the segment knows
        entries = [(s.name, s.kind, s.digest, json.dumps(s.params)) for s in segments]
        writer.executemany("INSERT INTO segment VALUES (?, ?, ?, ?)", entries)


def _settings(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM meta WHERE key <> 'state'").fetchone()[0])
