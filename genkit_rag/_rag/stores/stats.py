"""Statistics of a store: size, properties and health."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field

from genkit_rag._core.context import ActionContext
from genkit_rag._core.errors import GenkitError
from genkit_rag._documents.checks import check_names
from genkit_rag._documents.wire import WireModel
from genkit_rag._rag.stores.handle import StoreHandle
from genkit_rag._rag.vector_store import DEFAULT_NAMESPACE, Fingerprint, StoreInfo, VectorStore

MAX_NAMESPACES = 100
"""How many namespaces are counted, the largest ones where a store can tell."""

Condition = Literal["ok", "damaged", "mismatch", "unavailable"]


class StatsRequest(WireModel):
    """The namespace to count, and whether to read all data for what is wrong with them, which may take minutes."""

    namespace: str = DEFAULT_NAMESPACE
    verify: bool = False


class NamespaceCount(WireModel):
    """How many documents a namespace has."""

    name: str
    count: int


class ScoreMeaning(WireModel):
    """The kind and range of a mode's score; higher is better. A missing bound is infinite."""

    kind: str
    lowest: float | None = None
    highest: float | None = None


class StoredFingerprint(WireModel):
    """The embedder that the store's vectors are of."""

    provider: str
    model: str
    dimensions: int
    revision: str
    normalized: bool
    prefixes: list[str]


class Health(WireModel):
    """Whether the store can be used: `mismatch` says that its vectors are of another embedder than the one it has now.

    `verified` says that all data were read for it.
    """

    status: Condition = "ok"
    problems: list[str] = Field(default_factory=list[str])
    hint: str | None = None
    verified: bool = False


class StatsResponse(WireModel):
    """The properties and statistics of a store.

    Attributes:
        name: The name of the store.
        embedder: The name of the embedder action that fills it.
        mode: The default search mode.
        scoped: Whether access rules limit this caller to a part of the store. Then the counts are of that part, and
            facts about the whole store are left out.
        health: Whether the store can be used.
        count: The number of documents; absent if it is unknown.
        namespaces: The number of documents of each namespace.
        more_namespaces: Whether there are more namespaces than listed.
        fingerprint: The fingerprint of the embedding model.
        modes: The supported search modes.
        scores: The kind and range of the scores of each mode.
        bytes: The size on disk.
        details: Further facts for people.
    """

    name: str
    embedder: str
    mode: str
    scoped: bool = False
    health: Health
    count: int | None = None
    namespaces: list[NamespaceCount] = Field(default_factory=list[NamespaceCount])
    more_namespaces: bool = False
    fingerprint: StoredFingerprint | None = None
    modes: list[str] = Field(default_factory=list[str])
    scores: dict[str, ScoreMeaning] = Field(default_factory=dict[str, ScoreMeaning])
    bytes: int | None = None
    details: dict[str, Any] | None = None


async def stats(handle: StoreHandle, request: StatsRequest, ctx: ActionContext) -> StatsResponse:
    """Return the statistics of a store; report a store that cannot be opened instead of raising."""
    check_names("namespace", [request.namespace])
    scope = handle.scope(ctx, request.namespace, None)
    answer = StatsResponse(
        name=handle.name,
        embedder=handle.embedder_name,
        mode=handle.mode,
        scoped=not handle.access.open,
        health=Health(),
    )
    try:
        store = await handle.store()
        info = await store.describe()
        if answer.scoped:
            answer.count = await store.count(filter=scope.filter, namespace=scope.namespace)
            answer.namespaces = [NamespaceCount(name=scope.namespace, count=answer.count)]
        else:
            await _whole(answer, store, info, scope.namespace)
        answer.health = await _health(handle, store, info, verify=request.verify)
    except GenkitError as error:
        answer.health = _sick(error)
        return answer
    answer.fingerprint = _fingerprint(info.fingerprint)
    answer.modes = list(info.modes)
    answer.scores = {
        mode: ScoreMeaning(kind=score.kind, lowest=_finite(score.lowest), highest=_finite(score.highest))
        for mode, score in info.scores.items()
    }
    return answer


async def _whole(answer: StatsResponse, store: VectorStore, info: StoreInfo, namespace: str) -> None:
    try:
        counts = await store.namespaces(MAX_NAMESPACES + 1)
    except GenkitError as error:
        if error.status != "UNIMPLEMENTED":
            raise
        counts = {namespace: await store.count(namespace=namespace)}
    answer.count, answer.details = info.count, dict(info.details)
    size = info.details.get("bytes")
    answer.bytes = size if isinstance(size, int) else None
    answer.more_namespaces = len(counts) > MAX_NAMESPACES
    listed = list(counts.items())[:MAX_NAMESPACES]
    answer.namespaces = [NamespaceCount(name=name, count=count) for name, count in listed]


async def _health(handle: StoreHandle, store: VectorStore, info: StoreInfo, *, verify: bool) -> Health:
    problems = await store.problems() if verify else []
    if problems:
        return Health(
            status="damaged",
            problems=problems,
            verified=True,
            hint="Restore it from a backup, or save the rest with `genkit-rag store salvage`.",
        )
    try:
        service = await handle.service()
    except GenkitError as error:
        return Health(status="unavailable", problems=[error.message], hint=error.hint, verified=verify)
    stored = info.fingerprint
    if stored is not None and (given := service.embedder.fingerprint(stored.dimensions)) != stored:
        return Health(
            status="mismatch",
            problems=[f"Its vectors are of {stored}; its embedder now is {given}."],
            hint="Use the stored embedder, or embed the documents again.",
            verified=verify,
        )
    return Health(verified=verify)


def _sick(error: GenkitError) -> Health:
    status: Condition = "damaged" if error.status == "DATA_LOSS" else "unavailable"
    return Health(status=status, problems=[error.message], hint=error.hint)


def _fingerprint(stored: Fingerprint | None) -> StoredFingerprint | None:
    if stored is None:
        return None
    return StoredFingerprint(
        provider=stored.provider,
        model=stored.model,
        dimensions=stored.dimensions,
        revision=stored.revision,
        normalized=stored.normalized,
        prefixes=list(stored.prefixes),
    )


def _finite(bound: float) -> float | None:
    return bound if math.isfinite(bound) else None
