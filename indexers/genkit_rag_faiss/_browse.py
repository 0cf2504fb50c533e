"""Reading a store from end to end: pages in the order of writing, and samples."""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple

import numpy as np

from genkit_rag.plugin_api import Document, Filter, invalid
from genkit_rag_faiss._engine import Engine
from genkit_rag_faiss._index.arrays import Ints
from genkit_rag_faiss._index.view import View
from genkit_rag_faiss._storage.records import decode

_BLOCK = 65_536
"""So many rows are looked at together: a page of a store without filters is found in the first block."""


class Wanted(NamedTuple):
    """The documents to browse: a namespace, a filter and an id prefix."""

    filter: Filter | None
    namespace: str
    prefix: str = ""


_BEGINNING = """
SELECT seq, id FROM doc
WHERE namespace = :namespace AND id >= :prefix AND id < :end AND id > :after ORDER BY id LIMIT :limit
"""


def begins_so(engine: Engine, wanted: Wanted, after: str | None, limit: int) -> tuple[list[Document], str | None]:
    """Return the documents whose ids begin with a prefix, in the order of their ids, and the last id of a full page.

    The index of ids is walked: wherever they stand, no other document is looked at.
    """
    database = engine.database
    given = {
        "namespace": wanted.namespace,
        "prefix": wanted.prefix,
        "end": _behind(wanted.prefix),
        "after": after or "",
        "limit": limit + 1,
    }
    with database.errors():
        keys: list[tuple[int, str]] = database.reader.execute(_BEGINNING, given).fetchall()
    documents = _documents(engine, [seq for seq, _ in keys[:limit]])
    return documents, keys[limit - 1][1] if len(keys) > limit else None


def _behind(prefix: str) -> str | bytes:
    """Return the least string greater than all strings with the prefix; UTF-8 sorts by code points."""
    kept = prefix.rstrip("\U0010ffff")
    if not kept:
        return b""  # to SQLite every blob is greater than every text
    following = ord(kept[-1]) + 1
    return kept[:-1] + chr(0xE000 if following == 0xD800 else following)


def start_of(after: str | None, view: View) -> int:
    """Return the first row after a cursor, which is a sequence number; INVALID_ARGUMENT for any other text."""
    if after is None:
        return 0
    if not (after.isascii() and after.isdigit() and len(after) < 19):
        raise invalid("after", after, "is not where a page of this store ends", hint="Pass on what the last page gave.")
    return int(np.searchsorted(view.seqs, int(after), side="right"))


def page(engine: Engine, view: View, wanted: Wanted, start: int, limit: int) -> tuple[list[Document], str | None]:
    """Return the documents of the next live rows from a row on, and the sequence number of the last one."""
    chosen = _rows(engine, view, wanted, start, limit + 1)
    seqs = view.seqs[chosen].tolist()
    return _documents(engine, seqs[:limit]), str(seqs[limit - 1]) if len(seqs) > limit else None


def _documents(engine: Engine, seqs: list[int]) -> list[Document]:
    found = {row[0]: row for row in engine.database.rows(seqs)}
    engine.database.check_lost(set(seqs) - found.keys())
    return [decode(found[seq]).document() for seq in seqs if seq in found]


def _rows(engine: Engine, view: View, wanted: Wanted, start: int, limit: int) -> list[int]:
    filter, namespace, prefix = wanted
    passing = None if filter is None else engine.filters.rows(filter, namespace, view)
    if passing is not None:
        candidates: list[int] = passing[np.searchsorted(passing, start) :].tolist()
        return list(islice((row for row in candidates if view.ids[row].startswith(prefix)), limit))
    code = view.codes.get(namespace, -1)
    chosen: list[int] = []
    for first in range(start, view.n, _BLOCK):
        block = slice(first, first + _BLOCK)
        rows: list[int] = (np.flatnonzero(view.alive[block] & (view.spaces[block] == code)) + first).tolist()
        chosen += rows[:limit]
        if len(chosen) >= limit:
            break
    return chosen[:limit]


def sample(engine: Engine, view: View, wanted: Wanted, limit: int) -> list[str]:
    """Return the ids of rows that are spread over the matching ones."""
    rows: Ints | None = engine.filters.rows(wanted.filter, wanted.namespace, view)
    if rows is None:
        rows = np.flatnonzero(view.alive)
    if len(rows) > limit:
        rows = rows[np.arange(limit) * len(rows) // limit]
    numbers: list[int] = rows.tolist()
    return [view.ids[row] for row in numbers]
