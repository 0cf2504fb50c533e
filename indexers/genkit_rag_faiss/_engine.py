"""The store without its event loop: writes, and saves what saves time.

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
    check_documents,
    check_names,
    checked_vectors,
    invalid,
)
from genkit_rag_faiss._contents import Contents
from genkit_rag_faiss._index.ann import Ann
from genkit_rag_faiss._index.text import TextIndex
from genkit_rag_faiss._index.view import Rows, View
from genkit_rag_faiss._options import FaissConfig
from genkit_rag_faiss._storage import staging
from genkit_rag_faiss._storage.database import Key
from genkit_rag_faiss._storage.records import Row, encode

logger = logging.getLogger("genkit_rag.faiss")

_UNIT = 1e-3
"""How far from 1 a length may be for a vector to be taken as it is."""


_FATAL = ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "DATA_LOSS", "PERMISSION_DENIED")


class Engine(Contents):
    """The half that writes."""

    def __init__(self, path: Path, options: FaissConfig) -> None:
        super().__init__(path, options)
        self._poisoned: GenkitError | None = None

    # Writing.

    def upsert(self, documents: Sequence[Document], vectors: Vectors, namespace: str) -> None:
        """Add or replace documents durably in one transaction."""
        check_names("namespace", [namespace])
        ids = check_documents(documents)
        self.check_bound()
        vectors = self._checked(vectors, ids)
        if not ids:
            return
        with self._writing(), self.database.transaction() as writer:
            first = self.database.next_seq(writer)
            rows, digest = encode(documents, first, namespace)
            old = self.find(writer, namespace, ids)
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
        """Remove documents by id or by filter in one transaction; return their number."""
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
                    keys = self.find(writer, namespace, list(dict.fromkeys(ids or ())))
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
                "FAILED_PRECONDITION",
                f"The store `{self.path}` was opened with mode='r'.",
                hint="Open it with mode='w' to write.",
            )
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
        """Return unit vectors for the metric `cosine`; INVALID_ARGUMENT for zero vectors."""
        if self.options.metric != "cosine":
            return vectors
        if len(vectors) == 1 and abs(vectors[0] @ vectors[0] - 1) <= 2 * _UNIT:
            return vectors  # a query of a normalising embedder, as nearly all are
        squares = np.einsum("ij,ij->i", vectors, vectors)
        if not (squares > 0).all():
            row = int(np.flatnonzero(squares <= 0)[0])
            which = f"row {row}" if ids is None else f"row {row} (document {ids[row]!r})"
            raise invalid(
                "vectors",
                which,
                "must not be a zero vector: it has no direction",
                hint="Leave such a text out, or open the store with metric='dot'.",
            )
        if (abs(squares - 1) <= 2 * _UNIT).all():
            return vectors
        return np.ascontiguousarray(vectors / np.sqrt(squares)[:, None], dtype=np.float32)

    # Changing the embedder.

    def begin_reindex(self, fingerprint: Fingerprint) -> None:
        """Start re-embedding with another model, or continue an earlier run."""
        with self._writing():
            staging.begin(self.database, fingerprint)

    def without_new_vector(self, after: int, limit: int) -> list[Row]:
        """Return rows above a sequence number that have no new vector yet."""
        return staging.missing(self.database, after, limit)

    def lay_aside(self, rows: Sequence[Row], raw: Vectors, dimensions: int) -> None:
        """Stage the new vectors of rows until all rows have one."""
        vectors = checked_vectors(raw, dimensions, argument="embeddings")
        if len(vectors) != len(rows):
            raise invalid("embeddings", len(vectors), f"must be as many as the documents ({len(rows)})")
        with self._writing():
            staging.lay_aside(
                self.database, [row[0] for row in rows], self.normalized(vectors, [row[2] for row in rows])
            )

    def finish_reindex(self, fingerprint: Fingerprint) -> int | None:
        """Lets the new vectors take the place of the old ones; None when documents without one have come."""
        with self._writing():
            if self._rows is None:
                self.fingerprint = self.bound = fingerprint
            if staging.missing(self.database, 0, 1):
                return None
            with self.database.transaction() as writer:
                staging.swap(self.database, writer, fingerprint)
        live = self._state.live
        self._rows = None
        self.bound = fingerprint
        self._load()
        return live

    # Derived data.

    def ann_is_due(self) -> bool:
        """Return whether an approximate index should be built or extended."""
        return self.caches.ann_is_due(self.view)

    def synced_text(self, namespace: str, view: View) -> TextIndex:
        """Return the text index of a namespace, in step with the view."""
        text = self.caches.open_text(namespace, writable=self.lock.held)
        text.sync(view)
        return text

    def install(self, view: View, ann: Ann) -> None:
        """Publish an index, unless the rows were renumbered or a larger one was published since."""
        if self._rows is None or self._rows.layout != view.layout:
            return
        if self._rows.ann is None or self._rows.ann.n < ann.n:
            self._rows.ann = ann
            self.publish()

    def compact(self) -> None:
        """Drop dead rows, build due indexes, write segments, and release disk space."""
        with self._writing():
            if self._rows is not None:
                if self._rows.live < self._rows.n:
                    self._rows = self._rows.compacted()
                view = self.publish()
                if self.ann_is_due() or (view.ann is not None and view.ann.n < view.n):
                    self.install(view, self.caches.build_ann(view))
                self.caches.save(self.view or view, self._state.digest, force=True)
            self.database.tidy()

    def close(self) -> None:
        """Save due data and close the files. Durability does not depend on it."""
        if self._poisoned is None and self.view is not None and self.lock.held:
            try:
                self.caches.save(self.view, self._state.digest)
            except (GenkitError, OSError) as error:
                logger.warning("The segments of the store %s were not written: %s", self.path, error)
        self.caches.texts.clear()
        self.database.close()
        self.payloads.forget()
        self.lock.release()
