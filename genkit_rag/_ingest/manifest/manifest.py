"""The manifest: which sources and chunks are indexed, and from which bytes, in one SQLite file.

Two invariants make it safe to stop at any time. The row of a source means that the index is in step with it, and is
written last. The row of a chunk means that the index may contain it, and is written first. So no chunk in the index is
forgotten, and no source counts as indexed before it is.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from genkit_rag._core.errors import GenkitError
from genkit_rag._ingest.manifest.claims import Claim, Claimed, SourceKind, State
from genkit_rag._ingest.manifest.file import open_file, private_copy, problem
from genkit_rag._ingest.near_duplicates.records import SCHEMA as TWIN_SCHEMA
from genkit_rag._ingest.near_duplicates.records import Key, Orphan, Twins

_SCHEMA_VERSION = 3
_SCHEMA = """
CREATE TABLE source (
  id INTEGER PRIMARY KEY, target TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL,
  size INTEGER NOT NULL DEFAULT 0, mtime_ns INTEGER NOT NULL DEFAULT 0, hash TEXT NOT NULL DEFAULT '',
  settings TEXT NOT NULL DEFAULT '', chunks INTEGER NOT NULL DEFAULT 0,
  UNIQUE (target, name));
CREATE TABLE chunk (
  source INTEGER NOT NULL, id TEXT NOT NULL, metadata BLOB, first_run INTEGER NOT NULL, run INTEGER NOT NULL,
  PRIMARY KEY (source, id)) WITHOUT ROWID;
