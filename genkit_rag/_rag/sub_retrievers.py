"""Asks several retrievers at once, and joins their rankings into one."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Literal

from genkit_rag._core.action import ActionKind
from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._core.registry import Registry
from genkit_rag._documents.document import Document
from genkit_rag._rag.fusion import fuse
from genkit_rag._rag.options import Fusion, RetrieverOptions
from genkit_rag._rag.retrieval import RetrieverRequest, RetrieverResponse

OnError = Literal["raise", "degrade"]

_CALLERS_ERRORS = ("INVALID_ARGUMENT", "NOT_FOUND", "PERMISSION_DENIED")
"""Statuses that are never degraded: what was asked wrongly, or may not be asked, is not cured by leaving a leg out."""

_asking: ContextVar[tuple[str, ...]] = ContextVar("asking", default=())


def check_choice(argument: str, value: str, choices: Sequence[str]) -> None:
    """Raises INVALID_ARGUMENT for a value that is not one of the choices."""
    if value not in choices:
        raise invalid(argument, value, f"must be one of {', '.join(choices)}")


def must_raise(error: Exception, on_error: OnError) -> bool:
    """Returns whether an error ends the retrieval: all do, with `degrade` only those that the caller must mend."""
    return on_error == "raise" or getattr(error, "status", None) in _CALLERS_ERRORS


def reject_mmr(options: RetrieverOptions) -> None:
    """Raises UNIMPLEMENTED when diversity is asked of a retriever that orders by a score of its own."""
    if options.mmr_lambda is not None:
        raise GenkitError(
            "UNIMPLEMENTED",
            "`mmr_lambda` does not go with a retriever that joins rankings.",
            hint="Rerank the result with `mmr`.",
            details={"argument": "options.mmr_lambda"},
        )


def sub_retriever_options(options: RetrieverOptions, own: frozenset[str], k: int) -> dict[str, Any]:
    """Returns what a leg is told: the options that the caller set, less the retriever's own, and the leg's `k`."""
    return {**options.model_dump(exclude={*own, "k"}, exclude_defaults=True), "k": k}


async def run_retriever(
    registry: Registry, retriever: str, query: Document, options: Mapping[str, Any]
) -> RetrieverResponse:
    """Returns what a named retriever finds; raises INVALID_ARGUMENT when it would have to ask itself."""
    chain = _asking.get()
    if retriever in chain:  # each round starts tasks, so no limit of recursion would end it
        raise invalid("retriever", " -> ".join([*chain, retriever]), "must not ask itself")
    _asking.set((*chain, retriever))  # of the leg's own task: it ends with it
    action = await registry.get(ActionKind.RETRIEVER, retriever)
    response: RetrieverResponse = await action(RetrieverRequest(query=query, options=dict(options)))
    return response


async def run_sub_retrievers(
    asked: Mapping[str, Coroutine[Any, Any, RetrieverResponse]], on_error: OnError
) -> tuple[dict[str, RetrieverResponse], list[str]]:
    """Returns the answers by leg, and the notices of all legs, each behind its leg's name.

    The first error cancels the other legs, waits for them and is raised. With `degrade` a failing leg is left out with
    the notice `SUB_RETRIEVER_FAILED`; UNAVAILABLE when none is left.
    """

    async def one(leg: Coroutine[Any, Any, RetrieverResponse]) -> RetrieverResponse | Exception:
        try:
            return await leg
        except Exception as error:
            if must_raise(error, on_error):
                raise
            return error

    try:
        async with asyncio.TaskGroup() as group:
            tasks = {name: group.create_task(one(leg)) for name, leg in asked.items()}
    except ExceptionGroup as failed:
        error = failed.exceptions[0]
        raise error from error.__cause__  # the same error as from a leg that was asked alone
    found: dict[str, RetrieverResponse] = {}
    notices: list[str] = []
    cause: Exception | None = None
    for name, task in tasks.items():
        answer = task.result()
        if isinstance(answer, RetrieverResponse):
            found[name] = answer
            notices += [f"{name}: {notice}" for notice in answer.notices]
        else:
            cause = cause or answer
            notices.append(f"SUB_RETRIEVER_FAILED: `{name}` gave nothing: {answer}")
    if not found:
        raise GenkitError("UNAVAILABLE", "Every leg failed.", hint="; ".join(notices), cause=cause)
    return found, notices


def fuse_rankings(
    found: Mapping[str, Sequence[Document]],
    method: Fusion,
    *,
    weights: Mapping[str, float] | None = None,
    floors: Mapping[str, float] | None = None,
) -> list[Document]:
    """Returns copies of the documents that the legs found, best first, each once.

    `scores` has each leg's score under the leg's name, the scores of the stages before it under `<leg>/<stage>`, and,
    where ranks decide (`rrf`), the rank from 0 under `<leg>/rank`. Equal ids with different texts are two documents:
    stores number theirs independently of each other.
    """
    documents: dict[str, Document] = {}
    stages: dict[str, dict[str, float]] = {}
    rankings: dict[str, list[tuple[str, float]]] = {}
    for leg, answer in found.items():
        points = _points(answer)
        ranking: dict[str, float] = {}
        for rank, (document, point) in enumerate(zip(answer, points, strict=True)):
            key = document.id
            if documents.setdefault(key, document).data != document.data:
                key = f"{document.id}\0{leg}"
                documents.setdefault(key, document)
            if key in ranking:
                continue
            ranking[key] = point
            stages.setdefault(key, {}).update(_stages(leg, document, rank if method == "rrf" else None))
        rankings[leg] = list(ranking.items())
    return [
        documents[key].copy(score=score, scores=stages[key], retriever=None)
        for key, score in fuse(rankings, method=method, weights=weights, floors=floors)
    ]


def _points(documents: Sequence[Document]) -> list[float]:
    """Returns the scores, or falling ranks when some document has none that orders."""
    scores = [document.score for document in documents]
    if any(score is None or not math.isfinite(score) for score in scores):
        return [float(len(documents) - rank) for rank in range(len(documents))]
    return [score for score in scores if score is not None]


def _stages(leg: str, document: Document, rank: int | None) -> dict[str, float]:
    scores = {f"{leg}/{stage}": score for stage, score in (document.scores or {}).items()}
    if document.score is not None:
        scores[leg] = document.score
    if rank is not None:
        scores[f"{leg}/rank"] = float(rank)
    return scores
