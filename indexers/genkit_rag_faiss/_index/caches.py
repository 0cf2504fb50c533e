"""Everything derived from the truth: segments, the approximate index, the index of words. All of it may be deleted."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

from genkit_rag_faiss._index.ann import Ann
from genkit_rag_faiss._index.ann_files import ANN, EXACT_ROWS, RETRAIN, build, extend, read_ann, write_ann
from genkit_rag_faiss._index.columns import Filters
from genkit_rag_faiss._index.saved_columns import COLUMNS, SavedColumns, write_columns
from genkit_rag_faiss._index.segments import (
    KEYS,
    VECTORS,
    DamagedSegment,
    read_keys,
    read_vectors,
    remove_strangers,
    write_keys,
    write_vectors,
)
from genkit_rag_faiss._index.text import TEXT, TextIndex, folder_name
from genkit_rag_faiss._index.view import Rows, View
from genkit_rag_faiss._options import FaissConfig
from genkit_rag_faiss._storage.database import Database, Segment

logger = logging.getLogger("genkit_rag.faiss")

_LATECOMERS = 10_000
"""So many new rows are scanned beside the approximate index, a millisecond or two, before it takes them up."""
MAX_TEXTS = 64
"""How many namespaces' indexes of words are open at a time."""


class Caches:
    """The derived files of one store."""

    def __init__(self, path: Path, database: Database, options: FaissConfig, filters: Filters) -> None:
        self._path = path
        self._filters = filters
        self._database = database
        self._options = options
        self._lock = threading.Lock()
        self._saved: tuple[int, int] = (0, 0)
        """Layout and number of rows that the vector segment has."""
        self.texts: dict[str, TextIndex] = {}
        """The open indexes of words, by namespace."""

    def rows(self, segments: Sequence[Segment], dimensions: int) -> tuple[Rows, int] | None:
        """Load the rows of the segments with their index, and the sum of the live keys' checksums.

        None if there are no segments, or one is missing or damaged.
        """
        found = {segment.kind: segment for segment in segments}
        if VECTORS not in found or KEYS not in found:
            return None
        try:
            keys, matrix = read_keys(self._path, found[KEYS]), read_vectors(self._path, found[VECTORS], dimensions)
        except DamagedSegment as error:
            logger.warning("A segment of the store %s is damaged (%s): it is made again.", self._path, error)
            return None
        if len(keys.seqs) != len(matrix) or len(keys.ids) != len(matrix):
            return None
        rows = Rows.adopt(matrix, keys)
        self._saved = (rows.layout, rows.n)
        if COLUMNS in found and found[COLUMNS].params["rows"] == rows.n:
            self._filters.adopt(rows.layout, SavedColumns(self._path, found[COLUMNS]))
        if ANN in found:
            try:
                ann = read_ann(self._path, found[ANN], dimensions, self._exact_rows)
                rows.ann = ann if ann.n <= rows.n else None
            except DamagedSegment as error:
                logger.warning("An index of the store %s is damaged (%s): it is made again.", self._path, error)
        return rows, keys.digest

    # The approximate index.

    def ann_is_due(self, view: View | None) -> bool:
        """Return whether an approximate index should be built or extended."""
        threshold = self._options.ann_threshold
        if view is None or self._options.ann_kind is None or view.live < threshold:
            return False
        return view.ann is None or view.n - view.ann.n > max(view.ann.n // 64, min(_LATECOMERS, threshold // 20))

    def build_ann(self, view: View) -> Ann:
        """Build an approximate index over a view. Slow; may run in any thread."""
        kind = self._options.ann_kind
        assert kind is not None
        if view.ann is not None and view.n <= RETRAIN * view.ann.trained_on:
            return extend(view, view.ann)
        return build(view, kind, self._options.ann_quantize, self._exact_rows)

    @property
    def _exact_rows(self) -> int:
        return min(EXACT_ROWS, self._options.ann_threshold // 4)

    # The index of words.

    def open_text(self, namespace: str, *, writable: bool) -> TextIndex:
        """Return the text index of a namespace; open it at the first call, and again when this process may write.

        At most `MAX_TEXTS` stay open; others are closed and reopened on demand.
        """
        with self._lock:
            text = self.texts.get(namespace)
            if text is None or (writable and not text.writable and not text.failed):
                name = folder_name(namespace)
                manifest = next((one for one in self._text_segments() if one.name == name), None)
                text = TextIndex(self._database, self._path / "text", namespace, manifest, writable=writable)
                self.texts[namespace] = text
                while len(self.texts) > MAX_TEXTS:
                    self.texts.pop(next(iter(self.texts)))
            return text

    def _text_segments(self) -> list[Segment]:
        return [segment for segment in self._database.segments() if segment.kind == TEXT]

    def _save_texts(self, view: View, *, force: bool) -> list[Segment]:
        """Bring the text indexes of the open or all namespaces in step with a view and return their manifest.

        The others keep the entry that they have; they follow when they are next asked for.
        """
        there = {name for name, count in view.counts.items() if count}
        wanted = there if force else there & set(self.texts)
        saved = {segment.name: segment for segment in self._text_segments()}
        for namespace in wanted:
            text = self.open_text(namespace, writable=True)
            text.sync(view)
            manifest = text.manifest()
            if manifest is not None:
                saved[manifest.name] = manifest
        folders = {folder_name(name) for name in there}
        with self._lock:  # an index whose folder goes is not to be written to again
            for namespace in set(self.texts) - there:
                del self.texts[namespace]
            for stranger in (self._path / "text").iterdir():
                if stranger.name not in folders:
                    shutil.rmtree(stranger, ignore_errors=True)
        return [segment for name, segment in saved.items() if name in folders]

    # Files.

    def save(self, view: View, digest: int, *, force: bool = False) -> None:
        """Write segments so that the next opening does not read every row; the caller holds the writer lock.

        Args:
            view: The newest one.
            digest: The sum of its living keys' checksums.
            force: Write even if little has changed.
        """
        covered = self._saved[1] if self._saved[0] == view.layout else 0
        ann = view.ann
        due = force or (view.n - covered) * 8 > view.n or (ann is not None and not ann.saved)
        texts = force or bool(self.texts)
        if not due and not texts:
            return
        segments: list[Segment] = []
        kinds: list[str] = []
        if due:  # all or none: the index counts the rows of the segments
            kinds += [VECTORS, KEYS, ANN, COLUMNS]
            segments += [write_vectors(self._path, view), write_keys(self._path, view, digest)]
            segments += [write_ann(self._path, view, ann)] if ann is not None else []
            columns = self._filters.to_save(view)
            segments += [write_columns(self._path, view, columns)] if columns else []
        if texts:
            kinds.append(TEXT)
            segments += self._save_texts(view, force=force)
        with self._database.transaction() as writer:
            self._database.set_segments(writer, kinds, segments)
            known = {segment.name for segment in self._database.segments(writer)}
        if due:
            self._saved = (view.layout, view.n)
        remove_strangers(self._path, known)
