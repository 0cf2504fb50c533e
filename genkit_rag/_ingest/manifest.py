"""What was indexed, from which bytes: one small SQLite file.

Two promises make it safe to stop anywhere. A source's row says that the index is in step with it, and is written
last. A chunk's row says that the index may hold it, and is written first. So no chunk is forgotten in the index, and
no source is believed to be there that is not.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from genkit_rag._core.errors import GenkitError

SourceKind = Literal["file", "document"]
ClaimState = Literal["new", "known", "same", "duplicate"]
"""Of a chunk: not seen before; seen; seen with the same metadata; given twice in this run."""

_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE source (
  id INTEGER PRIMARY KEY, target TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL,
  size INTEGER NOT NULL DEFAULT 0, mtime_ns INTEGER NOT NULL DEFAULT 0, hash TEXT NOT NULL DEFAULT '',
  settings TEXT NOT NULL DEFAULT '', embedder TEXT NOT NULL DEFAULT '', chunks INTEGER NOT NULL DEFAULT 0,
  UNIQUE (target, name));
CREATE TABLE chunk (
  source INTEGER NOT NULL, id TEXT NOT NULL, metadata BLOB, first_run INTEGER NOT NULL, run INTEGER NOT NULL,
  PRIMARY KEY (source, id)) WITHOUT ROWID;
"""
_PAGE = 1000
_FIX = "Check the folder's permissions and the disk, then run again."
_DAMAGED = (
    "Delete that file and run again: sources are then looked at anew, and chunks that the index still holds are not "
    "embedded again."
)


@dataclass(frozen=True, slots=True)
class State:
    """A source as it was indexed. `hash` is empty until it was indexed completely once."""

    size: int = 0
    mtime_ns: int = 0
    hash: str = ""
    settings: str = ""
    embedder: str = ""
    chunks: int = 0


@dataclass(frozen=True, slots=True)
class Claim:
    """A chunk that is about to be written, of the source of that name."""

    source: str
    id: str
    metadata: bytes


