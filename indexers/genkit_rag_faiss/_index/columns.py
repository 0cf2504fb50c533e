"""Metadata columns: they resolve filters to row numbers and evaluate each condition once per distinct value.

A column maps rows to codes of distinct values. It is built from the database when a filter first uses its field, and
extended when rows are added. `matches_value` decides conditions on values, so filters mean the same in every store;
only equality and order of numbers have a faster path to the same result.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json

from genkit_rag.plugin_api import MISSING, And, Compare, Filter, Not, Or, get_field, matches_value
from genkit_rag_faiss._index.arrays import Ints, Mask
from genkit_rag_faiss._index.saved_columns import SavedColumn, SavedColumns
from genkit_rag_faiss._index.segments import DamagedSegment
from genkit_rag_faiss._index.view import View
from genkit_rag_faiss._storage.database import Database
from genkit_rag_faiss._storage.records import metadata_of

logger = logging.getLogger("genkit_rag.faiss")

MAX_COLUMNS = 64
"""How many fields are kept; the one unused for longest goes first."""
CACHE_BYTES = 32 << 20
"""How much memory resolved filters may take."""
INLINE_VALUES = 5_000
"""Up to so many distinct values and new rows a filter is resolved on the event loop: under a millisecond or two."""
INLINE_ROWS = 200_000
_EXACT_INT = 2**53
_CHUNK = 4096


class Column:
    """One field of the first `n` rows of a layout."""

    def __init__(self) -> None:
        self.n = 0
        self.codes: NDArray[np.int32] = np.zeros(0, np.int32)
        self.values: list[Any] = [MISSING]
        self._code_of: dict[Any, int] = {}
        self._lists: list[int] = []
        self._numbers: NDArray[np.float64] = np.full(1, np.nan)
        self._exact = True

    @classmethod
    def of(cls, saved: SavedColumn) -> Column:
        """Create a column from its saved form."""
        column = cls()
        for value in saved.values[1:]:
            column.code(value)
        column.codes, column.n = saved.codes, len(saved.codes)
        return column

    def saved(self, n: int) -> SavedColumn:
        """Return the saved form of the first n rows."""
        return SavedColumn(self.codes[:n], self.values)

    def extend(self, n: int) -> None:
        """Extend the column to n rows, whose field is missing until it is set."""
        if n > len(self.codes):
            grown = np.zeros(max(n, len(self.codes) * 3 // 2), np.int32)
            grown[: self.n] = self.codes[: self.n]
            self.codes = grown

    def code(self, value: Any) -> int:
        """Return the code of a value."""
        if value is MISSING:
            return 0
        key = _key(value)
        code = self._code_of.get(key)
        if code is None:
            code = len(self.values)
            if isinstance(value, list):
                self._lists.append(code)
            elif isinstance(value, int) and abs(value) > _EXACT_INT:
                self._exact = False
            self.values.append(value)
            self._code_of[key] = code
        return code

    def passing(self, op: str, wanted: Any) -> Mask:
        """Return, for each code, whether its value satisfies the condition."""
        if op in ("$ne", "$nin"):
            return ~self.passing("$eq" if op == "$ne" else "$in", wanted)
        size = len(self.values)
        table = np.zeros(size, np.bool_)
        if op in ("$eq", "$in"):
            # A scalar matches by equality, and equal values have the same code.
            codes = [self._code_of.get(_key(item), -1) for item in (wanted if op == "$in" else (wanted,))]
            table[[code for code in codes if 0 <= code < size]] = True
            rest: Sequence[int] = self._lists
        elif op in ("$gt", "$gte", "$lt", "$lte") and self._fast(wanted):
            numbers = self._as_numbers(size)
            compare = {"$gt": np.greater, "$gte": np.greater_equal, "$lt": np.less, "$lte": np.less_equal}[op]
            compare(numbers, wanted, out=table)  # NaN, for what is no number, passes nothing
            rest = self._lists
        else:
            rest = range(size)
        for code in rest:
            if code < size:
                table[code] = matches_value(op, wanted, self.values[code])
        return table

    def _fast(self, wanted: Any) -> bool:
        return self._exact and isinstance(wanted, int | float) and abs(wanted) <= _EXACT_INT

    def _as_numbers(self, size: int) -> NDArray[np.float64]:
        known = self._numbers
        if len(known) < size:
            fresh = [
                float(value) if isinstance(value, int | float) and not isinstance(value, bool) else np.nan
                for value in self.values[len(known) : size]
            ]
            known = self._numbers = np.concatenate([known, fresh])
        return known[:size]


def _key(value: Any) -> Any:
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool):
        return ("c", str(value))
    if isinstance(value, int | float):
        return ("n", value)
    return ("j", to_json(value))


class Filters:
    """Resolves filters and namespaces over the views of one store."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._columns: OrderedDict[str, Column] = OrderedDict()
        self._layout = 0
        self._saved: SavedColumns | None = None
        self._lock = threading.RLock()
        self._cache: OrderedDict[tuple[str, str | None], tuple[int, Ints]] = OrderedDict()
        self._cached_bytes = 0

    def quick(self, tree: Filter | None, view: View) -> bool:
        """Return whether `rows` takes at most a millisecond or two."""
        if tree is None:
            return True
        if view.n > INLINE_ROWS or self._layout != view.layout:
            return False
        columns = [self._columns.get(field) for field in _fields(tree)]
        return all(
            column is not None and view.n - column.n <= 64 and len(column.values) <= INLINE_VALUES for column in columns
        )

    def rows(self, tree: Filter | None, namespace: str | None, view: View) -> Ints | None:
        """Return the matching live rows of the namespace, ascending; None for all live rows.

        A namespace of None means all of them.
        """
        if tree is None:
            if namespace is None or view.counts.get(namespace, 0) == view.live:
                return None
            if not view.counts.get(namespace):
                return np.empty(0, np.int64)
        key = ("" if tree is None else repr(tree), namespace)
        cached = self._cache.get(key)
        if cached is not None and cached[0] == view.generation:
            return cached[1]
        mask = view.alive if tree is None else self._mask(tree, view) & view.alive
        if namespace is not None and view.counts.get(namespace, 0) != view.live:
            mask = mask & (view.spaces == view.codes.get(namespace, -1))
        rows = np.flatnonzero(mask)
        self._remember(key, view.generation, rows)
        return rows

    def _mask(self, tree: Filter, view: View) -> Mask:
        columns = self._ensure(set(_fields(tree)), view)

        def evaluate(node: Filter) -> Mask:
            match node:
                case Compare(field, op, value):
                    column = columns[field]
                    return column.passing(op, value)[column.codes[: view.n]]
                case And(terms):
                    return np.logical_and.reduce([evaluate(t) for t in terms]) if terms else np.ones(view.n, np.bool_)
                case Or(terms):
                    return np.logical_or.reduce([evaluate(t) for t in terms]) if terms else np.zeros(view.n, np.bool_)
                case Not(term):
                    return ~evaluate(term)

        return evaluate(tree)

    def _ensure(self, fields: set[str], view: View) -> dict[str, Column]:
        with self._lock:
            if view.layout != self._layout:
                if view.layout < self._layout:  # a query that began before a compaction: columns of its own
                    return self._fill({field: Column() for field in fields}, view)
                self._columns.clear()
                self._layout, self._saved = view.layout, None
            columns = {field: self._columns.get(field) or self._saved_or_new(field) for field in fields}
            self._fill(columns, view)
            for field, column in columns.items():
                self._columns[field] = column
                self._columns.move_to_end(field)
            while len(self._columns) > MAX_COLUMNS:
                self._columns.popitem(last=False)
            return columns

    def adopt(self, layout: int, saved: SavedColumns) -> None:
        """Use columns from a segment for a layout, unless a filter was already resolved in it."""
        with self._lock:
            self._columns.clear()
            self._layout, self._saved = layout, saved

    def to_save(self, view: View) -> dict[str, SavedColumn]:
        """Return the built columns of a view, and those in a segment."""
        with self._lock:
            if self._layout != view.layout:
                return {}
            fields = [*self._columns, *(self._saved_fields() if self._saved else ())]
            columns = self._ensure(set(fields[:MAX_COLUMNS]), view)
            return {field: column.saved(view.n) for field, column in columns.items()}

    def _saved_fields(self) -> list[str]:
        try:
            return self._saved.fields() if self._saved is not None else []
        except DamagedSegment:
            return []

    def _saved_or_new(self, field: str) -> Column:
        try:
            found = self._saved.get(field, MISSING) if self._saved is not None else None
        except DamagedSegment as error:
            logger.warning("The columns of a store are damaged (%s): they are made again.", error)
            self._saved = found = None
        return Column() if found is None else Column.of(found)

    def _fill(self, columns: dict[str, Column], view: View) -> dict[str, Column]:
        """Codes the rows that the columns do not cover yet."""
        short = {field: column for field, column in columns.items() if column.n < view.n}
        if not short:
            return columns
        first = min(column.n for column in short.values())
        for column in short.values():
            column.extend(view.n)
        for start in range(first, view.n, _CHUNK):
            stop = min(start + _CHUNK, view.n)
            found = list(self._database.rows_between(int(view.seqs[start]), int(view.seqs[stop - 1])))
            there = {row[0] for row in found}
            if len(found) < stop - start:
                alive = view.seqs[start:stop][view.alive[start:stop]].tolist()
                self._database.check_lost(set(alive) - there)
            at = (np.searchsorted(view.seqs[start:stop], [row[0] for row in found]) + start).tolist()
            for row, raw in zip(at, found, strict=True):
                metadata = metadata_of(raw)
                for field, column in short.items():
                    if row >= column.n:
                        column.codes[row] = column.code(get_field(metadata, field))
        for column in short.values():
            column.n = view.n
        return columns

    def _remember(self, key: tuple[str, str | None], generation: int, rows: Ints) -> None:
        with self._lock:
            old = self._cache.pop(key, None)
            self._cached_bytes += rows.nbytes - (old[1].nbytes if old else 0)
            self._cache[key] = (generation, rows)
            while self._cached_bytes > CACHE_BYTES or len(self._cache) > 256:
                self._cached_bytes -= self._cache.popitem(last=False)[1][1].nbytes


def _fields(tree: Filter) -> Iterator[str]:
    match tree:
        case Compare(field, _, _):
            yield field
        case And(terms) | Or(terms):
            for term in terms:
                yield from _fields(term)
        case Not(term):
            yield from _fields(term)
