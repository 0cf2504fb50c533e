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
"""Statuses that always raise: a wrong or forbidden request is not fixed by leaving out a sub-retriever."""

_asking: ContextVar[tuple[str, ...]] = ContextVar("asking", default=())


def check_choice(argument: str, value: str, choices: Sequence[str]) -> None:
    """Raise INVALID_ARGUMENT for a value that is not one of the choices."""
    if value not in choices:
        raise invalid(argument, value, f"must be one of {', '.join(choices)}")


def must_raise(error: Exception, on_error: OnError) -> bool:
    """Return whether an error ends the retrieval: with `degrade` only if the caller must fix the request."""
    return on_error == "raise" or getattr(error, "status", None) in _CALLERS_ERRORS


def reject_mmr(options: RetrieverOptions) -> None:
    """Raise UNIMPLEMENTED if MMR is requested from a retriever that orders by its own score."""
    if options.mmr_lambda is not None:
        raise GenkitError(
            "UNIMPLEMENTED",
            "`mmr_lambda` does not go with a retriever that joins rankings.",
            hint="Rerank the result with `mmr`.",
            details={"argument": "options.mmr_lambda"},
        )


def sub_retriever_options(options: RetrieverOptions, own: frozenset[str], k: int) -> dict[str, Any]:
    """Return the options for a sub-retriever: those of the caller without the retriever's own, and `k`."""
    return {**options.model_dump(exclude={*own, "k"}, exclude_defaults=True), "k": k}


async def run_retriever(
    registry: Registry, retriever: str, query: Document, options: Mapping[str, Any]
) -> RetrieverResponse:
    """Call a named retriever; raise INVALID_ARGUMENT if it would call itself."""
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
    """Run the sub-retrievers concurrently; return their results by name and all notices, prefixed with the name.

    The first error cancels the other sub-retrievers, waits for them and is raised. With `degrade` a failing one is left
    out with the notice `SUB_RETRIEVER_FAILED`; UNAVAILABLE if all fail.
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
    """Fuse the results of sub-retrievers; return copies of the documents, best first, without duplicates.

    `scores` has the score of each sub-retriever under its name, the scores of its earlier stages under
    `<name>/<stage>`, and for `rrf` the rank from 0 under `<name>/rank`. Equal ids with different texts are different
    documents, since stores assign ids independently.
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
    """Return the scores, or descending ranks if some document has no score."""
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