class Manifest:
    """The sources and chunks of one target. Only one process writes it at a time; others are refused.

    Args:
        path: The SQLite file; it is made with its folders.
        target: The index, and its namespace; several may share a file.
        discard: Work on a private copy: nothing is written to the file.
    """

    def __init__(self, path: Path, target: str, *, discard: bool = False) -> None:
        self.path = path
        self.target = target
        self.run = time.time_ns()
        self._lock = threading.Lock()  # one connection serves the producing thread and the others
        try:
            self._db = _copy(path) if discard else _open(path)
        except sqlite3.DatabaseError as error:
            raise _problem(path, error) from error
        try:
            self._prepare()
        except GenkitError:
            self._db.close()
            raise
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise _problem(path, error) from error

    def _prepare(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > _SCHEMA_VERSION:
            raise sqlite3.DatabaseError(f"version {version} is newer than this program's")
        if version == 0:
            with self._transaction():
                for statement in _SCHEMA.strip().rstrip(";").split(";\n"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        self._db.execute("CREATE TEMP TABLE seen (name TEXT PRIMARY KEY) WITHOUT ROWID")

    @contextmanager
    def _access(self) -> Generator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.DatabaseError as error:
                raise _problem(self.path, error) from error

    @contextmanager
    def _transaction(self) -> Generator[None]:
        with self._access():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                if self._db.in_transaction:  # SQLite ends it itself when the disk is full or the file is damaged
                    self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def see(self, name: str) -> bool:
        """Returns whether the name was not seen in this run before, and remembers it."""
        with self._access():
            return self._db.execute("INSERT OR IGNORE INTO seen VALUES (?)", (name,)).rowcount == 1

    def state(self, name: str) -> State | None:
        """Returns what is known of a source."""
        with self._access():
            row = self._db.execute(
                "SELECT size, mtime_ns, hash, settings, embedder, chunks FROM source WHERE target = ? AND name = ?",
                (self.target, name),
            ).fetchone()
        return State(*row) if row else None

    def samples(self, name: str) -> list[str]:
        """Returns two of a source's chunk ids, to ask the index whether it still has them; none if it has none."""
        with self._access():
            row = self._db.execute(
                "SELECT min(id), max(id) FROM chunk WHERE source = "
                "(SELECT id FROM source WHERE target = ? AND name = ?)",
                (self.target, name),
            ).fetchone()
        return [value for value in row if value is not None]

    def claim(self, claims: Sequence[Claim], kinds: Mapping[str, SourceKind]) -> list[ClaimState]:
        """Returns the state of each chunk, and records that the index may hold it from now on."""
        states: list[ClaimState] = []
        with self._transaction():
            ids = {name: self._source_id(name, kind) for name, kind in kinds.items()}
            for claim in claims:
                key = (ids[claim.source], claim.id)
                row = self._db.execute("SELECT metadata, run FROM chunk WHERE source = ? AND id = ?", key).fetchone()
                if row is None:
                    states.append("new")
                    self._db.execute("INSERT INTO chunk VALUES (?, ?, NULL, ?, ?)", (*key, self.run, self.run))
                elif row[1] == self.run:
                    states.append("duplicate")
                else:
                    states.append("same" if row[0] == claim.metadata else "known")
                    # The metadata are forgotten until the index has the new ones.
                    kept = row[0] if row[0] == claim.metadata else None
                    self._db.execute(
                        "UPDATE chunk SET metadata = ?, run = ? WHERE source = ? AND id = ?", (kept, self.run, *key)
                    )
        return states

    def settle(self, claims: Iterable[Claim]) -> None:
        """Records that the index holds the chunks with their metadata."""
        with self._transaction():
            self._db.executemany(
                "UPDATE chunk SET metadata = ? WHERE id = ? AND source = "
                "(SELECT id FROM source WHERE target = ? AND name = ?)",
                ((claim.metadata, claim.id, self.target, claim.source) for claim in claims),
            )

    def with_stale(self, names: Iterable[str]) -> list[str]:
        """Returns those of the sources that have chunks which this run did not find in them."""
        return [name for name in names if self._chunks(name, "run <> ?", 1)]

    def stale(self, name: str) -> list[str]:
        """Returns up to a thousand chunks of a source that this run did not find in it."""
        return self._chunks(name, "run <> ?")

    def fresh(self, name: str) -> list[str]:
        """Returns up to a thousand chunks of a source that this run has added."""
        return self._chunks(name, "first_run = ?")

    def _chunks(self, name: str, condition: str, limit: int = _PAGE) -> list[str]:
        with self._access():
            rows = self._db.execute(
                "SELECT id FROM chunk WHERE source = (SELECT id FROM source WHERE target = ? AND name = ?) "  # noqa: S608
                f"AND {condition} LIMIT {limit}",
                (self.target, name, self.run),
            ).fetchall()
        return [row[0] for row in rows]

    def forget(self, name: str, ids: Iterable[str]) -> None:
        """Drops chunks, after the index did."""
        with self._transaction():
            self._db.executemany(
                "DELETE FROM chunk WHERE id = ? AND source = (SELECT id FROM source WHERE target = ? AND name = ?)",
                ((chunk, self.target, name) for chunk in ids),
            )

    def commit(self, states: Iterable[tuple[str, SourceKind, State]]) -> None:
        """Records that the index is in step with the sources."""
        with self._transaction():
            for name, kind, state in states:
                self._db.execute(
                    "UPDATE source SET size = ?, mtime_ns = ?, hash = ?, settings = ?, embedder = ?, chunks = ? "
                    "WHERE id = ?",
                    (state.size, state.mtime_ns, state.hash, state.settings, state.embedder, state.chunks,
                     self._source_id(name, kind)),
                )  # fmt: skip

    def drop(self, name: str) -> None:
        """Drops a source, after its chunks."""
        with self._transaction():
            self._db.execute("DELETE FROM source WHERE target = ? AND name = ?", (self.target, name))

    def abandon(self, name: str) -> None:
        """Drops a source that was never indexed and has no chunks."""
        with self._transaction():
            self._db.execute(
                "DELETE FROM source WHERE target = ? AND name = ? AND hash = '' "
                "AND NOT EXISTS (SELECT 1 FROM chunk WHERE chunk.source = source.id)",
                (self.target, name),
            )

    def unseen(self, kind: SourceKind) -> Iterator[str]:
        """Yields the sources of the kind that this run has not seen; the caller may drop them on the way."""
        last = ""
        while True:
            with self._access():
                rows = self._db.execute(
                    "SELECT name FROM source WHERE target = ? AND kind = ? AND name > ? "
                    "AND name NOT IN (SELECT name FROM seen) ORDER BY name LIMIT ?",
                    (self.target, kind, last, _PAGE),
                ).fetchall()
            if not rows:
                return
            last = rows[-1][0]
            yield from (row[0] for row in rows)

    def close(self) -> None:
        """Frees the file and its lock."""
        with self._access():
            self._db.close()

    def _source_id(self, name: str, kind: SourceKind) -> int:
        row = self._db.execute("SELECT id FROM source WHERE target = ? AND name = ?", (self.target, name)).fetchone()
        if row is None:
            cursor = self._db.execute(
                "INSERT INTO source (target, name, kind) VALUES (?, ?, ?)", (self.target, name, kind)
            )
            return int(cursor.lastrowid or 0)
        return int(row[0])


def _open(path: Path) -> sqlite3.Connection:
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


def _copy(path: Path) -> sqlite3.Connection:
    copy = sqlite3.connect("", isolation_level=None, check_same_thread=False)  # a private file, gone when closed
    if path.exists():
        with closing(_open(path)) as db:
            db.backup(copy)
    return copy


def _problem(path: Path, error: sqlite3.DatabaseError) -> GenkitError:
    """Returns what to raise for an error of the file."""
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
