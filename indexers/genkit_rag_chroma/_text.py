"""The search by words in a namespace: Chroma finds the rows that have a word, this ranks them."""

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
    """How many words the rows of each namespace have together: read once, then kept up by what is written here.

    It stands beside the number of rows that it was true of. When that is another one, somebody else has written, and it
    is read again.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, int]] = {}
        self._lock = threading.Lock()

    async def total(self, space: Space, count: int) -> int:
        """Returns how many words the `count` rows have together."""
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
        """Gives what is told of a write; one that fails is forgotten with all that was known."""
        name = space.collection.name
        with self._lock:
            known = self._known.pop(name, None)
        change = Change(space, known)
        yield change
        if change.known is not None:
            with self._lock:
                self._known[name] = change.known


class Change:
    """One write, to those who only want to know what it does to the number of words."""

    def __init__(self, space: Space, known: tuple[int, int] | None) -> None:
        self._space = space
        self.known = known

    async def of(self, rows: Sequence[str]) -> int:
        """Returns how many words rows have that will go; 0 when nobody wants to know."""
        if self.known is None:
            return 0
        return sum([length_of(words) async for _, words in self._space.fetch(rows, "documents")])

    def changed(self, rows: int, words: int) -> None:
        """Says by how much there are more rows and words now."""
        if self.known is not None:
            self.known = (self.known[0] + rows, self.known[1] + words)


async def best(space: Space, query: str, k: int, tree: Filter | None, lengths: Lengths) -> list[tuple[str, float]]:
    """Returns `(row, score)` of the best k that pass the filter; the statistics are those of the whole namespace."""
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
    """Raises `Moved` when a row is gone that was found a moment ago."""
    if len(found) < len(wanted):
        raise Moved("deleted while they were searched")


def as_vector(raw: Any) -> Vectors:
    """Returns what Chroma gives as a vector."""
    return cast(Vectors, np.asarray(raw, np.float32))
