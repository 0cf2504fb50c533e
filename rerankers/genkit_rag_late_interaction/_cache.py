"""Token vectors that were computed before: in memory, and in a file where one is named."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from genkit_rag_late_interaction._file import Halves, VectorFile

OVERHEAD = 200
"""Bytes that an entry takes beside its vectors, about."""


class TokenCache:
    """Token vectors by text, up to a number of bytes; the least recently used are dropped first.

    Thread-safe. Two threads that request the same new text at the same time both compute it.

    Args:
        revision: The revision of the model and its settings; vectors of another one are never returned.
        limit: The maximum number of bytes in memory; 0 keeps nothing.
        file: The file for vectors that are not in memory.
    """

    def __init__(self, revision: str, limit: int, file: VectorFile | None = None) -> None:
        self._revision = revision
        self._limit = limit
        self._file = file
        self._entries: OrderedDict[bytes, Halves] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """The bytes in memory."""
        return self._size

    def vectors(
        self, texts: Sequence[str], compute: Callable[[list[str]], Iterable[NDArray[np.float32]]]
    ) -> list[Halves]:
        """Return the token vectors of each text; `compute` is called once for the missing texts, each once."""
        keys = [self._key(text) for text in texts]
        found = self._remembered(keys)
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in found}
        if missing and self._file is not None:
            stored = self._file.read(list(missing))
            self._remember(stored)
            found |= stored
            missing = {key: text for key, text in missing.items() if key not in stored}
        if missing:
            computed = compute(list(missing.values()))
            fresh = {key: vectors.astype(np.float16) for key, vectors in zip(missing, computed, strict=True)}
            self._remember(fresh)
            if self._file is not None:
                self._file.write(fresh)
            found |= fresh
        return [found[key] for key in keys]

    def clear(self) -> None:
        """Drop the vectors in memory."""
        with self._lock:
            self._entries.clear()
            self._size = 0

    def _key(self, text: str) -> bytes:
        blob = f"{self._revision}\n{text}".encode("utf-8", "surrogatepass")
        return hashlib.blake2b(blob, digest_size=16).digest()

    def _remembered(self, keys: Iterable[bytes]) -> dict[bytes, Halves]:
        found: dict[bytes, Halves] = {}
        with self._lock:
            for key in keys:
                if key in self._entries:
                    self._entries.move_to_end(key)
                    found[key] = self._entries[key]
        return found

    def _remember(self, entries: Mapping[bytes, Halves]) -> None:
        with self._lock:
            for key, vectors in entries.items():
                cost = vectors.nbytes + OVERHEAD
                if key not in self._entries and cost <= self._limit:
                    self._entries[key] = vectors
                    self._size += cost
            while self._size > self._limit:
                _, oldest = self._entries.popitem(last=False)
                self._size -= oldest.nbytes + OVERHEAD
