"""Inspection of a store through its actions: properties, content and explanations of search results.

Every operation is an action `/util/<plugin>/<store>/<verb>` and obeys the access rules of the store: a caller sees and
counts only what its retrievals can find. Vectors are never returned.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from genkit_rag._core.action import Action, ActionKind
from genkit_rag._core.context import ActionContext
from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._documents.checks import check_names
from genkit_rag._documents.document import Document
from genkit_rag._documents.filters import parse_filter
from genkit_rag._documents.wire import WireModel
from genkit_rag._rag.retrieval import RetrieverRequest
from genkit_rag._rag.stores.explain import Explanation, explain
from genkit_rag._rag.stores.facets import FacetsRequest, FacetsResponse, facets
from genkit_rag._rag.stores.handle import StoreHandle
from genkit_rag._rag.stores.projection import ProjectionRequest, ProjectionResponse, projection
from genkit_rag._rag.stores.sources import SourceRequest, SourceResponse, source
from genkit_rag._rag.stores.stats import StatsRequest, StatsResponse, stats
from genkit_rag._rag.vector_store import DEFAULT_NAMESPACE

MAX_PAGE = 200


class PageRequest(WireModel):
    """Which documents to show.

    Attributes:
        limit: How many at most.
        after: Where the last page ended: its `next`.
        filter: A filter on the metadata.
        namespace: The partition to look at.
        prefix: What their ids begin with.
        ids: These documents instead, in this order.
        count: Whether to count all that pass the filter, which may take long.
    """

    limit: int = Field(default=50, strict=True, ge=1, le=MAX_PAGE)
    after: str | None = Field(default=None, max_length=4096)
    filter: dict[str, Any] | None = None
    namespace: str = DEFAULT_NAMESPACE
    prefix: str = Field(default="", max_length=1024)
    ids: list[str] | None = Field(default=None, max_length=MAX_PAGE)
    count: bool = False


class PageResponse(WireModel):
    """A page of documents; no `next` says that it is the last one."""

    documents: list[Document]
    next: str | None = None
    total: int | None = None


class NeighboursRequest(WireModel):
    """The document whose neighbours to find, and how many."""

    id: str
    k: int = Field(default=10, strict=True, ge=1, le=MAX_PAGE)
    namespace: str = DEFAULT_NAMESPACE


class NeighboursResponse(WireModel):
    """The documents nearest to one, with their scores; near-duplicates are on top."""

    documents: list[Document]


class ReembedRequest(WireModel):
    """The embedder that takes over (the store's own when None), and how many documents it gets at a time."""

    embedder: str | None = None
    batch_size: int = Field(default=256, strict=True, ge=1, le=10_000)


class ReembedProgress(WireModel):
    """How many of how many documents have new vectors."""

    done: int
    total: int


class ReembedResponse(WireModel):
    """How many documents have new vectors."""

    changed: int


async def page(handle: StoreHandle, request: PageRequest, ctx: ActionContext) -> PageResponse:
    """Return a page of the documents that the caller may see."""
    tree = parse_filter(request.filter)
    if request.ids is not None:
        found = await handle.fetch(ids=request.ids, namespace=request.namespace, ctx=ctx)
        return PageResponse(documents=found)
    check_names("namespace", [request.namespace])
    store, scope = await handle.store(), handle.scope(ctx, request.namespace, tree)
    documents, following = await store.page(
        request.limit, after=request.after, filter=scope.filter, namespace=scope.namespace, prefix=request.prefix
    )
    own = handle.scope(ctx, request.namespace, None)
    total = await store.count(filter=scope.filter, namespace=scope.namespace) if request.count else None
    return PageResponse(documents=[one for one in documents if own.sees(one)], next=following, total=total)


async def neighbours(handle: StoreHandle, request: NeighboursRequest, ctx: ActionContext) -> NeighboursResponse:
    """Return the documents that are nearest to a given visible document."""
    if not await handle.fetch(ids=[request.id], namespace=request.namespace, ctx=ctx):
        raise GenkitError(
            "NOT_FOUND", f"There is no document {request.id!r} in {handle.name}.", hint="See `page` for those it has."
        )
    store, scope = await handle.store(), handle.scope(ctx, request.namespace, None)
    (vector,) = await store.vectors([request.id], namespace=scope.namespace)
    if vector is None:
        return NeighboursResponse(documents=[])  # deleted in the meantime
    (hits,) = await store.search(vector[None, :], request.k + 1, filter=scope.filter, namespace=scope.namespace)
    found = [hit.document.copy(score=hit.score) for hit in hits if hit.document is not None and hit.id != request.id]
    return NeighboursResponse(documents=found[: request.k])


async def reembed(handle: StoreHandle, request: ReembedRequest, ctx: ActionContext) -> ReembedResponse:
    """Re-embed the store; PERMISSION_DENIED if callers see only a part of it."""
    if not handle.access.open:
        raise GenkitError(
            "PERMISSION_DENIED",
            f"The store `{handle.name}` shows a caller only his part; a change of the embedder concerns all of it.",
            hint="Use `ai.reindex` in the program that owns the store.",
        )

    def progress(done: int, total: int) -> None:
        ctx.send_chunk(ReembedProgress(done=done, total=total))

    changed = await handle.reindex(request.embedder, batch_size=request.batch_size, progress=progress)
    return ReembedResponse(changed=changed)


_VERBS: tuple[tuple[str, Any, Any, Any, str], ...] = (
    ("stats", stats, StatsRequest, StatsResponse, "Says what the store is, how much it holds and whether it is well."),
    ("page", page, PageRequest, PageResponse, "Shows its documents, page by page."),
    (
        "facets",
        facets,
        FacetsRequest,
        FacetsResponse,
        "Shows its metadata: fields, types and the most frequent values.",
    ),
    ("source", source, SourceRequest, SourceResponse, "Shows the chunks of one source on its text."),
    ("projection", projection, ProjectionRequest, ProjectionResponse, "Shows its vectors in two dimensions."),
    ("neighbours", neighbours, NeighboursRequest, NeighboursResponse, "Finds the documents nearest to one."),
    ("explain", explain, RetrieverRequest, Explanation, "Retrieves, and says how the result came about."),
    ("reembed", reembed, ReembedRequest, ReembedResponse, "Gives all its documents new vectors."),
)


def inspection_actions(handle: StoreHandle) -> list[Action[Any, Any, Any]]:
    """Create the inspection actions of a store."""
    return [_action(handle, *verb) for verb in _VERBS]


def _action(
    handle: StoreHandle, verb: str, work: Any, input_type: Any, output_type: Any, description: str
) -> Action[Any, Any, Any]:
    async def run(request: Any, ctx: ActionContext) -> Any:
        if request is None and input_type is RetrieverRequest:
            raise invalid("input", request, "must hold a query", hint="Write {'query': 'some words'}.")
        return await work(handle, request or input_type(), ctx)

    return Action(
        ActionKind.UTIL,
        f"{handle.name}/{verb}",
        run,
        input_type=input_type,
        output_type=output_type,
        chunk_type=ReembedProgress if verb == "reembed" else None,
        description=description,
        metadata={"store": handle.name, "verb": verb},
    )
