"""A store's data in this process: opened, followed when another process writes, published as views."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genkit_rag.plugin_api import Fingerprint, GenkitError, fingerprint_mismatch
from genkit_rag_faiss._index.caches import Caches
from genkit_rag_faiss._index.columns import Filters
from genkit_rag_faiss._index.view import Rows, View
from genkit_rag_faiss._options import FaissConfig
from genkit_rag_faiss._storage.database import Database, Key, State
from genkit_rag_faiss._storage.files import WriterLock, make_directory, read_format, read_identity, write_format
from genkit_rag_faiss._storage.payloads import Payloads
from genkit_rag_faiss._storage.records import damaged, key_crc

logger = logging.getLogger("genkit_rag.faiss")

_PATIENCE = 100
"""How many hundredths of a second a deletion may take from the disk to the view."""


class Contents:
    """The content of a store in memory. One thread changes it; readers take `view` once."""

    def __init__(self, path: Path, options: FaissConfig) -> None:
        self.path = path
        self.options = options
        self.database = Database(path / "store.db")
        self.lock = WriterLock(path)
        self.payloads = Payloads(self.database)
        self.filters = Filters(self.database)
        self.caches = Caches(path, self.database, options, self.filters)
        self.fingerprint: Fingerprint | None = None
        self.bound: Fingerprint | None = None
        self._stored: Fingerprint | None = None
        self.view: View | None = None
        self._rows: Rows | None = None
        self._state = State(0, 0)
        self._version = 0
        self.database.is_lost = self._is_lost

    # Opening and following.

    def open(self) -> None:
        """Open the store; create it if it does not exist."""
        complete = read_format(self.path)
        if self.options.mode == "w":
            make_directory(self.path)
            if not complete:
                self._create()
        elif not complete:
            raise GenkitError(
                "NOT_FOUND", f"There is no store at `{self.path}`.", hint="Open it with mode='w' to create it."
            )
        if not self.database.initialised():
            raise damaged(f"`{self.database.path}` is missing or empty")
        identity = read_identity(self.path)
        if identity is not None and self.database.meta("store") not in (identity, None):
            raise damaged("`store.db` or its log is another store's")
        self._version = self.database.version()
        self._load()

    def _create(self) -> None:
        self.lock.acquire(max(self.options.lock_timeout, 10))  # another process may be creating it right now
        try:
            self.database.create()
            write_format(self.path, self.database.meta("store"))  # last: a store that has it is complete
        finally:
            self.database.close()
            self.lock.release()

    def _load(self) -> None:
        with self.database.snapshot() as connection:
            state = self.database.state(connection)
            self._read_meta()
            dimensions = self.database.meta("dimensions", connection)
            if dimensions is None and not state.live:
                return
            if dimensions is None:
                raise damaged("it has documents and no dimensions")
            if not self._load_saved(connection, state, int(dimensions)):
                self._load_all(connection, state, int(dimensions))
        self.publish()

    def _load_saved(self, connection: Any, state: State, dimensions: int) -> bool:
        """Load the rows from segments and apply later changes; return whether the result has this state."""
        saved = self.caches.rows(self.database.segments(connection), dimensions)
        if saved is None:
            return False
        self._rows, digest = saved
        self._state = State(self._rows.live, digest)
        self._catch_up(connection)
        if self._state == state:
            return True
        logger.warning("The segments of the store %s do not lead to what is in it: all rows are read.", self.path)
        self._rows = None
        return False

    def _load_all(self, connection: Any, state: State, dimensions: int) -> None:
        self._rows = Rows(dimensions)
        self._state = State(0, 0)
        self._append_from(connection, self.database.keys(connection))
        if self._state != state:
            raise damaged("it has other documents than its state record says")

    def _catch_up(self, connection: Any) -> None:
        """Remove deleted rows and add new ones."""
        assert self._rows is not None
        gone = self._rows.keys_of(self.database.gone(connection))
        self._rows.remove(gone)
        self._add_state(-len(gone), -sum(key_crc(*key) for key in gone))
        last = int(self._rows.seqs[self._rows.n - 1]) if self._rows.n else 0
        self._append_from(connection, self.database.keys(connection, last))

    def _append_from(self, connection: Any, keys: Sequence[Key]) -> None:
        """Add the rows of the database that are newer than those in memory."""
        assert self._rows is not None
        last = int(self._rows.seqs[self._rows.n - 1]) if self._rows.n else 0
        seqs, vectors = self.database.vectors(connection, last, self._rows.dimensions)
        if seqs != [key.seq for key in keys]:
            raise damaged("documents and vectors do not belong together")
        self._rows.append(keys, vectors)
        self._add_state(len(keys), sum(key_crc(*key) for key in keys))

    def _read_meta(self) -> None:
        raw = self.database.meta("fingerprint")
        if raw is not None:
            stored = json.loads(raw)
            stored["prefixes"] = tuple(stored["prefixes"])
            self.fingerprint = self._stored = Fingerprint(**stored)
        metric = self.database.meta("metric")
        if metric is not None and metric != self.options.metric:
            raise GenkitError(
                "FAILED_PRECONDITION",
                f"The store `{self.path}` was filled with metric={metric!r}, not {self.options.metric!r}.",
                hint=f"Open it with metric={metric!r}, or index again into a new store.",
            )

    def _is_lost(self, seqs: set[int]) -> bool:
        """Return whether rows that the database does not have are live in the newest view."""
        for _ in range(_PATIENCE):
            view = self.view
            if view is None or self.behind():
                return False
            if (view.rows_of_seqs(np.array(sorted(seqs), np.int64)) < 0).all():
                return False
            time.sleep(0.01)  # they were just deleted, perhaps, and the view without them is about to be published
        return True

    def behind(self) -> bool:
        """Return whether another process has committed since the last refresh; takes a few microseconds."""
        return not self.lock.held and self.database.version() != self._version

    def refresh(self) -> None:
        """Apply the commits of other processes. Also a barrier: afterwards every earlier write is in the view."""
        if self.behind():
            self._follow()

    def _follow(self) -> None:
        self._version = self.database.version()
        stored = self._stored
        self._read_meta()
        if self._rows is None or stored != self._stored:  # nothing yet, or all of it by another embedder
            self._rows = None
            return self._load()
        with self.database.snapshot() as connection:
            state = self.database.state(connection)
            self._catch_up(connection)
            if self._state != state:
                self._remove_missing({key.seq for key in self.database.keys(connection)})
            if self._state != state:
                raise damaged("it has other documents than its state record says")
        self.publish()

    def _remove_missing(self, there: set[int]) -> None:
        view = self.publish()
        names = {code: namespace for namespace, code in view.codes.items()}
        gone = [
            Key(seq, names[int(view.spaces[row])], view.ids[row])
            for row, seq in enumerate(view.seqs.tolist())
            if view.alive[row] and seq not in there
        ]
        assert self._rows is not None
        self._rows.remove(gone)
        self._add_state(-len(gone), -sum(key_crc(*key) for key in gone))

    def _add_state(self, count: int, digest: int) -> None:
        self._state = State(self._state.live + count, (self._state.digest + digest) % 2**62)

    def publish(self) -> View:
        """Publish the rows in memory as a new view; a single assignment."""
        assert self._rows is not None
        if self._rows.wasteful:
            self._rows = self._rows.compacted()
        self.view = self._rows.view()
        return self.view

    # Checks against the bound embedding model and for lost rows.

    def bind(self, fingerprint: Fingerprint) -> None:
        """Remembers the embedder, to be stored with the first documents, or checks it against the stored one."""
        if self.fingerprint is None and self._rows is not None and self._rows.dimensions != fingerprint.dimensions:
            raise fingerprint_mismatch(
                self.path.name, Fingerprint("unknown", "unknown", self._rows.dimensions), fingerprint
            )
        if self.fingerprint is not None and self.fingerprint != fingerprint:
            raise fingerprint_mismatch(self.path.name, self.fingerprint, fingerprint)
        self.fingerprint = self.bound = fingerprint

    def check_bound(self) -> None:
        """Raise FAILED_PRECONDITION if another process has changed the bound embedding model."""
        if self.bound is not self.fingerprint and self.bound is not None and self.bound != self.fingerprint:
            assert self.fingerprint is not None
            raise fingerprint_mismatch(self.path.name, self.fingerprint, self.bound)

    def find(self, connection: Any, namespace: str, ids: Sequence[str]) -> list[Key]:
        """Return the keys of the existing ids; DATA_LOSS if the database does not find a live one."""
        keys = self.database.find(connection, namespace, ids)
        if len(keys) < len(ids) and self.view is not None:
            found = {key.id for key in keys}
            self.check_absent(namespace, [name for name in ids if name not in found])
        return keys

    def check_findable(self, namespace: str, ids: Sequence[str]) -> None:
        """Raise DATA_LOSS if the database does not find ids of the newest view."""
        self.refresh()
        with self.database.errors():
            self.find(self.database.reader, namespace, list(dict.fromkeys(ids)))

    def check_absent(self, namespace: str, ids: Sequence[str]) -> None:
        """Raise DATA_LOSS if a row in memory has an id that the database did not find."""
        lost = self.view.holds(namespace, ids) if self.view is not None else []
        if lost:
            raise damaged(f"{len(lost)} documents cannot be found by their ids, such as {lost[0]!r}")
