"""Near-duplicates in the manifest: chunks that are held back, with their originals and texts.

An original may be in the index; a near-duplicate is not, since it is similar to an original. Its document is kept here,
so that it can be indexed when the original is deleted, even if its source cannot be read then. Meanwhile its row refers
to itself as the original, so that a stopped run continues. The methods run within a transaction of the manifest.
"""

from __future__ import annotations

import json
import sqlite3
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from genkit_rag._documents.document import Document
from genkit_rag._ingest.near_duplicates.similarity import Sketch, similarity, sketch

SCHEMA = """
CREATE TABLE original (
  id INTEGER PRIMARY KEY, source INTEGER NOT NULL, chunk TEXT NOT NULL, shingles BLOB NOT NULL, buckets BLOB NOT NULL,
  UNIQUE (source, chunk));
CREATE TABLE bucket (hash INTEGER NOT NULL, original INTEGER NOT NULL, PRIMARY KEY (hash, original)) WITHOUT ROWID;
CREATE TABLE twin (
  source INTEGER NOT NULL, chunk TEXT NOT NULL, original_source INTEGER NOT NULL, original_chunk TEXT NOT NULL,
  document BLOB NOT NULL, UNIQUE (source, chunk));
CREATE INDEX twin_of ON twin (original_source, original_chunk);
"""
_CANDIDATES = 20
"""Originals that are compared in full: those that share the most buckets."""


class Key(NamedTuple):
    """A chunk: the number of its source, and its id."""

    source: int
    chunk: str


@dataclass(frozen=True, slots=True)
class Original:
    """The chunk that another one is like, and how much."""

    key: Key
    similarity: float


@dataclass(frozen=True, slots=True)
class Orphan:
    """A near-duplicate whose original was deleted, or may never have been indexed.

    Attributes:
        row: The row number, for paging.
        key: The chunk.
        source: The name of its source.
        document: The document to index.
        original: The id of the original.
    """

    row: int
    key: Key
    source: str
    document: Document
    original: str


