"""The vectors of a store in two dimensions, with a query and its hits. The vectors themselves never leave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from genkit_rag._core.context import ActionContext
from genkit_rag._core.threads import run_in_thread
from genkit_rag._documents.checks import check_names
from genkit_rag._documents.document import Document
from genkit_rag._documents.filters import get_field, parse_filter
from genkit_rag._documents.wire import WireModel
from genkit_rag._rag.stores.access import Scope
from genkit_rag._rag.stores.handle import StoreHandle
from genkit_rag._rag.vector_store import DEFAULT_NAMESPACE, Vectors, VectorStore

MAX_POINTS = 50_000
MAX_NUMBERS = 64_000_000
"""So many numbers, 256 MB, are held at a time: of longer vectors fewer are taken."""
BATCH = 1000
_OVERSAMPLING, _ITERATIONS = 8, 12
_MAX_VALUE = 100


class ProjectionRequest(WireModel):
    """The settings of a projection.

    Attributes:
        points: The maximum number of vectors, spread over all documents.
        filter: A metadata filter.
        namespace: The namespace to plot.
        field: The metadata field whose value is returned for each point.
        query: A text to plot as well, with the documents that it finds.
        k: The number of documents that the query finds.
    """

    points: int = Field(default=2000, strict=True, ge=2, le=MAX_POINTS)
    filter: dict[str, Any] | None = None
    namespace: str = DEFAULT_NAMESPACE
    field: str | None = Field(default=None, max_length=200)
    query: str | None = Field(default=None, max_length=20_000)
    k: int = Field(default=10, strict=True, ge=1, le=200)


class ProjectedHit(WireModel):
    """A document that the query finds and where it lies."""

    id: str
    x: float
    y: float
    score: float
    text: str


class ProjectionResponse(WireModel):
    """The coordinates of documents: `ids`, `x`, `y` and `values` in parallel lists.

    Attributes:
        total: The number of documents that match the filter.
        explained: The shares of the variance that the two axes show.
        ids: The ids of the documents.
        x: The coordinates along the axis of the largest variance.
        y: The coordinates along the second axis.
        values: The values of the field: strings, numbers, booleans, or null if it is absent.
        query: The coordinates of the query.
        hits: The documents that the query finds, best first; some may not be among the points.
    """

    total: int
    explained: list[float]
    ids: list[str]
    x: list[float]
    y: list[float]
    values: list[str | float | bool | None] | None = None
    query: list[float] | None = None
    hits: list[ProjectedHit] | None = None


async def projection(handle: StoreHandle, request: ProjectionRequest, ctx: ActionContext) -> ProjectionResponse:
    """Project the documents that the caller may see."""
    tree = parse_filter(request.filter)
    check_names("namespace", [request.namespace])
    store, scope = await handle.store(), handle.scope(ctx, request.namespace, tree)
    own = handle.scope(ctx, request.namespace, None)
    wanted = request.points
    fingerprint = (await store.describe()).fingerprint
    if fingerprint is not None:
        wanted = min(wanted, max(2, MAX_NUMBERS // fingerprint.dimensions))
    ids = await store.sample(wanted, filter=scope.filter, namespace=scope.namespace)
    total = await store.count(filter=scope.filter, namespace=scope.namespace)
    values: list[Any] | None = None
    if request.field is not None or own.filter is not None:
        ids, values = await _values(store, ids, request.field, own)
    ids, rows, kept = await _vectors(store, ids, scope.namespace)
    if len(ids) == 0:
        return ProjectionResponse(total=total, explained=[0.0, 0.0], ids=[], x=[], y=[])
    axes = await run_in_thread(Axes, rows)
    points = axes.place(rows)
    answer = ProjectionResponse(
        total=max(total, len(ids)),
        explained=axes.explained,
        ids=ids,
        x=points[0],
        y=points[1],
        values=[values[row] for row in kept] if values is not None and request.field is not None else None,
    )
    if request.query is not None and request.query.strip():
        await _plot_query(handle, request, scope, axes, answer)
    return answer


async def _values(store: VectorStore, ids: Sequence[str], field: str | None, own: Scope) -> tuple[list[str], list[Any]]:
    """Return the visible ids and the values of a field, in batches since documents may be large."""
    seen: list[str] = []
    values: list[Any] = []
    for start in range(0, len(ids), BATCH):
        for document in await store.get(ids[start : start + BATCH], namespace=own.namespace):
            if document is not None and own.sees(document):
                seen.append(document.id)
                values.append(None if field is None else plain(get_field(document.metadata, field)))
    return seen, values


def plain(value: Any) -> str | float | bool | None:
    """Return a scalar for colouring a point: the first element of a list."""
    if isinstance(value, list | tuple) and value:
        value = value[0]
    if isinstance(value, bool | int | float):
        return value if isinstance(value, bool) or abs(value) < 2.0**1000 else None
    return value[:_MAX_VALUE] if isinstance(value, str) else None


async def _vectors(store: VectorStore, ids: Sequence[str], namespace: str) -> tuple[list[str], Vectors, list[int]]:
    """Return the ids that have vectors, the vectors `(n, d)`, and their positions among the given ids."""
    import numpy as np

    kept: list[int] = []
    blocks: list[Vectors] = []
    for start in range(0, len(ids), BATCH):
        found = await store.vectors(ids[start : start + BATCH], namespace=namespace)
        there = [(start + at, row) for at, row in enumerate(found) if row is not None]
        kept += [at for at, _ in there]
        if there:
            blocks.append(np.stack([row for _, row in there]))
    rows = np.concatenate(blocks) if blocks else np.empty((0, 0), np.float32)
    return [ids[at] for at in kept], rows, kept


async def _plot_query(
    handle: StoreHandle, request: ProjectionRequest, scope: Scope, axes: Axes, answer: ProjectionResponse
) -> None:
    store = await handle.store()
    vector = await handle.query_vector(store, Document(request.query or ""))
    (hits,) = await store.search(vector[None, :], request.k, filter=scope.filter, namespace=scope.namespace)
    ids, rows, kept = await _vectors(store, [hit.id for hit in hits], scope.namespace)
    x, y = axes.place(rows) if ids else ([], [])
    query_x, query_y = axes.place(vector[None, :])
    answer.query = [query_x[0], query_y[0]]
    answer.hits = [
        ProjectedHit(id=hits[at].id, x=x[row], y=y[row], score=hits[at].score, text=_snippet(hits[at].document))
        for row, at in enumerate(kept)
    ]


def _snippet(document: Document | None) -> str:
    return "" if document is None else " ".join(document.data[:400].split())[:200]


class Axes:
    """The two directions of the largest variance of some vectors (principal component analysis).

    Found by subspace iteration from a random start of few vectors (Halko, Martinsson and Tropp 2011, "Finding Structure
    with Randomness", algorithm 4.4): a moment for 50,000 vectors, where a full decomposition takes minutes. The start
    is always the same, and so is the picture.
    """

    def __init__(self, rows: Vectors) -> None:
        import numpy as np

        self._mean: Any = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
        centred = rows - self._mean
        variance = float(np.einsum("ij,ij->", centred, centred, dtype=np.float64))
        width = min(2 + _OVERSAMPLING, *rows.shape)
        basis: Any = np.random.default_rng(0).standard_normal((rows.shape[1], width)).astype(np.float32)
        for _ in range(_ITERATIONS):
            basis, _ = np.linalg.qr(centred.T @ (centred @ basis))
        _, sizes, turned = np.linalg.svd(centred @ basis, full_matrices=False)
        axes = (basis @ turned.T)[:, :2].T
        signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])
        self._axes: Any = np.zeros((2, rows.shape[1]), np.float32)
        self._axes[: len(axes)] = axes * signs[:, None]
        shares = [round(float(size) ** 2 / variance, 6) if variance else 0.0 for size in sizes[:2]]
        self.explained: list[float] = [*shares, 0.0, 0.0][:2]

    def place(self, rows: Vectors) -> tuple[list[float], list[float]]:
        """Project vectors onto the axes."""
        import numpy as np

        points = np.round((rows - self._mean).astype(np.float64) @ self._axes.T, 5)
        return points[:, 0].tolist(), points[:, 1].tolist()
