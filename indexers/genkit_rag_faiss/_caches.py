"""Everything derived from the truth: segments, the approximate index, the index of words. All of it may be deleted."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from genkit_rag_faiss._ann import ANN, EXACT_ROWS, Ann, build, read_ann, write_ann
from genkit_rag_faiss._database import Database, Key, Segment
from genkit_rag_faiss._options import FaissOptions
from genkit_rag_faiss._segments import VECTORS, DamagedSegment, read_vectors, remove_strangers, write_vectors
from genkit_rag_faiss._text import TEXT, TextIndex
from genkit_rag_faiss._view import Rows, View

logger = logging.getLogger("genkit_rag.faiss")


class Caches:
    """The derived files of one store."""

    def __init__(self, path: Path, database: Database, options: FaissOptions) -> None:
        self._path = path
        self._database = database
        self._options = options
        self._lock = threading.Lock()
        self._saved: tuple[int, int] = (0, 0)
        """Layout and number of rows that the vector segment has."""
        self.text: TextIndex | None = None

    def rows(self, segments: Sequence[Segment], keys: Sequence[Key], dimensions: int) -> Rows:
        """Returns the rows that the segments have, with their index; none when a segment is missing or damaged."""
        found = {segment.kind: segment for segment in segments}
        rows = self._vectors(found[VECTORS], keys, dimensions) if VECTORS in found else None
        if rows is None:
            return Rows(dimensions)
        self._saved = (rows.layout, rows.n)
        if ANN in found:
            try:
                ann = read_ann(self._path, found[ANN], dimensions, self._exact_rows)
                rows.ann = ann if ann.n <= rows.n else None
            except DamagedSegment as error:
                logger.warning("An index of the store %s is damaged (%s): it is made again.", self._path, error)
        return rows

    def _vectors(self, segment: Segment, keys: Sequence[Key], dimensions: int) -> Rows | None:
        try:
            seqs, matrix = read_vectors(self._path, segment, dimensions)
        except DamagedSegment as error:
            logger.warning("A segment of the store %s is damaged (%s): it is made again.", self._path, error)
            return None
        covered = [key for key in keys if len(seqs) and key.seq <= seqs[-1]]
        if not np.isin([key.seq for key in covered], seqs).all():
            return None
        return Rows.adopt(seqs, matrix, covered)

    # The approximate index.

    def ann_is_due(self, view: View | None) -> bool:
        """Returns whether there should be an approximate index that covers more than it does."""
        if view is None or self._options.ann_kind is None or view.live < self._options.ann_threshold:
            return False
        return view.ann is None or view.n - view.ann.n > view.ann.n // 4

    def build_ann(self, view: View) -> Ann:
        """Returns an approximate index over a view. Runs in any thread, takes long."""
        kind = self._options.ann_kind
        assert kind is not None
        return build(view, kind, self._options.quantize, self._exact_rows)

    @property
    def _exact_rows(self) -> int:
        return min(EXACT_ROWS, self._options.ann_threshold // 4)

    # The index of words.

    def open_text(self, *, writable: bool) -> TextIndex:
        """Returns the index of words, opened at the first call; opened again once this process may write it."""
        with self._lock:
            text = self.text
            if text is None or (writable and not text.writable and not text.failed):
                manifest = next((segment for segment in self._database.segments() if segment.kind == TEXT), None)
                text = TextIndex(self._database, self._path / "text", manifest, writable=writable)
                if self.text is None:
                    self.text = text
            return text

    def _synced_text(self, view: View) -> Segment | None:
        text = self.open_text(writable=True)
        text.sync(view)
        self.text = text
        return text.manifest()

    # Files.

    def save(self, view: View, *, force: bool = False) -> None:
        """Writes what spares the next opening the way through all rows; the caller holds the writer lock."""
        covered = self._saved[1] if self._saved[0] == view.layout else 0
        ann = view.ann
        due = force or (view.n - covered) * 8 > view.n or (ann is not None and not ann.saved)
        jobs: dict[str, Callable[[], Segment | None]] = {}
        if due:  # both or none: the index counts the rows of the segment
            jobs[VECTORS] = lambda: write_vectors(self._path, view)
            jobs[ANN] = lambda: write_ann(self._path, view, ann) if ann is not None else None
        if force or self.text is not None or any(segment.kind == TEXT for segment in self._database.segments()):
            jobs[TEXT] = lambda: self._synced_text(view)
        if not jobs:
            return
        segments = [segment for segment in (job() for job in jobs.values()) if segment is not None]
        with self._database.transaction() as writer:
            self._database.set_segments(writer, list(jobs), segments)
            known = {segment.name for segment in self._database.segments(writer)}
        if due:
            self._saved = (view.layout, view.n)
        remove_strangers(self._path, known)
