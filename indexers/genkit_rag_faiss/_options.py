"""How a store is opened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from genkit_rag.plugin_api import WireModel, plugin_options
from genkit_rag_faiss._index.ann import IndexKind, Quantize

Metric = Literal["cosine", "dot"]


class FaissConfig(WireModel):
    """How to open a FAISS store.

    Attributes:
        mode: `r` never writes; `w` may write: the writer lock is taken at the first write and kept until `close`.
        index: `flat` is always exact. The others are exact below `ann_threshold` and approximate above it, with a
            recall of at least 0.95; `auto` is `ivf`, which builds ten times faster than `hnsw`.
        ann_threshold: The number of documents from which an approximate index is used.
        quantize: Quantise the vectors in the approximate index, never the stored ones; results are rescored with the
            stored vectors. `auto` stores a byte a number for `auto` indexes, which takes a quarter of the memory and
            the time.
        metric: `cosine` scores in [-1, 1] and rejects zero vectors; `dot` uses vectors unchanged. Fixed by the first
            write.
        lock_timeout: Seconds to wait for another writer.
    """

    mode: Literal["w", "r"] = "w"
    index: IndexKind = "auto"
    ann_threshold: int = Field(default=200_000, ge=1)
    quantize: Quantize | Literal["auto"] | None = "auto"
    metric: Metric = "cosine"
    lock_timeout: float = Field(default=0.0, ge=0)

    def changed(self, changes: Mapping[str, Any]) -> FaissConfig:
        """Return a copy with changed options; INVALID_ARGUMENT lists the valid ones."""
        return plugin_options(FaissConfig, changes, self)

    @property
    def ann_quantize(self) -> Quantize | None:
        """How the approximate index shortens vectors."""
        if self.quantize == "auto":
            return "sq8" if self.index == "auto" else None
        return self.quantize

    @property
    def ann_kind(self) -> str | None:
        """The kind of approximate index; None when there is to be none."""
        if self.index == "flat":
            return "flat" if self.ann_quantize else None
        return "ivf" if self.index == "auto" else self.index
