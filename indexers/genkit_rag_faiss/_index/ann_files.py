"""Building, searching, saving and loading the approximate index of a view."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, BinaryIO

import faiss
import numpy as np

from genkit_rag.plugin_api import Vectors
from genkit_rag_faiss._index.ann import Allowed, Ann, Quantize
from genkit_rag_faiss._index.exact import Found, scan_rows, set_threads, threads
from genkit_rag_faiss._index.segments import DamagedSegment, segment_name
from genkit_rag_faiss._index.view import View
from genkit_rag_faiss._storage.database import Segment
from genkit_rag_faiss._storage.digest import file_digest
from genkit_rag_faiss._storage.files import write_atomically

_faiss: Any = faiss

ANN = "ann"
MAX_EFFORT = 64
"""How much harder to look at most when a filter hides rows: as many passing rows are met as without one."""
EXACT_ROWS = 20_000
"""Up to so many rows are always scanned exactly: a few milliseconds at most."""
RETRAIN = 4
"""From so many times as many rows on, the lists of an index are chosen anew."""
_POINTS_PER_LIST = 64
"""How many rows train one list: four times as many (the default of FAISS) take four times as long, for no recall."""
_FACTORY = {None: "Flat", "fp16": "SQfp16", "sq8": "SQ8"}


def build(view: View, kind: str, quantize: Quantize | None, exact_rows: int = EXACT_ROWS) -> Ann:
    """Build an index over all rows of a view. Uses all cores for seconds to minutes: run it in a thread."""
    before = threads()
    set_threads(os.cpu_count() or 1)
    try:
        factory = _FACTORY[quantize]
        effort = 1
        if kind == "ivf":
            factory = f"IVF{max(1, min(int(2 * math.sqrt(view.n)), view.n // 39))},{factory}"
            effort = 8
        elif kind == "hnsw":
            factory = f"HNSW32,{factory}"
            effort = 64
        index = _faiss.index_factory(view.matrix.shape[1], factory, _faiss.METRIC_INNER_PRODUCT)
        if kind == "ivf":
            index.cp.max_points_per_centroid = _POINTS_PER_LIST
        index.train(view.matrix)
        index.add(view.matrix)
        ann = Ann(index, kind, effort, quantize, exact_rows, view.n)
        ann.tune(view.matrix)
        return ann
    finally:
        set_threads(before)


def extend(view: View, ann: Ann) -> Ann:
    """Copy an index and add the newer rows of a view.

    Much cheaper than `build`, and as good until there are `RETRAIN` times as many rows as its lists were trained on.
    """
    before = threads()
    set_threads(os.cpu_count() or 1)
    try:
        index = _faiss.clone_index(ann.index)  # other threads are searching the original
        index.add(view.matrix[ann.n :])
        # The same lists, fuller: the same effort looks at the same share of them. To tune it would scan all rows.
        return Ann(index, ann.kind, ann.effort, ann.quantize, ann.exact_rows, ann.trained_on)
    finally:
        set_threads(before)


def search_ann(view: View, ann: Ann, queries: Vectors, k: int, allowed: Allowed | None) -> Found:
    """Search a view: the index for the rows it covers, an exact scan for newer ones, merged.

    Rows that the index did not find are -1.
    """
    effort = 1 if allowed is None else min(math.ceil(view.n / max(allowed.count, 1)), MAX_EFFORT)
    many = k if ann.exact_scores else 2 * k + 16
    scores, rows = ann.search(queries, many, None if allowed is None else allowed.bits, effort)
    if not ann.exact_scores:
        scores = np.einsum("qd,qkd->qk", queries, view.matrix[rows])
    scores = np.where(rows < 0, -np.inf, scores)
    newer = np.arange(ann.n, view.n) if allowed is None else np.flatnonzero(allowed.mask[ann.n :]) + ann.n
    if len(newer):
        more = scan_rows(queries, view.matrix, min(k, len(newer)), newer)
        scores, rows = np.concatenate([scores, more[0]], axis=1), np.concatenate([rows, more[1]], axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)


def write_ann(directory: Path, view: View, ann: Ann) -> Segment:
    """Save an index and return its manifest entry."""
    name = segment_name(view, f"{ann.kind}.faiss")
    data = memoryview(_faiss.serialize_index(ann.index))

    def write(file: BinaryIO) -> None:
        file.write(data)

    digest = write_atomically(directory / "seg" / name, write, tmp=directory / "tmp")
    ann.saved = True
    params = {
        "kind": ann.kind,
        "effort": ann.effort,
        "quantize": ann.quantize,
        "rows": ann.n,
        "trained_on": ann.trained_on,
    }
    return Segment(name, ANN, digest, params)


def read_ann(directory: Path, segment: Segment, dimensions: int, exact_rows: int = EXACT_ROWS) -> Ann:
    """Load the index of a segment; raise `DamagedSegment` unless every byte matches its checksum.

    FAISS files carry no checksum and damaged ones load without an error, so nothing is parsed before ours holds.
    """
    path = directory / "seg" / segment.name
    try:
        before = path.stat()
        if file_digest(path) != segment.digest:
            raise DamagedSegment(f"{path.name} does not match its checksum")
        index = _faiss.read_index(str(path))
        after = path.stat()
    except (OSError, RuntimeError) as error:
        raise DamagedSegment(f"{path.name}: {error}") from error
    if (before.st_ino, before.st_mtime_ns) != (after.st_ino, after.st_mtime_ns):
        raise DamagedSegment(f"{path.name} was replaced while it was read")
    params = segment.params
    effort, trained_on = int(params["effort"]), int(params["trained_on"])
    ann = Ann(index, str(params["kind"]), effort, params["quantize"], exact_rows, trained_on)
    if ann.n != params["rows"] or index.d != dimensions:
        raise DamagedSegment(f"{path.name} has another shape")
    ann.saved = True
    return ann
