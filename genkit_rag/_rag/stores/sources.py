"""The chunks of one source, put back onto its text: where they begin, end and overlap."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from genkit_rag._core.context import ActionContext
from genkit_rag._documents.checks import check_names
from genkit_rag._documents.document import Document
from genkit_rag._documents.filters import Compare
from genkit_rag._documents.wire import WireModel
from genkit_rag._rag.stores.handle import StoreHandle
from genkit_rag._rag.vector_store import DEFAULT_NAMESPACE

MAX_CHUNKS = 5000
MAX_CHARACTERS = 2_000_000
"""A longer source is shown up to here."""


class SourceRequest(WireModel):
    """The source (`metadata.source` of its chunks) and how many of its chunks to show, from the first one on."""

    source: str = ""
    namespace: str = DEFAULT_NAMESPACE
    limit: int = Field(default=1000, strict=True, ge=1, le=MAX_CHUNKS)


class SourceChunk(WireModel):
    """A chunk: `[start, end)` in the source; `prefix` characters before its text are repeated from elsewhere."""

    id: str
    start: int
    end: int
    prefix: int = 0
    metadata: dict[str, Any]


class Piece(WireModel):
    """A stretch of the source and the positions of the chunks that hold it: several where they overlap.

    Without any chunk it is a gap, of which the store does not know the text.
    """

    start: int
    end: int
    text: str
    chunks: list[int]


class SourceResponse(WireModel):
    """A source as the store knows it.

    Attributes:
        source: Its name.
        total: How many documents of it there are.
        chunks: Those that say where they stand, in their order.
        pieces: The text between their boundaries, without holes from the first to the last.
        unplaced: The documents that do not say where they stand.
        truncated: Whether there is more than is shown.
    """

    source: str
    total: int
    chunks: list[SourceChunk]
    pieces: list[Piece]
    unplaced: list[Document]
    truncated: bool = False


async def source(handle: StoreHandle, request: SourceRequest, ctx: ActionContext) -> SourceResponse:
    """Return the chunks of a source that the caller may see."""
    check_names("namespace", [request.namespace])
    scope = handle.scope(ctx, request.namespace, Compare("source", "$eq", request.source))
    own = handle.scope(ctx, request.namespace, None)
    store = await handle.store()
    ids = await store.ids(filter=scope.filter, namespace=scope.namespace)
    found = await store.get(ids[:MAX_CHUNKS], namespace=scope.namespace)
    documents = [document for document in found if document is not None and own.sees(document)]
    placed = sorted((place for document in documents if (place := placed_at(document)) is not None), key=_order)
    unplaced = [document for document in documents if placed_at(document) is None]
    shown, size = placed[: request.limit], 0
    for number, (_, _, text, _) in enumerate(shown):
        size += len(text)
        if size > MAX_CHARACTERS:
            shown = shown[: max(number, 1)]
            break
    return SourceResponse(
        source=request.source,
        total=len(ids),
        unplaced=unplaced[: request.limit],
        chunks=[
            SourceChunk(id=one.id, start=start, end=end, prefix=len(one.text) - len(text), metadata=one.metadata)
            for start, end, text, one in shown
        ],
        pieces=pieces([(start, end, text) for start, end, text, _ in shown]),
        truncated=len(shown) < len(placed) or len(unplaced) > request.limit or len(ids) > MAX_CHUNKS,
    )


def placed_at(document: Document) -> tuple[int, int, str, Document] | None:
    """Return `(start, end, text, document)` of a chunk; None if its metadata has no position."""
    facts = document.metadata
    start, end, prefix = facts.get("start"), facts.get("end"), facts.get("prefix", 0)
    if type(start) is not int or type(end) is not int or type(prefix) is not int or not 0 <= start < end or prefix < 0:
        return None
    text = document.text[prefix:]
    return (start, end, text, document) if len(text) == end - start else None


def pieces(chunks: Sequence[tuple[int, int, str]]) -> list[Piece]:
    """Yield the pieces between the boundaries of `(start, end, text)`, which are sorted by their starts."""
    edges = sorted({edge for start, end, _ in chunks for edge in (start, end)})
    found: list[Piece] = []
    open_: list[int] = []
    following = 0
    for low, high in itertools.pairwise(edges):
        while following < len(chunks) and chunks[following][0] <= low:
            open_.append(following)
            following += 1
        open_ = [number for number in open_ if chunks[number][1] > low]
        text = ""
        if open_:
            first, _, whole = chunks[open_[0]]
            text = whole[low - first : high - first]
        found.append(Piece(start=low, end=high, text=text, chunks=list(open_)))
    return found


def _order(placed: tuple[int, int, str, Document]) -> tuple[int, int, str]:
    return placed[0], placed[1], placed[3].id