"""
_PAGE = 1000


class Manifest:
    """The sources and chunks of one target. Only one process may write it at a time.

    Args:
        path: The SQLite file; created with its folders.
        target: The index and its namespace; several may share a file.
        discard: Work on a private copy without changing the file.
        near_duplicates: The similarity from which a chunk is held back.
    """

    def __init__(self, path: Path, target: str, *, discard: bool = False, near_duplicates: float | None = None) -> None:
        self.path = path
        self.target = target
        self.run = time.time_ns()
        self.near_duplicates = near_duplicates
        self._lock = threading.Lock()  # one connection serves the producing thread and the others
        try:
            self._db = private_copy(path) if discard else open_file(path)
        except sqlite3.DatabaseError as error:
            raise problem(path, error) from error
        try:
            self._prepare()
            self._twins = Twins(self._db, target)
        except GenkitError:
            self._db.close()
            raise
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise problem(path, error) from error

    def _prepare(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > _SCHEMA_VERSION:
            raise sqlite3.DatabaseError(f"version {version} is newer than this program's")
        if version < _SCHEMA_VERSION:
            schema = TWIN_SCHEMA if version == 1 else _SCHEMA + TWIN_SCHEMA
            with self._transaction():
                for statement in schema.strip().rstrip(";").split(";\n"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        self._db.execute("CREATE TEMP TABLE seen (name TEXT PRIMARY KEY) WITHOUT ROWID")

    @contextmanager
    def _access(self) -> Generator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.DatabaseError as error:
                raise problem(self.path, error) from error

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
        """Record that the name was seen in this run; return whether it is new."""
        with self._access():
            return self._db.execute("INSERT OR IGNORE INTO seen VALUES (?)", (name,)).rowcount == 1

    def state(self, name: str) -> State | None:
        """Return the recorded state of a source."""
        with self._access():
            row = self._db.execute(
                "SELECT size, mtime_ns, hash, settings, chunks FROM source WHERE target = ? AND name = ?",
                (self.target, name),
            ).fetchone()
        return State(*row) if row else None

    def samples(self, name: str) -> list[str]:
        """Return up to two of a source's chunk ids, to check whether the index still has them."""
        held_back = "AND NOT EXISTS (SELECT 1 FROM twin WHERE twin.source = chunk.source AND twin.chunk = chunk.id)"
        with self._access():
            row = self._db.execute(
                "SELECT min(id), max(id) FROM chunk WHERE source = "  # noqa: S608 - fixed text
                f"(SELECT id FROM source WHERE target = ? AND name = ?) {held_back if self._twins.any else ''}",
                (self.target, name),
            ).fetchone()
        return [value for value in row if value is not None]

    def claim(self, claims: Sequence[Claim], kinds: Mapping[str, SourceKind]) -> list[Claimed]:
        """Decide about each chunk, and record that the index may contain it from now on."""
        with self._transaction():
            ids = {name: self._source_id(name, kind) for name, kind in kinds.items()}
            return [self._claim(claim, Key(ids[claim.source], claim.id)) for claim in claims]

    def _claim(self, claim: Claim, key: Key) -> Claimed:
        row = self._db.execute("SELECT metadata, run FROM chunk WHERE source = ? AND id = ?", key).fetchone()
        if row is None:
            self._db.execute("INSERT INTO chunk VALUES (?, ?, NULL, ?, ?)", (*key, self.run, self.run))
        elif row[1] == self.run:
            return Claimed("repeated")
        else:
            # The metadata are forgotten until the index has the new ones.
            kept = row[0] if row[0] == claim.metadata else None
            self._db.execute(
                "UPDATE chunk SET metadata = ?, run = ? WHERE source = ? AND id = ?", (kept, self.run, *key)
            )
        if claim.sketch is None or claim.document is None or self.near_duplicates is None:
            self._twins.release(key)
        elif row is not None and not self._twins.is_held(key):
            self._twins.adopt(key, claim.sketch)
        elif original := self._twins.place(key, claim.document, claim.sketch, self.near_duplicates):
            return Claimed("twin", original)
        return Claimed("new" if row is None else "same" if row[0] == claim.metadata else "known")

    def settle(self, claims: Iterable[Claim]) -> None:
        """Record that the index has the chunks with their metadata."""
        with self._transaction():
            self._db.executemany(
                "UPDATE chunk SET metadata = ? WHERE id = ? AND source = "
                "(SELECT id FROM source WHERE target = ? AND name = ?)",
                ((claim.metadata, claim.id, self.target, claim.source) for claim in claims),
            )

    def with_stale(self, names: Iterable[str]) -> list[str]:
        """Return those of the sources with chunks that this run did not find."""
        return [name for name in names if self._chunks(name, "run <> ?", 1)]

    def stale(self, name: str) -> list[str]:
        """Return up to a thousand chunks of a source that this run did not find."""
        return self._chunks(name, "run <> ?")

    def fresh(self, name: str) -> list[str]:
        """Return up to a thousand chunks of a source that this run added."""
        return self._chunks(name, "first_run = ?")

    def _chunks(self, name: str, condition: str, limit: int = _PAGE) -> list[str]:
        with self._access():
            rows = self._db.execute(
                "SELECT id FROM chunk WHERE source = (SELECT id FROM source WHERE target = ? AND name = ?) "  # noqa: S608
                f"AND {condition} LIMIT {limit}",
                (self.target, name, self.run),
            ).fetchall()
        return [row[0] for row in rows]

    def forget(self, name: str, ids: Sequence[str]) -> int:
        """Drop chunks that the index has deleted; return how many of them it may have had."""
        with self._transaction():
            row = self._db.execute(
                "SELECT id FROM source WHERE target = ? AND name = ?", (self.target, name)
            ).fetchone()
            if row is None:
                return 0
            keys = [Key(row[0], chunk) for chunk in ids]
            self._db.executemany("DELETE FROM chunk WHERE source = ? AND id = ?", keys)
            return len(keys) - sum(self._twins.forget(key) for key in keys)

    def adopt(self, claims: Iterable[Claim]) -> None:
        """Record that the index has chunks that were to be held back."""
        with self._transaction():
            for claim in claims:
                if claim.sketch is not None:
                    self._twins.adopt(Key(self._source_id(claim.source, "document"), claim.id), claim.sketch)

    def orphans(self) -> list[Orphan]:
        """Return chunks that were held back for deleted ones: index them, then release them."""
        with self._transaction():
            while found := self._twins.orphans(_PAGE):
                if alone := self._twins.place_again(found, self.near_duplicates):
                    return alone
        return []

    def doubtful(self, after: int) -> list[Orphan]:
        """Return chunks that are held back for others that the index may not have."""
        with self._access():
            return self._twins.doubtful(after, _PAGE)

    def disown(self, orphans: Iterable[Orphan]) -> None:
        """Record that the originals of these chunks are not in the index."""
        with self._transaction():
            self._twins.disown(orphans)

    def release(self, orphans: Iterable[Orphan]) -> None:
        """Record that the index has chunks that were held back."""
        with self._transaction():
            for orphan in orphans:
                self._twins.release(orphan.key)

    def commit(self, states: Iterable[tuple[str, SourceKind, State]]) -> None:
        """Record that the index is in step with the sources."""
        with self._transaction():
            for name, kind, state in states:
                self._db.execute(
                    "UPDATE source SET size = ?, mtime_ns = ?, hash = ?, settings = ?, chunks = ? WHERE id = ?",
                    (
                        state.size,
                        state.mtime_ns,
                        state.hash,
                        state.settings,
                        state.chunks,
                        self._source_id(name, kind),
                    ),
                )

    def drop(self, name: str) -> None:
        """Drop a source whose chunks were dropped."""
        with self._transaction():
            self._db.execute("DELETE FROM source WHERE target = ? AND name = ?", (self.target, name))

    def abandon(self, name: str) -> None:
        """Drop a source that was never indexed and has no chunks."""
        with self._transaction():
            self._db.execute(
                "DELETE FROM source WHERE target = ? AND name = ? AND hash = '' "
                "AND NOT EXISTS (SELECT 1 FROM chunk WHERE chunk.source = source.id)",
                (self.target, name),
            )

    def unseen(self, kind: SourceKind) -> Iterator[str]:
        """Yield the sources of the kind that this run has not seen; the caller may drop them during iteration."""
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
