"""The store without its event loop: opens, writes, publishes views, saves what saves time.

Everything that changes something runs in one thread, one call after the other. Readers take `view` once and see
exactly that.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Generator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from genkit_rag.plugin_api import (
    Document,
    Filter,
    Fingerprint,
    GenkitError,
    Vectors,
    checked_vectors,
    fingerprint_mismatch,
    invalid,
)
from genkit_rag_faiss._ann import Ann
from genkit_rag_faiss._caches import Caches
from genkit_rag_faiss._columns import Filters
from genkit_rag_faiss._database import Database, Key, State
from genkit_rag_faiss._files import WriterLock, make_directory, read_format, write_format
from genkit_rag_faiss._options import FaissOptions
from genkit_rag_faiss._payloads import Payloads
from genkit_rag_faiss._records import check_batch, check_names, damaged, encode, key_crc
from genkit_rag_faiss._text import TextIndex
from genkit_rag_faiss._view import Rows, View

logger = logging.getLogger("genkit_rag.faiss")

_UNIT = 1e-3
"""How far from 1 a length may be for a vector to be taken as it is."""


_FATAL = ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "DATA_LOSS", "PERMISSION_DENIED")


class Engine:
    """One store's data in this process."""

    def __init__(self, path: Path, options: FaissOptions) -> None:
        self.path = path
        self.options = options
        self.database = Database(path / "store.db")
        self.lock = WriterLock(path)
        self.payloads = Payloads(self.database)
        self.filters = Filters(self.database)
        self.caches = Caches(path, self.database, options)
        self.fingerprint: Fingerprint | None = None
        self.view: View | None = None
        self._rows: Rows | None = None
        self._state = State(0, 0)
        self._version = 0
        self._poisoned: GenkitError | None = None

    # Opening and following.

    def open(self) -> None:
        """Opens the store, creating it when it is not there."""
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
        self._version = self.database.version()
        self._load()

    def _create(self) -> None:
        self.lock.acquire(max(self.options.lock_timeout, 10))  # another process may be creating it right now
        try:
            self.database.create()
            write_format(self.path)  # last: a store that has it is complete
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
            keys = self.database.keys(connection)
            self._state = State(len(keys), sum(key_crc(*key) for key in keys) % 2**62)
            if self._state != state or dimensions is None:
                raise damaged("it has other documents than its state record says")
            self._rows = self.caches.rows(self.database.segments(connection), keys, int(dimensions))
            self._append_from(connection, keys)
        self.publish()

    def _append_from(self, connection: Any, keys: Sequence[Key]) -> None:
        """Adds the rows of the database that are newer than those in memory."""
        assert self._rows is not None
        last = int(self._rows.seqs[self._rows.n - 1]) if self._rows.n else 0
        new = [key for key in keys if key.seq > last]
        seqs, vectors = self.database.vectors(connection, last, self._rows.dimensions)
        if seqs != [key.seq for key in new]:
            raise damaged("documents and vectors do not belong together")
        self._rows.append(new, vectors)

    def _read_meta(self) -> None:
        raw = self.database.meta("fingerprint")
        if raw is not None:
            stored = json.loads(raw)
            stored["prefixes"] = tuple(stored["prefixes"])
            self.fingerprint = Fingerprint(**stored)
        metric = self.database.meta("metric")
        if metric is not None and metric != self.options.metric:
            raise GenkitError(
                "FAILED_PRECONDITION",
                f"The store `{self.path}` was filled with metric={metric!r}, not {self.options.metric!r}.",
                hint=f"Open it with metric={metric!r}, or index again into a new store.",
            )

    def behind(self) -> bool:
        """Returns whether another process has written since; a few microseconds."""
        return not self.lock.held and self.database.version() != self._version

    def refresh(self) -> None:
        """Takes up what another process has written. Also a barrier: every earlier write is in the view after it."""
        if self.behind():
            self._follow()

    def _follow(self) -> None:
        self._version = self.database.version()
        if self._rows is None:
            return self._load()
        with self.database.snapshot() as connection:
            state = self.database.state(connection)
            last = int(self._rows.seqs[self._rows.n - 1]) if self._rows.n else 0
            new = self.database.keys(connection, last)
            self._append_from(connection, new)
            self._add_state(len(new), sum(key_crc(*key) for key in new))
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
        """Makes what is in memory visible; one assignment."""
        assert self._rows is not None
        if self._rows.wasteful:
            self._rows = self._rows.compacted()
        self.view = self._rows.view()
        return self.view

    # Writing.

    def bind(self, fingerprint: Fingerprint) -> None:
        """Remembers the embedder, to be stored with the first documents, or checks it against the stored one."""
        if self.fingerprint is None and self._rows is not None and self._rows.dimensions != fingerprint.dimensions:
            raise fingerprint_mismatch(
                self.path.name, Fingerprint("unknown", "unknown", self._rows.dimensions), fingerprint
            )
        if self.fingerprint is not None and self.fingerprint != fingerprint:
            raise fingerprint_mismatch(self.path.name, self.fingerprint, fingerprint)
        self.fingerprint = fingerprint

    def upsert(self, documents: Sequence[Document], vectors: Vectors, namespace: str) -> None:
        """Adds or replaces documents in one transaction; durable when it returns."""
        check_names("namespace", [namespace])
        ids = check_batch(documents)
        vectors = self._checked(vectors, ids)
        if not ids:
            return
        with self._writing(), self.database.transaction() as writer:
            first = self.database.next_seq(writer)
            rows, digest = encode(documents, first, namespace)
            old = self.database.find(writer, namespace, ids)
            digest -= self.database.remove(writer, old)
            self.database.insert(writer, rows, vectors)
            settings = self._new_settings(writer, vectors.shape[1])
            self._state = self.database.add_to_state(writer, len(rows) - len(old), digest, settings)
        if self._rows is None:
            self._rows = Rows(vectors.shape[1])
        self._rows.remove(old)
        self._rows.append([Key(*row[:3]) for row in rows], vectors)
        self.publish()

    def delete(self, ids: Sequence[str] | None, filter: Filter | None, namespace: str) -> int:
        """Removes documents by id or by filter in one transaction; returns how many there were."""
        if (ids is None) == (filter is None):
            raise invalid("ids", ids, "or `filter` must be given, and only one of them", hint="All: filter=And(()).")
        with self._writing():
            if self.view is None:
                return 0
            with self.database.transaction() as writer:
                if filter is not None:
                    rows = self.filters.rows(filter, namespace, self.view)
                    view = self.view
                    chosen = np.flatnonzero(view.alive) if rows is None else rows
                    keys = [Key(int(view.seqs[row]), namespace, view.ids[row]) for row in chosen.tolist()]
                else:
                    keys = self.database.find(writer, namespace, list(dict.fromkeys(ids or ())))
                if not keys:
                    return 0
                digest = self.database.remove(writer, keys)
                self._state = self.database.add_to_state(writer, -len(keys), -digest)
        assert self._rows is not None
        self._rows.remove(keys)
        self.publish()
        return len(keys)

    @contextlib.contextmanager
    def _writing(self) -> Generator[None]:
        """Lets one write through: the lock is held, the view is the newest, and nothing was lost before."""
        self._may_write()
        state = self._state
        try:
            yield
        except BaseException as error:
            self._state = state
            if isinstance(error, GenkitError) and error.status in _FATAL:
                self._poisoned = error  # a failed sync must not be tried again: what reached the disk is unknown
            raise

    def _may_write(self) -> None:
        if self.options.mode == "r":
            raise GenkitError(
                "FAILED_PRECONDITION", f"The store `{self.path}` was opened with mode='r'.",
                hint="Open it with mode='w' to write.",
            )  # fmt: skip
        if self._poisoned is not None:
            raise GenkitError(
                "FAILED_PRECONDITION",
                f"The store `{self.path}` takes no more writes after an error: {self._poisoned.message}",
                hint="Close it and open it again. Everything that was acknowledged is safe; reading goes on.",
            ) from self._poisoned
        if not self.lock.held:
            self.lock.acquire(self.options.lock_timeout)
            if self.database.version() != self._version:
                self._follow()

    def _new_settings(self, writer: Any, dimensions: int) -> dict[str, str]:
        settings: dict[str, str] = {}
        if self._rows is None:
            settings |= {"dimensions": str(dimensions), "metric": self.options.metric}
        if self.fingerprint is not None and self.database.meta("fingerprint", writer) is None:
            settings["fingerprint"] = json.dumps(asdict(self.fingerprint))
        return settings

    def _checked(self, raw: Vectors, ids: Sequence[str]) -> Vectors:
        dimensions = self._rows.dimensions if self._rows is not None else None
        if dimensions is None and self.fingerprint is not None:
            dimensions = self.fingerprint.dimensions
        vectors = checked_vectors(raw, dimensions)
        if len(vectors) != len(ids):
            raise invalid("vectors", len(vectors), f"must be as many as the documents ({len(ids)})")
        if not vectors.shape[1]:
            raise invalid("vectors", vectors.shape, "must have dimensions")
        return self.normalized(vectors, ids)

    def normalized(self, vectors: Vectors, ids: Sequence[str] | None = None) -> Vectors:
        """Returns vectors of length 1 for the metric `cosine`; raises INVALID_ARGUMENT for zero vectors."""
        if self.options.metric != "cosine":
            return vectors
        if len(vectors) == 1 and abs(vectors[0] @ vectors[0] - 1) <= 2 * _UNIT:
            return vectors  # a query of a normalising embedder, as nearly all are
        squares = np.einsum("ij,ij->i", vectors, vectors)
        if not (squares > 0).all():
            row = int(np.flatnonzero(squares <= 0)[0])
            which = f"row {row}" if ids is None else f"row {row} (document {ids[row]!r})"
            raise invalid(
                "vectors", which, "must not be a zero vector: it has no direction",
                hint="Leave such a text out, or open the store with metric='dot'.",
            )  # fmt: skip
        if (abs(squares - 1) <= 2 * _UNIT).all():
            return vectors
        return np.ascontiguousarray(vectors / np.sqrt(squares)[:, None], dtype=np.float32)

    # What is derived.

    def ann_is_due(self) -> bool:
        """Returns whether there should be an approximate index that covers more than it does."""
        return self.caches.ann_is_due(self.view)

    def open_text(self) -> TextIndex:
        """Returns the index of words, opened at the first call."""
        return self.caches.open_text(writable=self.lock.held)

    def install(self, view: View, ann: Ann) -> None:
        """Publishes an index, unless the rows were numbered anew since."""
        if self._rows is not None and self._rows.layout == view.layout:
            self._rows.ann = ann
            self.publish()

    def compact(self) -> None:
        """Drops dead rows, builds what is due, writes segments, and gives space back to the disk."""
        with self._writing():
            if self._rows is not None:
                if self._rows.live < self._rows.n:
                    self._rows = self._rows.compacted()
                view = self.publish()
                if self.ann_is_due():
                    self.install(view, self.caches.build_ann(view))
                self.caches.save(self.view or view, force=True)
            self.database.tidy()

    def close(self) -> None:
        """Saves what is due and closes the files. What is durable does not depend on it."""
        if self._poisoned is None and self.view is not None and self.lock.held:
            try:
                self.caches.save(self.view)
            except (GenkitError, OSError) as error:
                logger.warning("The segments of the store %s were not written: %s", self.path, error)
        self.caches.text = None
        self.database.close()
        self.payloads.forget()
        self.lock.release()
