"""Similarity of texts: the Jaccard similarity of their word shingles, found by MinHash and banding.

Shingles and MinHash are Broder's ("On the resemblance and containment of documents", 1997), the bands those of
Leskovec, Rajaraman and Ullman ("Mining of Massive Datasets", chapter 3). All hashes are fixed, so that processes share
them.
"""

from __future__ import annotations

import re
import zlib
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    Hashes = np.ndarray[Any, np.dtype[np.uint64]]

LEAST_SIMILARITY = 0.7
"""Below it the bands miss too much: at 0.7 one pair in forty, at 0.8 one in three thousand."""

_SHINGLE = 3  # words
_BANDS, _ROWS = 20, 5
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]|\w+")
"""Scripts without spaces count character by character."""


class Sketch(NamedTuple):
    """The sketch of a text for similarity search.

    Attributes:
        shingles: The sorted hashes of its shingles, as 32-bit numbers.
        buckets: The buckets of similar texts: two texts of similarity s share one with probability 1 - (1 - s^5)^20.
    """

    shingles: bytes
    buckets: tuple[int, ...]


def sketch(text: str) -> Sketch:
    """Compute the sketch of a text, ignoring case and punctuation."""
    import numpy as np

    words = _WORD.findall(text.lower()) or [text]
    hashes = np.array([zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in words], dtype=np.uint64)
    width = min(_SHINGLE, len(hashes))
    rolled = np.zeros(len(hashes) - width + 1, dtype=np.uint64)
    for at in range(width):
        rolled = _mixed(rolled ^ hashes[at : at + len(rolled)])
    shingles = np.unique(rolled >> np.uint64(32)).astype("<u4")
    factors, addends = _permutations()
    lowest = (factors * shingles.astype(np.uint64) + addends).min(axis=1) >> np.uint64(32)
    rows = lowest.reshape(_BANDS, _ROWS)
    buckets = np.arange(1, _BANDS + 1, dtype=np.uint64)
    for row in range(_ROWS):
        buckets = _mixed(buckets ^ rows[:, row])
    return Sketch(shingles.tobytes(), tuple(buckets.astype(np.int64).tolist()))


def similarity(one: bytes, other: bytes) -> float:
    """Return the Jaccard similarity of two texts by their shingles."""
    import numpy as np

    first, second = np.frombuffer(one, dtype="<u4"), np.frombuffer(other, dtype="<u4")
    both = len(np.intersect1d(first, second, assume_unique=True))
    return both / (len(first) + len(second) - both)


def _mixed(values: Hashes) -> Hashes:
    """Return well distributed hashes of numbers: the finalizer of SplitMix64 (Steele, Lea and Flood, 2014)."""
    import numpy as np

    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


@cache
def _permutations() -> tuple[Hashes, Hashes]:
    """Return odd factors and addends: multiply-shift hashing (Dietzfelbinger and others, 1997)."""
    import numpy as np

    numbers = _mixed(np.arange(2 * _BANDS * _ROWS, dtype=np.uint64)).reshape(2, -1, 1)
    return numbers[0] | np.uint64(1), numbers[1]
