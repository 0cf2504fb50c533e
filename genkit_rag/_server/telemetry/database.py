"""The trace store's SQLite file: private to its owner, of one known schema."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from genkit_rag._core.errors import GenkitError
from genkit_rag._core.private_file import create_private

APPLICATION_ID, VERSION = 0x67_72_74_73, 1

SCHEMA = """
CREATE TABLE traces (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    trace_id TEXT NOT NULL UNIQUE,
    root INTEGER NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    status TEXT NOT NULL,
    start REAL NOT NULL,
    end REAL NOT NULL,
    latency REAL,
    spans INTEGER NOT NULL,
    errors INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    size INTEGER NOT NULL,
    dropped INTEGER NOT NULL,
    labels TEXT NOT NULL
);
CREATE INDEX traces_by_start ON traces (start, id);
CREATE INDEX traces_by_name ON traces (name, start, id);
CREATE INDEX traces_by_kind ON traces (kind, start, id);
CREATE INDEX traces_by_status ON traces (status, start, id);
CREATE TABLE spans (
    id INTEGER PRIMARY KEY,
    span_id TEXT NOT NULL,
    parent_id TEXT,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    status TEXT NOT NULL,
    start REAL NOT NULL,
    end REAL NOT NULL,
    latency REAL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    size INTEGER NOT NULL
);
CREATE INDEX spans_by_name ON spans (name, kind, status, latency, start, end);
CREATE INDEX spans_by_kind ON spans (kind, status, latency, start, end);
CREATE INDEX spans_by_status ON spans (status, latency, start, end);
CREATE TABLE payloads (id INTEGER PRIMARY KEY, data TEXT NOT NULL);
CREATE VIRTUAL TABLE words USING fts5 (body, columnsize=0, tokenize='unicode61 remove_diacritics 2');
"""


def open_database(path: Path) -> sqlite3.Connection:
    """Open or create the file, with mode 0600 in a folder with mode 0700.

    Raises:
        GenkitError: FAILED_PRECONDITION if the file is not such a database, or is a symbolic link.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.is_symlink():
        raise _foreign(path, "is a symbolic link")
    try:  # made by us and not by SQLite, which would use the umask; its -wal and -shm take over the mode
        create_private(path)
    except OSError as error:
        raise GenkitError("FAILED_PRECONDITION", f"{path} cannot be opened: {error.strerror}.", cause=error) from None
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=10)
    try:
        _prepare(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        found = connection.execute("SELECT sql FROM sqlite_schema WHERE name NOT GLOB 'sqlite_*'").fetchall()
    except sqlite3.DatabaseError as error:
        raise _foreign(path, f"is no trace store ({error})") from None
    if not found:
        connection.executescript(
            f"PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; BEGIN EXCLUSIVE; {SCHEMA}"
            f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}; COMMIT;"
        )
    else:
        marks = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
        foreign = connection.execute("SELECT count(*) FROM sqlite_schema WHERE type IN ('trigger', 'view')").fetchone()
        if marks != [APPLICATION_ID, VERSION] or foreign[0]:
            raise _foreign(path, "is of another program or version")
    connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA temp_store = MEMORY;")
    connection.row_factory = sqlite3.Row


def _foreign(path: Path, problem: str) -> GenkitError:
    return GenkitError(
        "FAILED_PRECONDITION", f"{path} {problem}.", hint="Move it away, or give the trace store another file."
    )
