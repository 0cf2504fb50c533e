"""A store of responses by key in a SQLite database, shared by processes or in memory."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from genkit_rag._core.private_file import create_private

logger = logging.getLogger("genkit_rag.middleware")
T = TypeVar("T")

APPLICATION = 0x47524752
VERSION = 1
BUSY_SECONDS = 2.0
"""How long a call waits for a writing process before it skips the cache."""

TOUCH_SECONDS = 60.0
"""The precision of the time of the last use, so that not every read writes."""

_SCHEMA = (
    "CREATE TABLE response (key BLOB NOT NULL UNIQUE, value BLOB NOT NULL, made REAL NOT NULL, used REAL NOT NULL)",
    "CREATE INDEX response_used ON response (used)",
    "CREATE INDEX response_made ON response (made)",
    f"PRAGMA application_id = {APPLICATION}",
    f"PRAGMA user_version = {VERSION}",
)
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


@dataclass(frozen=True, slots=True)
class Bounds:
    """The maximum number and age of responses."""

    max_entries: int
    ttl_seconds: float | None = None


class ResponseStore:
    """A store of values by key. Methods block and never raise; call them through `run_in_thread`.

    A database error counts as a miss and logs a warning. A damaged file is renamed to `<name>.damaged` and replaced by
    a new one; a database of another program is not modified.

    Args:
        path: The file, created with its folders and readable by its owner only; None for memory.
        bounds: The limits; the least recently used values are deleted first.
        clock: Returns seconds since 1970.
    """

    def __init__(self, path: Path | None, bounds: Bounds, *, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._bounds = bounds
        self._clock = clock
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._process = 0
        self._inode = 0
        self._problem = ""
        self._closing: weakref.finalize[..., ResponseStore]

    def get(self, key: bytes) -> bytes | None:
        """Return the value; None if it is absent or expired."""
        return self._try(lambda db: self._get(db, key))

    def put(self, key: bytes, value: bytes) -> None:
        """Store a value."""
        self._try(lambda db: self._put(db, key, value))

    def delete(self, key: bytes) -> None:
        """Delete a value."""
        self._try(lambda db: db.execute("DELETE FROM response WHERE key = ?", (key,)) and None)

    def _get(self, db: sqlite3.Connection, key: bytes) -> bytes | None:
        row = db.execute("SELECT value, made, used FROM response WHERE key = ?", (key,)).fetchone()
        now, ttl = self._clock(), self._bounds.ttl_seconds
        if row is None or (ttl is not None and now - row[1] >= ttl):
            return None
        if now - row[2] >= TOUCH_SECONDS:
            db.execute("UPDATE response SET used = ? WHERE key = ?", (now, key))
        return bytes(row[0])

    def _put(self, db: sqlite3.Connection, key: bytes, value: bytes) -> None:
        now, ttl = self._clock(), self._bounds.ttl_seconds
        with db:
            db.execute("BEGIN IMMEDIATE")
            db.execute(
                "INSERT OR REPLACE INTO response (key, value, made, used) VALUES (?, ?, ?, ?)", (key, value, now, now)
            )
            if ttl is not None:
                db.execute("DELETE FROM response WHERE made <= ?", (now - ttl,))
            surplus = db.execute("SELECT count(*) FROM response").fetchone()[0] - self._bounds.max_entries
            if surplus > 0:
                oldest = "SELECT rowid FROM response ORDER BY used, rowid LIMIT ?"
                db.execute(f"DELETE FROM response WHERE rowid IN ({oldest})", (surplus,))  # noqa: S608 - contains no values

    def _try(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        with self._lock:
            for _ in range(2):
                try:
                    result = work(self._connection())
                except (sqlite3.Error, OSError) as error:
                    self._close()
                    if self._set_aside(error):
                        continue
                    self._warn(f"the cache {self._path or 'in memory'} is unavailable: {error}")
                    return None
                self._problem = ""
                return result
            return None

    def _warn(self, problem: str) -> None:
        if problem != self._problem:  # log each problem once, not at every call
            logger.warning("%s", problem)
        self._problem = problem

    def _connection(self) -> sqlite3.Connection:
        if self._db is not None and self._process != os.getpid():
            _PARENTS.append(self._db)  # a forked process must neither use nor close the connection of its parent
            self._closing.detach()
            self._db = None
        if self._db is None:
            self._process = os.getpid()
            self._inode = _inode_of(self._path)
            self._db = _opened(self._path)
            self._inode = self._inode or _inode_of(self._path)
            self._closing = weakref.finalize(self, self._db.close)
            self._closing.atexit = False
        return self._db

    def _close(self) -> None:
        if self._db is not None and self._path is not None:
            self._closing()
            self._db = None

    def _set_aside(self, error: Exception) -> bool:
        """Rename a damaged file; return whether a new one can be created."""
        code = getattr(error, "sqlite_errorcode", None)
        if self._path is None or not isinstance(code, int) or code & 0xFF not in _DAMAGE:
            return False
        if _inode_of(self._path) == self._inode:  # otherwise another process has renamed it already
            for suffix in ("", "-wal", "-shm"):
                with suppress(FileNotFoundError):
                    os.replace(f"{self._path}{suffix}", f"{self._path}.damaged{suffix}")
            self._warn(
                f"the damaged cache {self._path} was renamed to {self._path}.damaged and replaced by a new one: {error}"
            )
        return True


_PARENTS: list[sqlite3.Connection] = []


class _NotOurs(OSError):
    """The file is a database of another program or version."""


def _inode_of(path: Path | None) -> int:
    return path.stat().st_ino if path is not None and path.exists() else 0


def _opened(path: Path | None) -> sqlite3.Connection:
    """Open the file; create it if it does not exist."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        create_private(path)
    db = sqlite3.connect(path or ":memory:", timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        ready = _is_ready(db)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        if not ready:
            with db:
                db.execute("BEGIN IMMEDIATE")
                for statement in () if _is_ready(db) else _SCHEMA:  # another process may have created them
                    db.execute(statement)
    except BaseException:
        db.close()
        raise
    return db


def _is_ready(db: sqlite3.Connection) -> bool:
    tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    marks = tuple(db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    if tables and marks != (APPLICATION, VERSION):
        raise _NotOurs("the file is a database of another program or version")
    return bool(tables)
