"""Responses in one SQLite database, by key: a file that several processes share, or the memory of this one."""

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
"""How long a call waits for another process that writes, before it does without the cache."""

TOUCH_SECONDS = 60.0
"""How exact the last use is known: a response is not written at every read."""

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
    """How much is kept, and for how long."""

    max_entries: int
    ttl_seconds: float | None = None


class ResponseStore:
    """Keeps values by key. Its methods block and never fail: call them through `run_in_thread`.

    What is wrong with the database costs a miss and a warning. A file that is damaged is renamed to `<name>.damaged`
    and begun anew; a database of another program is left alone.

    Args:
        path: The file, made with its folders and readable by its owner only; None for memory.
        bounds: How much is kept; what was not used for longest goes first.
        clock: Seconds since 1970.
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
        """Returns the value, None when there is none that is young enough."""
        return self._try(lambda db: self._get(db, key))

    def put(self, key: bytes, value: bytes) -> None:
        """Keeps a value."""
        self._try(lambda db: self._put(db, key, value))

    def delete(self, key: bytes) -> None:
        """Forgets a value."""
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
                db.execute(f"DELETE FROM response WHERE rowid IN ({oldest})", (surplus,))  # noqa: S608 - no value in it

    def _try(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        with self._lock:
            for _ in range(2):
                try:
                    result = work(self._connection())
                except (sqlite3.Error, OSError) as error:
                    self._close()
                    if self._set_aside(error):
                        continue
                    self._warn(f"the cache {self._path or 'in memory'} is not used for now: {error}")
                    return None
                self._problem = ""
                return result
            return None

    def _warn(self, problem: str) -> None:
        if problem != self._problem:  # once, not at every call
            logger.warning("%s", problem)
        self._problem = problem

    def _connection(self) -> sqlite3.Connection:
        if self._db is not None and self._process != os.getpid():
            _PARENTS.append(self._db)  # a forked process must not touch, nor close, its parent's connection
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
        """Returns whether there is room for a new file: this one is damaged, and renamed."""
        code = getattr(error, "sqlite_errorcode", None)
        if self._path is None or not isinstance(code, int) or code & 0xFF not in _DAMAGE:
            return False
        if _inode_of(self._path) == self._inode:  # else another process has done so
            for suffix in ("", "-wal", "-shm"):
                with suppress(FileNotFoundError):
                    os.replace(f"{self._path}{suffix}", f"{self._path}.damaged{suffix}")
            self._warn(f"the cache {self._path} was damaged ({error}): it is {self._path}.damaged now, and begun anew")
        return True


_PARENTS: list[sqlite3.Connection] = []


class _NotOurs(OSError):
    """The file is a database of another program, or of another version."""


def _inode_of(path: Path | None) -> int:
    return path.stat().st_ino if path is not None and path.exists() else 0


def _opened(path: Path | None) -> sqlite3.Connection:
    """Returns a connection to the file, which is made when it is not there."""
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
                for statement in () if _is_ready(db) else _SCHEMA:  # another process may have been faster
                    db.execute(statement)
    except BaseException:
        db.close()
        raise
    return db


def _is_ready(db: sqlite3.Connection) -> bool:
    tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    marks = tuple(db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    if tables and marks != (APPLICATION, VERSION):
        raise _NotOurs("it is a database of another program or version")
    return bool(tables)
