"""Keyword search in a namespace: Chroma finds the rows with a word, this module ranks them."""

from __future__ import annotations

import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np

from genkit_rag.plugin_api import Filter, Vectors, run_in_thread
from genkit_rag_chroma._engine import Moved
from genkit_rag_chroma._space import Space
from genkit_rag_chroma._where import where_of
from genkit_rag_chroma._words import bm25, having, length_of, terms_of

__all__ = ["Lengths", "as_vector", "best", "check_all_there", "length_of"]


class Lengths:
    """The total number of words of each namespace: read once, then updated by local writes.

    It is stored with the number of rows that it was valid for. If that changed, another client has written, and it is
    read again.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, int]] = {}
        self._lock = threading.Lock()

    async def total(self, space: Space, count: int) -> int:
        """Return the total number of words of the `count` rows."""
        name = space.collection.name
        known = self._known.get(name)
        if known is None or known[0] != count:
            lengths = [length_of(words) async for _, words in space.fetch(await space.ids(), "documents")]
            known = (len(lengths), sum(lengths))
            with self._lock:
                self._known[name] = known
        return known[1]

    @contextmanager
    def changing(self, space: Space) -> Generator[Change, None, None]:
        """Track the words of a write; forget the total if it fails."""
        name = space.collection.name
        with self._lock:
            known = self._known.pop(name, None)
        change = Change(space, known)
        yield change
        if change.known is not None:
            with self._lock:
                self._known[name] = change.known


class Change:
    """One write, as far as it changes the number of words."""

    def __init__(self, space: Space, known: tuple[int, int] | None) -> None:
        self._space = space
        self.known = known

    async def of(self, rows: Sequence[str]) -> int:
        """Return the number of words of rows to be deleted; 0 if it is not needed."""
        if self.known is None:
            return 0
        return sum([length_of(words) async for _, words in self._space.fetch(rows, "documents")])

    def changed(self, rows: int, words: int) -> None:
        """Says by how much there are more rows and words now."""
        if self.known is not None:
            self.known = (self.known[0] + rows, self.known[1] + words)


async def best(space: Space, query: str, k: int, tree: Filter | None, lengths: Lengths) -> list[tuple[str, float]]:
    """Return `(row, score)` of the best k matching rows; the statistics are those of the whole namespace."""
    terms = terms_of(query)
    if not terms:
        return []
    words = having(terms)
    found = {row: text async for row, text in space.fetch(await space.ids(None, words), "documents")}
    if not found:
        return []
    count = await space.count()
    total = await lengths.total(space, count)
    scores = await run_in_thread(bm25, terms, list(found.values()), count, total)
    pairs = list(zip(found, scores, strict=True))
    if tree is not None:
        passing = set(await space.passing(tree, where_of(tree), words))
        pairs = [pair for pair in pairs if pair[0] in passing]
    return sorted(pairs, key=lambda pair: (-pair[1], pair[0]))[:k]


def check_all_there(wanted: Sequence[tuple[str, float]], found: Mapping[str, Any]) -> None:
    """Raise `Moved` if a row was deleted since it was found."""
    if len(found) < len(wanted):
        raise Moved("deleted while they were searched")


def as_vector(raw: Any) -> Vectors:
    """Convert a value of Chroma to a vector."""
    return cast(Vectors, np.asarray(raw, np.float32))
