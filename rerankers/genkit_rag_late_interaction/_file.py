"""Token vectors in one SQLite file, which processes may share and which survives being killed at any moment."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from genkit_rag.plugin_api import GenkitError

logger = logging.getLogger("genkit_rag.late_interaction")

APPLICATION_ID = 0x676B746B
"""In the header of the file: nothing else is ever written to."""

BUSY_SECONDS = 2.0
"""How long another process is waited for; then the vectors are computed, or not kept."""

FRESH_SECONDS = 3600
"""A use within so long after the last noted one is not noted: reading shall not write each time."""

KEPT = 0.9
"""The share of the limit that is kept when it is passed, so that not every write has to make room."""

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS vectors (
    key BLOB PRIMARY KEY, used INTEGER NOT NULL, size INTEGER NOT NULL, width INTEGER NOT NULL, crc INTEGER NOT NULL,
    data BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS by_use ON vectors (used, size);
PRAGMA application_id = {APPLICATION_ID};
"""
_AT_ONCE = 500
"""Keys in one question; SQLite takes 999 at least."""

T = TypeVar("T")
Halves = NDArray[np.float16]
"""The token vectors of one text, shape `(tokens, d)`. Half precision changes a cosine by less than 0.001."""


class VectorFile:
    """A file of token vectors by key, up to a number of bytes; the least recently used are deleted first.

    If the file is locked too long, the disk is full or the folder is not writable, a warning is logged and the vectors
    are computed. Only a file with other content raises an error. Each call opens its own connection, so threads, forks
    and processes are safe.

    Args:
        path: The file; created with its folder at the first write.
        limit: The maximum number of bytes of vectors; the file is slightly larger.
    """

    def __init__(self, path: str | os.PathLike[str], limit: int) -> None:
        self.path = Path(path).expanduser()
        self.limit = limit

    def read(self, keys: Sequence[bytes]) -> dict[bytes, Halves]:
        """Return the stored vectors of the keys; damaged ones count as missing."""
        if not self.path.exists():
            return {}
        return self._tried(lambda connection: _read(connection, keys), {})

    def write(self, entries: Mapping[bytes, Halves]) -> None:
        """Store the vectors, and delete old ones if needed."""

        def run(connection: sqlite3.Connection) -> None:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "INSERT OR REPLACE INTO vectors VALUES (?, ?, ?, ?, ?, ?)",
                [_row(key, vectors) for key, vectors in entries.items()],
            )
            _make_room(connection, self.limit)
            connection.execute("COMMIT")

        self._tried(run, None)

    def _tried(self, run: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        try:
            with self._connection() as connection:
                return run(connection)
        except (sqlite3.OperationalError, OSError) as error:
            logger.warning("the cache %s cannot be used now: %s", self.path, error)
            return otherwise
        except sqlite3.DatabaseError as error:
            raise GenkitError(
                "FAILED_PRECONDITION",
                f"The cache {str(self.path)!r} is damaged or no cache: {error}",
                hint="Delete it, or name another cache_path: its vectors are computed anew.",
            ) from error

    @contextlib.contextmanager
    def _connection(self) -> Generator[sqlite3.Connection]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(self.path, BUSY_SECONDS, isolation_level=None)) as connection:
            if _identity(connection) != APPLICATION_ID:
                _create(connection)
            # A rollback journal: a WAL needs a care with checkpoints that a cache is not worth. A kill at any moment
            # leaves the last commit; NORMAL spares a wait for the disk that only a power cut would reward.
            connection.execute("PRAGMA synchronous = NORMAL")
            yield connection


def _identity(connection: sqlite3.Connection) -> int:
    found: int = connection.execute("PRAGMA application_id").fetchone()[0]
    return found


def _create(connection: sqlite3.Connection) -> None:
    """Create the tables in an empty file; raise for a database with other content."""
    connection.execute("BEGIN IMMEDIATE")
    identity = _identity(connection)  # again, with the lock: another thread or process may have been faster
    if identity != APPLICATION_ID:
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if identity or tables:
            raise sqlite3.DatabaseError("it is a database of something else")
        for statement in _SCHEMA.split(";"):
            connection.execute(statement)
    connection.execute("COMMIT")


def _read(connection: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, Halves]:
    found: dict[bytes, Halves] = {}
    stale: list[tuple[int, bytes]] = []
    now = int(time.time())
    for start in range(0, len(keys), _AT_ONCE):
        part = keys[start : start + _AT_ONCE]
        marks = ",".join("?" * len(part))
        rows = connection.execute(
            f"SELECT key, used, width, crc, data FROM vectors WHERE key IN ({marks})",  # noqa: S608 - marks only
            part,
        )
        for key, used, width, crc, data in rows:
            if zlib.crc32(data) == crc:
                found[key] = np.frombuffer(data, dtype=np.float16).reshape(-1, width)
                if used < now - FRESH_SECONDS:
                    stale.append((now, key))
    if stale:
        connection.executemany("UPDATE vectors SET used = ? WHERE key = ?", stale)
    return found


def _row(key: bytes, vectors: Halves) -> tuple[bytes, int, int, int, int, bytes]:
    data = vectors.tobytes()
    return key, int(time.time()), len(data), vectors.shape[1], zlib.crc32(data), data


def _make_room(connection: sqlite3.Connection, limit: int) -> None:
    (total,) = connection.execute("SELECT coalesce(sum(size), 0) FROM vectors").fetchone()
    if total <= limit:
        return
    gone: list[tuple[int]] = []
    for row, size in connection.execute("SELECT rowid, size FROM vectors ORDER BY used, rowid"):
        if total <= limit * KEPT:
            break
        gone.append((row,))
        total -= size
    connection.executemany("DELETE FROM vectors WHERE rowid = ?", gone)
