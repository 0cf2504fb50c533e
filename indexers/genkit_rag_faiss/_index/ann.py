"""The approximate index over the first rows of a layout: derived, cached in a file, never the only copy of anything."""

from __future__ import annotations

from typing import Any, Literal

import faiss
import numpy as np
from numpy.typing import NDArray

from genkit_rag.plugin_api import Vectors
from genkit_rag_faiss._index.arrays import Mask
from genkit_rag_faiss._index.exact import Found, bitmap, scan

_faiss: Any = faiss

IndexKind = Literal["auto", "flat", "hnsw", "ivf"]
Quantize = Literal["fp16", "sq8"]

TARGET_RECALL = 0.97
"""The recall that tuning reaches on a sample; above the promised 0.95 as a margin for sampling error."""
_SAMPLE = 100
Bits = NDArray[np.uint8]


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
        index: The FAISS index.
        n: The number of rows it covers, from 0 on.
        kind: The index type.
        effort: `nprobe` or `efSearch` that reaches the target recall without a filter.
        quantize: The quantisation of its vectors; the best results are then rescored with the full vectors.
        exact_rows: The number of rows up to which an exact scan is as fast.
        trained_on: The number of rows when its lists were trained.
        saved: Whether it is saved in a segment.
    """

    def __init__(
        self, index: Any, kind: str, effort: int, quantize: Quantize | None, exact_rows: int, trained_on: int
    ) -> None:
        self.index = index
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
        """Search the index: scores and row numbers `(queries, k)`, best first; -1 for missing results.

        Args:
            queries: Vectors `(n, d)`.
            k: How many.
            bits: Which rows may be found, a bit for each; None for all.
            effort: How many times harder than usual to look.
        """
        selector = None if bits is None else bitmap(bits)
        found: Found = self.index.search(queries, min(k, self.n), params=self._parameters(selector, effort, k))
        return found

    def _parameters(self, selector: Any, effort: int, k: int) -> Any:
        # Create parameters for each search: changing the attributes of the index would race with other threads.
        if self.kind == "ivf":
            return _faiss.SearchParametersIVF(sel=selector, nprobe=min(self.effort * effort, self.index.nlist))
        if self.kind == "hnsw":
            return _faiss.SearchParametersHNSW(sel=selector, efSearch=max(self.effort * effort, k))
        return _faiss.SearchParameters(sel=selector)

    def tune(self, matrix: Vectors) -> None:
        """Double the effort until a sample of the rows finds its neighbours."""
        if self.kind == "flat":
            return
        step = max(1, self.n // _SAMPLE)
        queries = np.ascontiguousarray(matrix[: self.n : step][:_SAMPLE])
        k = min(10, self.n)
        _, truth = scan(queries, matrix[: self.n], k)
        limit = self.index.nlist if self.kind == "ivf" else 1024
        while self.effort < limit:
            _, found = self.search(queries, k, None)
            hits = sum(len(np.intersect1d(a, b)) for a, b in zip(truth, found, strict=True))
            if hits >= TARGET_RECALL * truth.size:
                return
            self.effort = min(self.effort * 2, limit)
