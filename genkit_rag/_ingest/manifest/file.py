"""The manifest's file: opened for one process, copied for dry runs, and what to say when it cannot be used."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from genkit_rag._core.errors import GenkitError

_FIX = "Check the folder's permissions and the disk, then run again."
_DAMAGED = (
    "Delete that file and run again: sources are then looked at anew, and chunks that the index still holds are not "
    "embedded again."
)


def open_file(path: Path) -> sqlite3.Connection:
    """Open or create the file and lock it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path, timeout=0.5, isolation_level=None, check_same_thread=False)
    try:
        # EXCLUSIVE keeps the lock between transactions: a second ingestion fails at once, and a killed one frees it.
        for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = FULL"):
            db.execute(f"PRAGMA {pragma}")
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()  # takes the lock
    except sqlite3.DatabaseError:
        db.close()
        raise
    return db


def private_copy(path: Path) -> sqlite3.Connection:
    """Create a private copy of the file."""
    copy = sqlite3.connect("", isolation_level=None, check_same_thread=False)  # a private file, gone when closed
    if path.exists():
        with closing(open_file(path)) as db:
            db.backup(copy)
    return copy


def problem(path: Path, error: sqlite3.DatabaseError) -> GenkitError:
    """Convert an error of the file."""
    if "locked" in str(error) or "busy" in str(error):
        return GenkitError(
            "FAILED_PRECONDITION",
            f"Another ingestion is running with the manifest {path}.",
            hint="Wait for it to end, or give this one another `name`.",
        )
    return GenkitError(
        "FAILED_PRECONDITION",
        f"The manifest {path} cannot be used: {error}.",
        hint=_FIX if isinstance(error, sqlite3.OperationalError) else _DAMAGED,
        cause=error,
    )
