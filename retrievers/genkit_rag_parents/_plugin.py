"""The plugin."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from genkit_rag.plugin_api import (
    ActionContext,
    ActionKind,
    And,
    Document,
    Filter,
    GenkitError,
    Or,
    Plugin,
    RetrieverAction,
    RetrieverOptions,
    RetrieverRequest,
    RetrieverResponse,
    StoreHandle,
    StorePlugin,
    invalid,
    parse_filter,
    retriever_action,
)
from genkit_rag_parents._group import POSITION_FIELDS, Group, grouped, parent_of, section_of, wanted
from genkit_rag_parents._stitch import Piece, piece_of, stitched

MAX_CHUNKS = 200
"""The default maximum number of chunks of a document."""
MAX_WINDOW = 100
_MOST_CANDIDATES = 10_000
_GROUPS_AT_ONCE = 50
"""Stores bound the size of one filter."""


class ParentsOptions(RetrieverOptions):
    """The options of every retriever, and the window in chunks; 0 merges only the hits themselves."""

    window: int | None = Field(default=None, ge=0, le=MAX_WINDOW)


@dataclass(frozen=True)
class ParentsConfig:
    """How the hits of one retriever are widened.

    Args:
        retriever: The name of the retriever that finds the chunks.
        window: How many chunks on both sides of a hit are given with it; None gives the whole parent.
        store: The store that holds the chunks; None when the retriever is the store's own.
        max_chunks: How many chunks of a parent are given at most: those around the best hit.
        position: The metadata that may differ between the chunks of one parent.
    """

    retriever: str
    window: int | None = None
    store: str | None = None
    max_chunks: int = MAX_CHUNKS
    position: Sequence[str] = POSITION_FIELDS

    def __post_init__(self) -> None:
        if self.window is not None and not 0 <= self.window <= MAX_WINDOW:
            raise invalid("window", self.window, f"must be from 0 to {MAX_WINDOW}", hint="None is the whole parent.")
        if self.max_chunks < 1:
            raise invalid("max_chunks", self.max_chunks, "must be at least 1")
        if "source" in self.position:
            raise invalid("position", self.position, "must not hold `source`: it tells parents apart")

    def reach(self, options: ParentsOptions) -> int | None:
        """Return the number of chunks on both sides of a hit; None for the whole parent."""
        return self.window if options.window is None else options.window


class Parents(Plugin):
    """Registers `/retriever/parents/<name>`: parent-document retrieval.

    Small chunks are found better, larger passages answer better. Hits of one parent become one document with the best
    score, rebuilt by the chunks' exact offsets and read from the store at the call, so texts are stored once. Chunks
    hidden by the caller's filter or the store's access rules stay hidden. The metadata are those that all its chunks
    share, with `chunks` (the first and the last number) and `matches` (the ids of the hits, best first); `start` and
    `end` if the text is contiguous. `k` counts documents after merging, `candidates` (4 x `k` by default) hits before
    it. `window` is this retriever's own; all other options are passed to the inner one, with `score_threshold` in the
    unit of its scores.

    Args:
        retrievers: For each name, a configuration; the name of a retriever alone returns whole parents.
        on_error: The behaviour if the neighbours cannot be read: `raise`, or `degrade`: return the hits unchanged with
            a notice.
        name: The name of the plugin.
    """

    provides = ("retriever",)

    def __init__(
        self,
        retrievers: Mapping[str, str | ParentsConfig],
        *,
        on_error: Literal["raise", "degrade"] = "raise",
        name: str = "parents",
    ) -> None:
        if on_error not in ("raise", "degrade"):
            raise invalid("on_error", on_error, "must be one of raise, degrade")
        self.name = name
        self.on_error = on_error
        self.retrievers = {
            key: ParentsConfig(given) if isinstance(given, str) else given for key, given in retrievers.items()
        }
        for key, widen in self.retrievers.items():
            if not isinstance(widen, ParentsConfig) or widen.retriever == f"{name}/{key}":
                raise invalid(
                    f"retrievers[{key!r}]", widen, "must be the name of another retriever, or ParentsConfig(...)"
                )

    async def init(self) -> Sequence[RetrieverAction]:
        """Create one retriever for each name."""
        return [self._action(name, widen) for name, widen in self.retrievers.items()]

    def _action(self, name: str, widen: ParentsConfig) -> RetrieverAction:
        async def retrieve(query: Document, options: ParentsOptions, ctx: ActionContext) -> RetrieverResponse:
            if options.k == 0:
                return RetrieverResponse()
            handle = await self._store(widen.store or widen.retriever)
            found = await self._hits(widen.retriever, query, options)
            groups = grouped(found, options.k, widen.reach(options), widen.position)
            if len(groups) < options.k and len(found) >= _many(options):
                said = f"FEWER: {len(found)} hits made {len(groups)} documents"
                found.notices.append(f"{said}; ask for more `candidates` than {_many(options)}.")
            try:
                near = await self._near(handle, groups, widen, options, ctx)
            except Exception as error:
                if self.on_error == "raise" or getattr(error, "status", None) == "PERMISSION_DENIED":
                    raise
                near, found.notices = {}, [*found.notices, f"NOT_WIDENED: the chunks around were not read: {error}"]
            return _response(groups, near, widen, options, found.notices)

        return retriever_action(f"{self.name}/{name}", retrieve, options_type=ParentsOptions)

    async def _hits(self, retriever: str, query: Document, options: ParentsOptions) -> RetrieverResponse:
        told = options.model_dump(exclude={"k", "candidates", "window"}, exclude_defaults=True)
        action = await self.registry.get(ActionKind.RETRIEVER, retriever)
        response: RetrieverResponse = await action(RetrieverRequest(query=query, options={**told, "k": _many(options)}))
        return RetrieverResponse(response, response.notices)

    async def _store(self, name: str) -> StoreHandle:
        for plugin in self.registry.plugins:
            if isinstance(plugin, StorePlugin) and name.startswith(f"{plugin.name}/"):
                await self.registry.get(ActionKind.RETRIEVER, name)  # NOT_FOUND for a store that there is not
                return plugin.handle(name.partition("/")[2])
        raise GenkitError(
            "FAILED_PRECONDITION",
            f"`{name}` is not the retriever of a store, so the chunks around a hit cannot be read from it.",
            hint="Name the store that holds the chunks: ParentsConfig(retriever, store='faiss/docs').",
        )

    async def _near(
        self,
        handle: StoreHandle,
        groups: Sequence[Group],
        widen: ParentsConfig,
        options: ParentsOptions,
        ctx: ActionContext,
    ) -> dict[str, list[Piece]]:
        """Return the visible chunks around the hits, by parent."""
        own = parse_filter(options.filter)
        whole = widen.reach(options) is None
        asked: list[Filter] = []
        for group in groups:
            if group.parent is None:
                continue
            best = group.pieces[0].number
            low, high = (best - widen.max_chunks, best + widen.max_chunks) if whole else (group.low, group.high)
            asked.append(wanted(group, low, high, widen.position))
        near: dict[str, list[Piece]] = {}
        for at in range(0, len(asked), _GROUPS_AT_ONCE):
            some: Filter = Or(tuple(asked[at : at + _GROUPS_AT_ONCE]))
            tree = some if own is None else And((own, some))
            for document in await handle.fetch(filter=tree, namespace=options.namespace, ctx=ctx):
                parent, piece = parent_of(document, widen.position), piece_of(document, section_of(document))
                if parent is not None and piece is not None:
                    near.setdefault(parent, []).append(piece)
        return near


def _many(options: ParentsOptions) -> int:
    return max(options.candidates or min(4 * options.k, _MOST_CANDIDATES), options.k)


def _response(
    groups: Sequence[Group],
    near: Mapping[str, Sequence[Piece]],
    widen: ParentsConfig,
    options: ParentsOptions,
    notices: Sequence[str],
) -> RetrieverResponse:
    whole = widen.reach(options) is None
    said = list(notices)
    documents: list[Document] = []
    for group in groups:
        if group.parent is None:
            documents.append(_scored(group.hits[0], widen.retriever))
            continue
        there = {piece.number: piece for piece in near.get(group.parent, ())}
        there |= {piece.number: piece for piece in reversed(group.pieces)}
        pieces = [there[number] for number in sorted(there)]
        if not whole:
            pieces = _with_hits([piece for piece in pieces if group.low <= piece.number <= group.high], group)
        kept = _around(pieces, group.pieces[0].number, widen.max_chunks)
        if len(kept) < len(pieces):
            source = group.hits[0].metadata["source"]
            said.append(f"PARENT_CUT: of `{source}` the {len(kept)} chunks around the best hit are given.")
        documents.append(_document(group, kept, widen.retriever))
    alone = sum(group.parent is None for group in groups)
    if alone:
        said.append(f"NOT_WIDENED: {alone} hits have no `source`, `chunk`, `start` and `end` that fit their text.")
    return RetrieverResponse(documents, said)


def _with_hits(pieces: Sequence[Piece], group: Group) -> list[Piece]:
    """Return the runs of consecutive chunks that contain a hit, since chunks after a gap are not neighbours."""
    hits = {piece.number for piece in group.pieces}
    runs: list[list[Piece]] = []
    for piece in pieces:
        if runs and piece.number == runs[-1][-1].number + 1:
            runs[-1].append(piece)
        else:
            runs.append([piece])
    return [piece for run in runs if hits & {piece.number for piece in run} for piece in run]


def _around(pieces: Sequence[Piece], best: int, most: int) -> list[Piece]:
    at = next(place for place, piece in enumerate(pieces) if piece.number == best)
    first = max(min(at - most // 2, len(pieces) - most), 0)
    return list(pieces[first : first + most])


def _document(group: Group, pieces: Sequence[Piece], retriever: str) -> Document:
    """Build the document of a group: the best hit's id and score, the text of all chunks, their shared metadata."""
    text, span = stitched(pieces)
    first, *others = [piece.document.metadata for piece in pieces]
    missing = math.nan  # equal to nothing
    shared = {key: value for key, value in first.items() if all(other.get(key, missing) == value for other in others)}
    for name in ("chunk", "start", "end", "prefix", "heading_path"):
        shared.pop(name, None)
    paths = [list(piece.document.metadata.get("heading_path") or ()) for piece in pieces]
    same = [len(set(map(str, level))) == 1 for level in zip(*paths, strict=False)]
    if any(same[:1]):
        shared["heading_path"] = paths[0][: (*same, False).index(False)]
    if span is not None:
        shared |= {"start": span[0], "end": span[1]}
        if pieces[0].prefix:
            shared["prefix"] = pieces[0].prefix
    numbers = {piece.number for piece in pieces}
    hits = zip(group.hits, group.pieces, strict=True)
    shared["chunks"] = [pieces[0].number, pieces[-1].number]
    shared["matches"] = [hit.id for hit, piece in hits if piece.number in numbers]
    best = _scored(group.hits[0], retriever)
    made = Document(text, shared, id=best.id, score=best.score)
    made.scores = best.scores
    return made


def _scored(hit: Document, retriever: str) -> Document:
    """Return a copy of a hit with the inner retriever's score among those of earlier stages."""
    scores: dict[str, Any] = {f"{retriever}/{stage}": score for stage, score in (hit.scores or {}).items()}
    if hit.score is not None:
        scores[retriever] = hit.score
    return hit.copy(scores=scores or None, retriever=None)
