"""The rows in memory: vectors, ids and namespaces in parallel arrays, published as immutable views.

One writer appends after the published length, so the data of an older view never changes. Removing rows copies the mask
of live rows (a byte a row); rows are moved only by compaction into a new layout.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from genkit_rag.plugin_api import Vectors
from genkit_rag_faiss._index.ann import Ann
from genkit_rag_faiss._index.arrays import Ints, Mask, aligned
from genkit_rag_faiss._index.names import Crcs, Names, name_crc
from genkit_rag_faiss._storage.database import Key


@dataclass(frozen=True, slots=True)
class SavedKeys:
    """The keys of rows in a segment.

    Attributes:
        seqs: Sequence numbers `(n,)`, ascending.
        spaces: Codes of the namespaces `(n,)`: positions in `namespaces`.
        alive: The live rows `(n,)`.
        crcs: The checksums of the names `(n,)`.
        ids: The ids.
        namespaces: The names of the namespaces.
        digest: The sum of the key checksums of the live rows.
    """

    seqs: Ints
    spaces: NDArray[np.int32]
    alive: Mask
    crcs: Crcs
    ids: list[str]
    namespaces: list[str]
    digest: int


_layouts = itertools.count(1)
_generations = itertools.count(1)
_stamps = itertools.count(1)


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """An immutable snapshot of the rows for one query.

    Attributes:
        layout: The numbering of rows; a compaction changes it.
        generation: Unique for every view.
        n: The number of rows, with dead ones.
        live: The number of live rows.
        matrix: Vectors `(n, d)`.
        seqs: Sequence numbers `(n,)`, ascending.
        spaces: Codes of the namespaces `(n,)`.
        alive: The live rows `(n,)`.
        crcs: The checksums of the rows' names `(n,)`, as in `Names`.
        names: The names of at least these rows.
        ids: The ids of the rows; may be longer than n.
        codes: The codes of the namespaces.
        counts: The number of live rows of each namespace.
        stamps: For each namespace a number that grows whenever its rows change.
        ann: The approximate index over the first rows, if there is one.
    """

    layout: int
    n: int
    live: int
    matrix: Vectors
    seqs: Ints
    spaces: NDArray[np.int32]
    alive: Mask
    crcs: Crcs
    names: Names
    ids: Sequence[str]
    codes: Mapping[str, int]
    counts: Mapping[str, int]
    stamps: Mapping[str, int]
    ann: Ann | None = None
    generation: int = field(default_factory=_generations.__next__)

    def rows_of_seqs(self, seqs: Ints) -> Ints:
        """Return the rows of sequence numbers; -1 for missing or dead ones."""
        if not self.n:
            return np.full(len(seqs), -1, np.int64)
        rows = np.searchsorted(self.seqs, seqs).astype(np.int64)
        rows[rows == self.n] = 0
        rows[(self.seqs[rows] != seqs) | ~self.alive[rows]] = -1
        return rows

    def living(self, namespace: str) -> Ints:
        """Return the sequence numbers of a namespace's live rows, ascending."""
        alive = self.alive
        if self.counts.get(namespace, 0) != self.live:
            alive = alive & (self.spaces == self.codes.get(namespace, -1))
        living: Ints = self.seqs[alive]
        return living

    def holds(self, namespace: str, ids: Sequence[str]) -> list[str]:
        """Return those of the ids that live rows have; fast if there are none."""
        if not ids or namespace not in self.codes:
            return []
        crcs = np.array([name_crc(namespace, name) for name in ids], np.uint32)
        held: list[str] = []
        for at in np.flatnonzero(self.names.maybe(crcs)).tolist():
            rows = np.flatnonzero((self.crcs == crcs[at]) & self.alive & (self.spaces == self.codes[namespace]))
            held += [ids[at]] * any(self.ids[row] == ids[at] for row in rows.tolist())
        return held


