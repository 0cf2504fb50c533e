"""Connections to the SQLite file of a store, and their transactions."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
import threading
from collections.abc import Generator
from pathlib import Path

from genkit_rag.plugin_api import GenkitError
from genkit_rag_faiss._storage.files import unwritten
from genkit_rag_faiss._storage.sqlite_errors import sqlite_error

PAGE_SIZE = 16384
"""Ten vectors of 384 dimensions fit one page; with 4096 bytes a quarter of every page is wasted."""
CHECKPOINT_PAGES = (64 << 20) // PAGE_SIZE


class Connections:
    """Connections to `store.db`: one that writes, and one for each thread that reads.

    Only the writing connection ever makes a checkpoint (SQLite before 3.51.3 can damage a database when two
    connections do: https://sqlite.org/wal.html#walresetbug), and it is closed last.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._writer: sqlite3.Connection | None = None
        self._watch: sqlite3.Connection | None = None
        self._inode: int | None = None
        self._still: object = None
        """The state of the file when it was opened as immutable."""
        self._lock = threading.Lock()

    @property
    def writer(self) -> sqlite3.Connection:
        """The connection that writes; only the writer thread uses it."""
        if self._writer is None:
            connection = self._connect("rw")
            connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            connection.execute(f"PRAGMA journal_size_limit = {64 << 20}")
            connection.execute("PRAGMA cache_size = -65536")
            if sys.platform == "darwin":
                connection.execute("PRAGMA fullfsync = 1")
            self._writer = connection
            self._inode = self.path.stat().st_ino
        return self._writer

    @property
    def reader(self) -> sqlite3.Connection:
        """The connection of the current thread for reading."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect("ro")
            with self._lock:
                self._readers.append(connection)
        return connection

    def _connect(self, mode: str) -> sqlite3.Connection:
        uri = f"{self.path.absolute().as_uri()}?mode={mode}"
        if mode == "ro" and not os.access(self.path.parent, os.W_OK) and (still := unwritten(self.path)) is not None:
            uri += "&immutable=1"  # without a log SQLite would make one, which it may not
            self._still = still
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=10)
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        return connection

    @contextlib.contextmanager
    def transaction(self) -> Generator[sqlite3.Connection]:
        """Open a transaction on the writing connection: it commits durably or rolls back."""
        with self.errors():
            writer = self.writer
            self._check_place()
            writer.execute("BEGIN IMMEDIATE")
            try:
                yield writer
                writer.execute("COMMIT")
            except BaseException:
                if writer.in_transaction:
                    with contextlib.suppress(sqlite3.Error):
                        writer.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def snapshot(self) -> Generator[sqlite3.Connection]:
        """Open a read transaction on the thread's connection: all reads see the same commit."""
        with self.errors():
            reader = self.reader
            reader.execute("BEGIN")
            try:
                yield reader
            finally:
                reader.execute("COMMIT")

    def version(self) -> int:
        """Return a number that changes when another process commits; takes a few microseconds."""
        if self._still is not None and self._still != unwritten(self.path):
            raise GenkitError(
                "FAILED_PRECONDITION",
                f"`{self.path}` was written to since a reader opened it in a folder it may not write to.",
                hint="Open the store again.",
            )
        with self.errors(), self._lock:
            if self._watch is None:  # the number is one connection's own, so it is always the same one that is asked
                self._watch = self._connect("ro")
            return int(self._watch.execute("PRAGMA data_version").fetchone()[0])

    def tidy(self) -> None:
        """Vacuum if over a quarter of the file is free, and move the write-ahead log into the file."""
        with self.errors():
            free, pages = (
                self.writer.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "page_count")
            )
            if free * 4 > pages:
                self.writer.execute("VACUUM")
            self.writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def integrity(self) -> list[str]:
        """Return the problems that SQLite finds in the file."""
        with self.errors():
            found = [row[0] for row in self.reader.execute("PRAGMA integrity_check(20)")]
        return [] if found == ["ok"] else found

    def close(self) -> None:
        """Close every connection, the writing one last."""
        with self._lock:
            readers, self._readers = self._readers, []
            if self._watch is not None:
                readers.append(self._watch)
                self._watch = None
        for reader in readers:
            with contextlib.suppress(sqlite3.Error):
                reader.close()
        self._local = threading.local()
        writer, self._writer = self._writer, None
        if writer is not None:
            with contextlib.suppress(sqlite3.Error):
                writer.close()

    def _check_place(self) -> None:
        try:
            moved = self.path.stat().st_ino != self._inode
        except OSError:
            moved = True
        if moved:
            raise GenkitError(
                "FAILED_PRECONDITION",
                f"`{self.path}` was moved or replaced while it was open.",
                hint="Open the store again; nothing was written.",
                details={"path": str(self.path)},
            )

    @contextlib.contextmanager
    def errors(self) -> Generator[None]:
        """Convert SQLite's errors to `GenkitError`."""
        try:
            yield
        except sqlite3.Error as error:
            raise sqlite_error(error, self.path) from error
