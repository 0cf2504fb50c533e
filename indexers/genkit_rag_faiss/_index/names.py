"""Which ids the rows in memory have, so that a document whose index entry on disk is damaged is never taken for absent.

A row's name is the CRC-32 of its namespace and id: a filter that says "surely not", or "look". Looking is rare.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Crcs = NDArray[np.uint32]

_MERGE_FROM = 65_536


def name_crc(namespace: str, name: str) -> int:
    """Return the checksum of a namespace and an id that `Names` stores."""
    return zlib.crc32(f"{namespace}\0{name}".encode())


class Names:
    """The names of all rows of a layout, dead ones included. One thread adds, any thread asks."""

    def __init__(self, crcs: Crcs) -> None:
        self._base = crcs
        self._sorted = len(crcs) == 0
        self._recent: set[int] = set()

    def add(self, crcs: Sequence[int]) -> None:
        """Add names."""
        self._recent.update(crcs)
        if len(self._recent) > _MERGE_FROM + len(self._base) // 4:
            more = np.fromiter(self._recent, np.uint32, len(self._recent))
            self._base, self._sorted = np.sort(np.concatenate([self._base, more])), True
            self._recent = set()

    def maybe(self, crcs: Crcs) -> NDArray[np.bool_]:
        """Return which of the names may exist; the others certainly do not."""
        recent = self._recent  # before the base: a merge adds to the base first
        if not self._sorted:
            self._base, self._sorted = np.sort(self._base), True  # 80 ms for a million, when first asked
        base = self._base
        at = np.searchsorted(base, crcs)
        found = np.zeros(len(crcs), np.bool_)
        inside = at < len(base)
        found[inside] = base[at[inside]] == crcs[inside]
        return found | np.fromiter((crc in recent for crc in crcs.tolist()), np.bool_, len(crcs))
