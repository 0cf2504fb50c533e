"""The approximate index over the first rows of a layout: derived, cached in a file, never the only copy of anything."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, BinaryIO, Literal

import faiss
import numpy as np
from numpy.typing import NDArray

from genkit_rag.plugin_api import Vectors
from genkit_rag_faiss._database import Segment
from genkit_rag_faiss._digest import file_digest
from genkit_rag_faiss._exact import Found, bitmap, scan, scan_rows, set_threads, threads
from genkit_rag_faiss._files import write_atomically
from genkit_rag_faiss._segments import DamagedSegment, segment_name
from genkit_rag_faiss._view import Mask, View

_faiss: Any = faiss

IndexKind = Literal["auto", "flat", "hnsw", "ivf"]
Quantize = Literal["fp16", "sq8"]

ANN = "ann"
TARGET_RECALL = 0.97
"""What the tuned effort reaches on a sample; above the promised 0.95 because the sample is one."""
MAX_EFFORT = 64
"""How much harder to look at most when a filter hides rows: as many passing rows are met as without one."""
EXACT_ROWS = 20_000
"""Up to so many rows are always scanned exactly: a few milliseconds at most."""
RETRAIN = 4
"""From so many times as many rows on, the lists of an index are chosen anew."""
_SAMPLE = 100
_POINTS_PER_LIST = 64
"""How many rows train one list: four times as many (the default of FAISS) take four times as long, for no recall."""
Bits = NDArray[np.uint8]

_FACTORY = {None: "Flat", "fp16": "SQfp16", "sq8": "SQ8"}


class Allowed:
    """Which rows of a view may be found: a mask, the same as bits, and how many they are."""

    __slots__ = ("bits", "count", "mask")

    def __init__(self, mask: Mask, count: int) -> None:
        self.mask = mask
        self.bits: Bits = np.packbits(mask, bitorder="little")
        self.count = count


class Ann:
    """A FAISS index whose labels are row numbers.

    Attributes:
        n: How many rows it covers: those from 0 on.
        kind: What it is, with its quantizer.
        effort: `nprobe` or `efSearch` that reaches the target recall without a filter.
        quantize: How its vectors are shortened; then the best are scored again with the true ones.
        exact_rows: Up to so many rows a scan is as good, and exact.
        trained_on: How many rows there were when its lists were chosen.
        saved: Whether it stands in a segment.
    """

    def __init__(
        self, index: Any, kind: str, effort: int, quantize: Quantize | None, exact_rows: int, trained_on: int
    ) -> None:
        self._index = index
        self.trained_on = trained_on
        self.exact_rows = exact_rows
        self.saved = False
        self.n = int(index.ntotal)
        self.kind = kind
        self.effort = effort
        self.quantize: Quantize | None = quantize

    @property
    def exact_scores(self) -> bool:
        """Whether its scores are those of the vectors themselves."""
        return self.quantize is None

    def search(self, queries: Vectors, k: int, bits: Bits | None, effort: int = 1) -> Found:
        """Returns scores and row numbers `(queries, k)`, best first; -1 where it found no more.

        Args:
            queries: Vectors `(n, d)`.
            k: How many.
            bits: Which rows may be found, a bit for each; None for all.
            effort: How many times harder than usual to look.
        """
        selector = None if bits is None else bitmap(bits)
        found: Found = self._index.search(queries, min(k, self.n), params=self._parameters(selector, effort, k))
        return found

    def _parameters(self, selector: Any, effort: int, k: int) -> Any:
        # Objects of their own for each search: changing the index's attributes would race with other threads.
        if self.kind == "ivf":
            return _faiss.SearchParametersIVF(sel=selector, nprobe=min(self.effort * effort, self._index.nlist))
        if self.kind == "hnsw":
            return _faiss.SearchParametersHNSW(sel=selector, efSearch=max(self.effort * effort, k))
        return _faiss.SearchParameters(sel=selector)

    def tune(self, matrix: Vectors) -> None:
        """Raises the effort until a sample of the rows finds its neighbours."""
        if self.kind == "flat":
            return
        step = max(1, self.n // _SAMPLE)
        queries = np.ascontiguousarray(matrix[: self.n : step][:_SAMPLE])
        k = min(10, self.n)
        _, truth = scan(queries, matrix[: self.n], k)
        limit = self._index.nlist if self.kind == "ivf" else 1024
        while self.effort < limit:
            _, found = self.search(queries, k, None)
            hits = sum(len(np.intersect1d(a, b)) for a, b in zip(truth, found, strict=True))
            if hits >= TARGET_RECALL * truth.size:
                return
            self.effort = min(self.effort * 2, limit)


def build(view: View, kind: str, quantize: Quantize | None, exact_rows: int = EXACT_ROWS) -> Ann:
    """Returns an index over all rows of a view. Uses all processors, for seconds to minutes: run it in a thread."""
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
    """Returns an index that covers all rows of a view, made of one that covers the first ones; they share nothing.

    Much cheaper than `build`, and as good until there are `RETRAIN` times as many rows as its lists were chosen for.
    """
    before = threads()
    set_threads(os.cpu_count() or 1)
    try:
        index = _faiss.clone_index(ann._index)  # pyright: ignore[reportPrivateUsage]  # others are searching it
        index.add(view.matrix[ann.n :])
        # The same lists, fuller: the same effort looks at the same share of them. To tune it would scan all rows.
        return Ann(index, ann.kind, ann.effort, ann.quantize, ann.exact_rows, ann.trained_on)
    finally:
        set_threads(before)


def search_ann(view: View, ann: Ann, queries: Vectors, k: int, allowed: Allowed | None) -> Found:
    """Returns the best of a view: from the index for the rows it covers, exactly for the newer ones, merged.

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
    """Returns the manifest entry of an index after writing it."""
    name = segment_name(view, f"{ann.kind}.faiss")
    data = memoryview(_faiss.serialize_index(ann._index))  # pyright: ignore[reportPrivateUsage]

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
    """Returns the index of a segment; raises `DamagedSegment` unless every byte is right.

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