class Rows:
    """The growing arrays behind the views; only the writer thread changes them."""

    def __init__(self, dimensions: int, capacity: int = 0) -> None:
        self.layout = next(_layouts)
        self.n = 0
        self.live = 0
        self.matrix: Vectors = aligned(capacity, dimensions)
        self.seqs: Ints = np.empty(capacity, np.int64)
        self.spaces: NDArray[np.int32] = np.empty(capacity, np.int32)
        self.alive: Mask = np.ones(capacity, np.bool_)
        self.crcs: Crcs = np.empty(capacity, np.uint32)
        self.names = Names(self.crcs[:0])
        self.ids: list[str] = []
        self.codes: dict[str, int] = {}
        self.counts: dict[str, int] = {}
        self.stamps: dict[str, int] = {}
        self.ann: Ann | None = None

    @property
    def dimensions(self) -> int:
        """The length of a vector."""
        return int(self.matrix.shape[1])

    @classmethod
    def adopt(cls, matrix: Vectors, keys: SavedKeys) -> Rows:
        """Create rows from the arrays of segments."""
        rows = cls(matrix.shape[1])
        rows.n = len(matrix)
        rows.matrix, rows.seqs, rows.spaces, rows.alive = matrix, keys.seqs, keys.spaces, keys.alive
        rows.crcs, rows.names = keys.crcs, Names(keys.crcs)
        rows.ids = keys.ids
        rows.live = int(keys.alive.sum())
        rows.codes = {namespace: code for code, namespace in enumerate(keys.namespaces)}
        counts = np.bincount(keys.spaces[keys.alive], minlength=len(rows.codes)).tolist()
        rows.counts = dict(zip(keys.namespaces, counts, strict=True))
        rows.stamps = dict.fromkeys(keys.namespaces, next(_stamps))
        return rows

    def keys_of(self, seqs: Sequence[int]) -> list[Key]:
        """Return the keys of the live rows with these sequence numbers."""
        wanted = np.array(seqs, np.int64)
        at = np.searchsorted(self.seqs[: self.n], wanted)
        names = {code: namespace for namespace, code in self.codes.items()}
        return [
            Key(seq, names[int(self.spaces[row])], self.ids[row])
            for seq, row in zip(seqs, at.tolist(), strict=True)
            if row < self.n and self.seqs[row] == seq and self.alive[row]
        ]

    def append(self, keys: Sequence[Key], vectors: Vectors) -> None:
        """Append live rows, visible in the next view."""
        end = self.n + len(keys)
        if end > len(self.seqs):
            self._grow(end)
        self.matrix[self.n : end] = vectors
        self.seqs[self.n : end] = [key.seq for key in keys]
        self.spaces[self.n : end] = [self._code(key.namespace, 1) for key in keys]
        crcs = [name_crc(key.namespace, key.id) for key in keys]
        self.crcs[self.n : end] = crcs
        self.names.add(crcs)
        self.ids += [key.id for key in keys]
        self.n = end
        self.live += len(keys)

    def remove(self, keys: Sequence[Key]) -> None:
        """Mark rows as dead; older views still see them."""
        if not keys:
            return
        gone = np.searchsorted(self.seqs[: self.n], [key.seq for key in keys])
        self.alive = self.alive.copy()
        self.alive[gone] = False
        self.live -= len(keys)
        for key in keys:
            self._code(key.namespace, -1)

    def view(self) -> View:
        """Create a view of the current rows."""
        n = self.n
        return View(
            self.layout,
            n,
            self.live,
            self.matrix[:n],
            self.seqs[:n],
            self.spaces[:n],
            self.alive[:n],
            self.crcs[:n],
            self.names,
            self.ids,
            dict(self.codes),
            dict(self.counts),
            dict(self.stamps),
            self.ann,
        )

    def compacted(self) -> Rows:
        """Return the live rows only, renumbered."""
        keep = np.flatnonzero(self.alive[: self.n])
        rows = Rows(self.dimensions)
        rows.n = rows.live = len(keep)
        rows.matrix = aligned(len(keep), self.dimensions)
        np.take(self.matrix, keep, axis=0, out=rows.matrix)
        rows.seqs, rows.spaces = self.seqs[keep], self.spaces[keep]
        rows.alive = np.ones(len(keep), np.bool_)
        rows.crcs = self.crcs[keep]
        rows.names = Names(rows.crcs)
        rows.ids = [self.ids[row] for row in keep.tolist()]
        rows.codes, rows.counts, rows.stamps = dict(self.codes), dict(self.counts), dict(self.stamps)
        return rows

    @property
    def wasteful(self) -> bool:
        """Whether over a quarter of the rows are dead."""
        return self.n > 64 and self.live * 4 < self.n * 3

    def _code(self, namespace: str, change: int) -> int:
        self.counts[namespace] = self.counts.get(namespace, 0) + change
        self.stamps[namespace] = next(_stamps)
        return self.codes.setdefault(namespace, len(self.codes))

    def _grow(self, needed: int) -> None:
        capacity = max(needed, 1024, len(self.seqs) * 3 // 2)
        grown = Rows(self.dimensions, capacity)
        for name in ("matrix", "seqs", "spaces", "alive", "crcs"):
            getattr(grown, name)[: self.n] = getattr(self, name)[: self.n]
            setattr(self, name, getattr(grown, name))
