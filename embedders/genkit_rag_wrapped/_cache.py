"""A cache of vectors in a SQLite file, keyed by hash, with checksums."""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from genkit_rag.plugin_api import GenkitError, Vectors
from genkit_rag_wrapped._database import cannot_open, inode_of, is_damage, opened, set_aside

logger = logging.getLogger("genkit_rag.wrapped")
T = TypeVar("T")

TOUCH_SECONDS = 60
"""How exact the last use of a vector is known: a row is not written at every read."""

_KEEP = 0.9  # of the bound, so that not every write evicts
_PAGE = 500


class VectorCache:
    """Keeps vectors by key. The methods block: call them through `run_in_thread`.

    The first vector of a key is kept: later writers receive it. A row with a wrong checksum counts as absent. A damaged
    file is renamed to `<name>.damaged` and replaced. If the disk is full or another process holds the file, nothing is
    stored and no error is raised.

    Args:
        path: The file; created with its folders.
        max_bytes: The approximate maximum size.
        clock: Seconds since 1970.
    """

    def __init__(self, path: Path, max_bytes: int | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._inode = 0

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Vectors]:
        """Return the stored vectors of the keys."""
        return self._try(lambda db: self._get(db, keys), {})

    def put(self, vectors: Mapping[bytes, Vectors]) -> dict[bytes, Vectors]:
        """Store vectors and return the valid vector of each key: the given one, unless another was stored before."""
        return self._try(lambda db: self._put(db, vectors), dict(vectors))

    def close(self) -> None:
        """Frees the file; the next use opens it again."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _try(self, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        with self._lock:
            for _ in range(2):
                try:
                    if self._db is None:
                        self._inode = inode_of(self.path)
                        self._db = opened(self.path)
                        self._inode = self._inode or inode_of(self.path)
                    return work(self._db)
                except (sqlite3.DatabaseError, OSError) as error:
                    missing = self._db is None
                    self._close()
                    if is_damage(error) and set_aside(self.path, self._inode, error):
                        continue
                    if missing and cannot_open(error):
                        raise _unusable(self.path, error) from error
                    logger.warning("the cache %s is not used for now: %s", self.path, error)
                    return otherwise
            return otherwise

    def _get(self, db: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, Vectors]:
        found: dict[bytes, Vectors] = {}
        damaged: list[tuple[bytes, bytes]] = []
        stale: list[tuple[int, bytes]] = []
        now = int(self._clock())
        for key, blob, check, used in _rows(db, keys):
            if not isinstance(blob, bytes) or check != _checksum(key, blob) or not blob or len(blob) % 4:
                damaged.append((key, blob))
                continue
            found[key] = np.frombuffer(blob, dtype="<f4")
            if self.max_bytes is not None and used < now - TOUCH_SECONDS:
                stale.append((now, key))
        if damaged or stale:
            with db:
                db.execute("BEGIN IMMEDIATE")
                # Only if it is still the same one: another process may have repaired it.
                db.executemany("DELETE FROM vector WHERE key = ? AND vector = ?", damaged)
                db.executemany("UPDATE vector SET used = ? WHERE key = ?", stale)
        return found

    def _put(self, db: sqlite3.Connection, vectors: Mapping[bytes, Vectors]) -> dict[bytes, Vectors]:
        now = int(self._clock())
        blobs = {key: np.asarray(vector, dtype="<f4").tobytes() for key, vector in vectors.items()}
        with db:
            db.execute("BEGIN IMMEDIATE")
            db.executemany(
                "INSERT INTO vector (key, vector, checksum, used) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                ((key, blob, _checksum(key, blob), now) for key, blob in blobs.items()),
            )
            kept = {
                key: np.frombuffer(blob, dtype="<f4")
                for key, blob, check, _ in _rows(db, list(vectors))
                if check == _checksum(key, blob)
            }
            if self.max_bytes is not None:
                _evict(db, self.max_bytes)
        return {**vectors, **kept}


def _rows(db: sqlite3.Connection, keys: Sequence[bytes]) -> Iterator[tuple[bytes, bytes, bytes, int]]:
    for start in range(0, len(keys), _PAGE):
        page = keys[start : start + _PAGE]
        marks = ", ".join("?" * len(page))
        rows: Iterable[tuple[bytes, bytes, bytes, int]] = db.execute(
            f"SELECT key, vector, checksum, used FROM vector WHERE key IN ({marks})",  # noqa: S608 - question marks
            page,
        )
        yield from rows


def _evict(db: sqlite3.Connection, max_bytes: int) -> None:
    """Delete the least recently used rows; the file reuses freed pages before it grows."""
    page_size, pages, free = (
        db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "page_count", "freelist_count")
    )
    size = page_size * (pages - free)
    if size <= max_bytes:
        return
    rows = db.execute("SELECT count(*) FROM vector").fetchone()[0]
    surplus = -int(-rows * (1 - _KEEP * max_bytes / size) // 1)
    db.execute("DELETE FROM vector WHERE id IN (SELECT id FROM vector ORDER BY used, id LIMIT ?)", (surplus,))


def _checksum(key: bytes, blob: bytes) -> bytes:
    return hashlib.blake2b(key + blob, digest_size=8).digest()


def _unusable(path: Path, error: Exception) -> GenkitError:
    return GenkitError(
        "FAILED_PRECONDITION",
        f"The cache {path} cannot be opened: {error}.",
        hint="Name a file in a folder that can be written to; it must not be a database of something else.",
    )
