"""The metadata of a store: its fields, their types and most frequent values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from pydantic import Field

from genkit_rag._core.context import ActionContext
from genkit_rag._core.threads import run_in_thread
from genkit_rag._documents.checks import check_names
from genkit_rag._documents.filters import parse_filter
from genkit_rag._documents.wire import DataWireModel, WireModel
from genkit_rag._rag.stores.handle import StoreHandle
from genkit_rag._rag.vector_store import DEFAULT_NAMESPACE

MAX_FIELDS = 200
MAX_DEPTH = 4
MAX_VALUE_CHARACTERS = 200
"""Longer strings are counted by type only; they are not useful as facets."""
BATCH = 2000


class FacetsRequest(WireModel):
    """What to look at.

    Attributes:
        filter: Only documents that pass it.
        namespace: The partition to look at.
        fields: Only these fields; all when None.
        values: How many of the most frequent values of each field are given.
        sample: At most so many documents are looked at, spread over all of them.
    """

    filter: dict[str, Any] | None = None
    namespace: str = DEFAULT_NAMESPACE
    fields: list[str] | None = Field(default=None, max_length=MAX_FIELDS)
    values: int = Field(default=20, strict=True, ge=1, le=1000)
    sample: int = Field(default=10_000, strict=True, ge=1, le=50_000)


class FacetValue(DataWireModel):
    """A value and how many of the documents looked at have it."""

    nulls = ("value",)

    value: Any
    count: int


class Facet(WireModel):
    """A field of the metadata.

    Attributes:
        field: Its name, as filters call it: `a.b` within objects.
        types: How often it is a `string`, `number`, `boolean`, `null`; of a list each element counts.
        many: Whether some of the values are lists; a filter on such a field is true when it is true of any element.
        present: How many documents have it.
        distinct: How many different values were seen.
        lowest: The lowest number.
        highest: The highest number.
        values: The most frequent values.
    """

    field: str
    types: dict[str, int]
    many: bool = False
    present: int
    distinct: int
    lowest: float | None = None
    highest: float | None = None
    values: list[FacetValue]


class FacetsResponse(WireModel):
    """The fields, most widespread first; the counts are of `sampled` documents out of `total`."""

    sampled: int
    total: int
    facets: list[Facet]
    more_fields: bool = False


async def facets(handle: StoreHandle, request: FacetsRequest, ctx: ActionContext) -> FacetsResponse:
    """Return the facets of the documents that the caller may see."""
    tree = parse_filter(request.filter)
    check_names("namespace", [request.namespace])
    store, scope = await handle.store(), handle.scope(ctx, request.namespace, tree)
    ids = await store.sample(request.sample, filter=scope.filter, namespace=scope.namespace)
    total = await store.count(filter=scope.filter, namespace=scope.namespace)
    tally = Tally(None if request.fields is None else frozenset(request.fields))
    own = handle.scope(ctx, request.namespace, None)
    for start in range(0, len(ids), BATCH):
        found = await store.get(ids[start : start + BATCH], namespace=scope.namespace)
        seen = [document.metadata for document in found if document is not None and own.sees(document)]
        await run_in_thread(tally.add, seen)
    rows = sorted(tally.fields.items(), key=lambda item: (-item[1].present, item[0]))
    return FacetsResponse(
        sampled=tally.documents,
        total=max(total, tally.documents),
        more_fields=tally.more,
        facets=[seen.facet(name, request.values) for name, seen in rows],
    )


@dataclass(slots=True)
class _Seen:
    """The values of one field that were counted."""

    present: int = 0
    many: bool = False
    types: Counter[str] = field(default_factory=Counter[str])
    values: Counter[tuple[str, Any]] = field(default_factory=Counter[tuple[str, Any]])
    lowest: float | None = None
    highest: float | None = None

    def add(self, value: Any) -> None:
        self.present += 1
        items: Sequence[Any] = (value,)
        if isinstance(value, list | tuple):
            self.many, items = True, cast("Sequence[Any]", value)
        for kind, item in {(_type_of(item), item) for item in items if not isinstance(item, dict | list | tuple)}:
            self.types[kind] += 1
            if kind == "number" and abs(item) < 2.0**1000:
                self.lowest = item if self.lowest is None else min(self.lowest, item)
                self.highest = item if self.highest is None else max(self.highest, item)
            if kind != "string" or len(item) <= MAX_VALUE_CHARACTERS:
                self.values[kind, item] += 1

    def facet(self, name: str, values: int) -> Facet:
        best = sorted(self.values.items(), key=lambda item: (-item[1], item[0][0], _order(item[0][1])))[:values]
        return Facet(
            field=name,
            types=dict(self.types),
            many=self.many,
            present=self.present,
            distinct=len(self.values),
            lowest=self.lowest,
            highest=self.highest,
            values=[FacetValue(value=value, count=count) for (_, value), count in best],
        )


class Tally:
    """Counts the values of metadata fields.

    Attributes:
        documents: The number of counted documents.
        fields: The counts by field.
        more: Whether there are more fields than the limit.
    """

    def __init__(self, only: frozenset[str] | None = None) -> None:
        self.documents = 0
        self.fields: dict[str, _Seen] = {}
        self.more = False
        self._only = only

    def add(self, metadata: Sequence[dict[str, Any]]) -> None:
        """Count the metadata of some documents."""
        self.documents += len(metadata)
        for one in metadata:
            for name, value in _leaves(one, "", 1):
                if self._only is not None and name not in self._only:
                    continue
                seen = self.fields.get(name)
                if seen is None and len(self.fields) == MAX_FIELDS:
                    self.more = True
                    continue
                if seen is None:
                    seen = self.fields[name] = _Seen()
                seen.add(value)


def _leaves(metadata: dict[str, Any], prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    for key, value in metadata.items():
        if not isinstance(value, dict):
            yield prefix + key, value
        elif depth < MAX_DEPTH:
            yield from _leaves(cast("dict[str, Any]", value), f"{prefix}{key}.", depth + 1)


def _type_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    return "string" if isinstance(value, str) else "number"


def _order(value: Any) -> tuple[float, str]:
    return (float(value), "") if isinstance(value, int | float) and abs(value) < 2.0**1000 else (0.0, str(value))
