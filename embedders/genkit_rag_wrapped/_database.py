"""The cache's file: opened, told from other files, and set aside when it is damaged."""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

logger = logging.getLogger("genkit_rag.wrapped")

APPLICATION = 0x47524743
VERSION = 1
BUSY_SECONDS = 10.0
"""How long a process waits for another writer."""

PAGE_BYTES = 16_384
"""Several vectors fit into a page of this size; into SQLite's own 4,096 bytes goes one of 768 dimensions."""

_SCHEMA = """
CREATE TABLE vector (
  id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, vector BLOB NOT NULL, checksum BLOB NOT NULL,
  used INTEGER NOT NULL);
CREATE INDEX vector_used ON vector (used);
"""
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class NotOurs(OSError):
    """The file is a database of another program, or of a newer version."""


def inode_of(path: Path) -> int:
    """Return the inode of the file; 0 if it does not exist."""
    return path.stat().st_ino if path.exists() else 0


def opened(path: Path) -> sqlite3.Connection:
    """Open or create the file and return a connection."""
    path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        _prepare(db)
    except BaseException:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection) -> None:
    ready = _is_ready(db)
    db.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # does nothing to a file that has one
    # WAL and NORMAL: a killed process loses nothing, a power cut at most the last vectors, and readers never wait.
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    if ready:
        return
    with db:
        db.execute("BEGIN IMMEDIATE")
        if not _is_ready(db):  # another process may have been faster
            for statement in _SCHEMA.strip().rstrip(";").split(";\n"):
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION}")
            db.execute(f"PRAGMA user_version = {VERSION}")


def _is_ready(db: sqlite3.Connection) -> bool:
    tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    marks = tuple(db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    if tables and marks != (APPLICATION, VERSION):
        raise NotOurs("it is a database of another program or version")
    return bool(tables)


def is_damage(error: Exception) -> bool:
    """Return whether the error means damaged bytes, rather than a full disk, missing permissions or a lock."""
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(code, int) and code & 0xFF in _DAMAGE  # the low byte is the kind, the rest says more


def cannot_open(error: Exception) -> bool:
    """Return whether the error means that this path can never be a cache."""
    code = getattr(error, "sqlite_errorcode", None)
    kinds = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}
    return isinstance(error, OSError) or (isinstance(code, int) and code & 0xFF in kinds)


def set_aside(path: Path, inode: int, error: Exception) -> bool:
    """Rename a damaged file; return whether a new one can be created, here or by another process."""
    try:
        with FileLock(f"{path}.lock", timeout=BUSY_SECONDS):
            if inode_of(path) == inode or not inode:
                for suffix in ("", "-wal", "-shm"):
                    with suppress(FileNotFoundError):
                        os.replace(f"{path}{suffix}", f"{path}.damaged{suffix}")
                logger.warning("the cache %s was damaged (%s): it is %s.damaged now, and begun anew", path, error, path)
        return True
    except OSError as problem:
        logger.warning("the damaged cache %s cannot be set aside: %s", path, problem)
        return False