class Twins:
    """Reads and writes originals and near-duplicates of one target."""

    def __init__(self, db: sqlite3.Connection, target: str) -> None:
        self._db = db
        self._target = target
        self.any = bool(db.execute("SELECT EXISTS (SELECT 1 FROM original)").fetchone()[0])
        """Whether there is anything to look after."""

    def is_held(self, key: Key) -> bool:
        """Return whether a chunk is held back."""
        query = "SELECT 1 FROM twin WHERE source = ? AND chunk = ?"
        return self._db.execute(query, key).fetchone() is not None

    def place(self, key: Key, document: Document, found: Sketch, threshold: float) -> Original | None:
        """Return the original for which a chunk is held back; None if the chunk becomes an original itself."""
        self.any = True
        row = self._db.execute(
            "SELECT original_source, original_chunk FROM twin WHERE source = ? AND chunk = ?", key
        ).fetchone()
        original = self._checked(Key(*row), found, threshold) if row and Key(*row) != key else None
        if original is None and self._is_original(key):
            self.release(key)
            return None
        original = original or self._like(found, threshold)
        if original is None:
            self.release(key)
            self._register(key, found)
        else:
            self._hold(key, original.key, document)
        return original

    def adopt(self, key: Key, found: Sketch) -> None:
        """Make a chunk that is already in the index an original."""
        self.any = True
        self.release(key)
        if not self._is_original(key):
            self._register(key, found)

    def release(self, key: Key) -> bool:
        """Stop holding a chunk back; return whether it was."""
        return self.any and self._db.execute("DELETE FROM twin WHERE source = ? AND chunk = ?", key).rowcount > 0

    def forget(self, key: Key) -> bool:
        """Forget a chunk; return whether it was held back."""
        if not self.any:
            return False
        row = self._db.execute("SELECT id, buckets FROM original WHERE source = ? AND chunk = ?", key).fetchone()
        if row:
            self._db.executemany(
                "DELETE FROM bucket WHERE hash = ? AND original = ?", ((hash, row[0]) for hash in _unpacked(row[1]))
            )
            self._db.execute("DELETE FROM original WHERE id = ?", row[:1])
        return self.release(key)

    def orphans(self, limit: int) -> list[Orphan]:
        """Return near-duplicates whose original was deleted."""
        return self._orphans("(chunk.id IS NULL OR twin.chunk = chunk.id)", 0, limit)

    def doubtful(self, after: int, limit: int) -> list[Orphan]:
        """Return near-duplicates whose original was recorded but not settled, and may not be in the index."""
        return self._orphans("chunk.id IS NOT NULL AND chunk.metadata IS NULL AND twin.chunk <> chunk.id", after, limit)

    def _orphans(self, condition: str, after: int, limit: int) -> list[Orphan]:
        if not self.any:
            return []
        rows = self._db.execute(
            "SELECT twin.rowid, twin.source, twin.chunk, source.name, twin.document, twin.original_chunk FROM twin "  # noqa: S608 - fixed text
            "JOIN source ON source.id = twin.source AND source.target = ? "
            "LEFT JOIN chunk ON chunk.source = twin.original_source AND chunk.id = twin.original_chunk "
            f"WHERE {condition} AND twin.rowid > ? ORDER BY twin.rowid LIMIT ?",
            (self._target, after, limit),
        ).fetchall()
        return [Orphan(row[0], Key(*row[1:3]), row[3], _document(row[2], row[4]), row[5]) for row in rows]

    def place_again(self, orphans: Iterable[Orphan], threshold: float | None) -> list[Orphan]:
        """Return the orphans without another similar original; hold the others back for it.

        Those that are returned are to be indexed now, then released.
        """
        alone: list[Orphan] = []
        for orphan in orphans:
            if not self._is_original(orphan.key):
                found = sketch(orphan.document.text)
                other = self._like(found, threshold, orphan.original) if threshold is not None else None
                if other is not None:
                    self._hold(orphan.key, other.key, orphan.document)
                    continue
                self._register(orphan.key, found)
            self._hold(orphan.key, orphan.key, orphan.document)
            alone.append(orphan)
        return alone

    def disown(self, orphans: Iterable[Orphan]) -> None:
        """Make near-duplicates their own originals, to be indexed, since their originals do not exist."""
        for orphan in orphans:
            if not self._is_original(orphan.key):
                self._register(orphan.key, sketch(orphan.document.text))
            self._hold(orphan.key, orphan.key, orphan.document)

    def _is_original(self, key: Key) -> bool:
        query = "SELECT 1 FROM original WHERE source = ? AND chunk = ?"
        return self._db.execute(query, key).fetchone() is not None

    def _register(self, key: Key, found: Sketch) -> None:
        cursor = self._db.execute(
            "INSERT INTO original (source, chunk, shingles, buckets) VALUES (?, ?, ?, ?)",
            (*key, found.shingles, struct.pack(f"<{len(found.buckets)}q", *found.buckets)),
        )
        self._db.executemany(
            "INSERT OR IGNORE INTO bucket VALUES (?, ?)", ((hash, cursor.lastrowid) for hash in found.buckets)
        )

    def _hold(self, key: Key, original: Key, document: Document) -> None:
        body = json.dumps([document.text, document.metadata], ensure_ascii=False, default=str)
        packed = zlib.compress(body.encode("utf-8", "surrogatepass"), 1)
        self._db.execute("INSERT OR REPLACE INTO twin VALUES (?, ?, ?, ?, ?)", (*key, *original, packed))

    def _checked(self, key: Key, found: Sketch, threshold: float) -> Original | None:
        """Return the original if it is still one and similar enough."""
        row = self._db.execute(
            "SELECT original.shingles FROM original JOIN chunk ON chunk.source = original.source "
            "AND chunk.id = original.chunk WHERE original.source = ? AND original.chunk = ?",
            key,
        ).fetchone()
        alike = similarity(row[0], found.shingles) if row else 0.0
        return Original(key, alike) if row and alike >= threshold else None

    def _like(self, found: Sketch, threshold: float, other_than: str = "") -> Original | None:
        """Return the most similar original of a text, the oldest of equals."""
        marks = ",".join("?" * len(found.buckets))
        rows = self._db.execute(
            "SELECT original.source, original.chunk, original.shingles FROM bucket "  # noqa: S608 - only marks
            "JOIN original ON original.id = bucket.original "
            "JOIN source ON source.id = original.source AND source.target = ? "
            "JOIN chunk ON chunk.source = original.source AND chunk.id = original.chunk "
            f"WHERE bucket.hash IN ({marks}) AND original.chunk <> ? "
            "GROUP BY original.id ORDER BY count(*) DESC, original.id LIMIT ?",
            (self._target, *found.buckets, other_than, _CANDIDATES),
        ).fetchall()
        best: Original | None = None
        for source, chunk, shingles in rows:
            alike = similarity(shingles, found.shingles)
            if alike >= threshold and (best is None or alike > best.similarity):
                best = Original(Key(source, chunk), alike)
        return best


def _unpacked(buckets: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(buckets) // 8}q", buckets)


def _document(chunk: str, packed: bytes) -> Document:
    text, metadata = json.loads(zlib.decompress(packed).decode("utf-8", "surrogatepass"))
    return Document(text, metadata, id=chunk)
