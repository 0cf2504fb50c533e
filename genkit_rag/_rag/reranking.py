"""Reranker actions: the same documents, better ordered."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from pydantic import Field

from genkit_rag._core.action import Action, ActionKind, adapt
from genkit_rag._core.context import ActionContext
from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._core.schema import json_schema
from genkit_rag._documents.document import Document
from genkit_rag._documents.wire import WireModel
from genkit_rag._rag.options import RerankerOptions, parse_options


class RerankerRequest(WireModel):
    """The input of a reranker action."""

    query: Document
    documents: list[Document]
    options: Any = None


class RerankerResponse(WireModel):
    """The documents, best first; every one has its score in this ranking."""

    documents: list[Document] = Field(default_factory=list[Document])


RerankerAction = Action[RerankerRequest, RerankerResponse, None]


def reranker_action(
    name: str,
    fn: Callable[..., Any],
    *,
    label: str | None = None,
    options_type: type[WireModel] = RerankerOptions,
    metadata: Mapping[str, Any] | None = None,
) -> RerankerAction:
    """Create a reranker action.

    Args:
        name: `<plugin>/<model>`.
        fn: `(query, documents)`, `(query, documents, options)` or with a trailing `ctx`, sync or async. It returns
            either one score for each document, in their order (higher is better; the framework sorts, cuts at `k`
            and keeps ids, metadata and earlier scores), or the documents themselves with `score` set, best first.
        label: For people.
        options_type: A subclass of `RerankerOptions` when it takes more.
        metadata: Further metadata.
    """
    handler = adapt(fn, ("query", "documents", "options"))

    async def run(request: RerankerRequest, ctx: ActionContext) -> RerankerResponse:
        options = parse_options(options_type, request.options)
        keep = getattr(options, "k", None)
        if keep is not None and keep < 0:
            raise invalid("options.k", keep, "must not be negative", hint="Leave it out to keep all documents.")
        if not request.documents or keep == 0:
            return RerankerResponse()
        # Copy the documents: a reranker that sets `score` must not change the caller's objects.
        own = [document.copy() for document in request.documents]
        raw = await handler(request.model_copy(update={"options": options, "documents": own}), ctx)
        return RerankerResponse(documents=ranked(name, request.documents, raw)[:keep])

    return Action(
        ActionKind.RERANKER,
        name,
        run,
        input_type=RerankerRequest,
        output_type=RerankerResponse,
        description=label or name,
        metadata={
            **(metadata or {}),
            "type": "reranker",
            "info": {"label": label or name},
            "reranker": {"customOptions": json_schema(options_type)},
        },
        telemetry=_telemetry(name),
    )


def ranked(name: str, documents: Sequence[Document], raw: Any) -> list[Document]:
    """Return copies of the documents with the new scores, best first; ties keep their earlier order.

    The earlier score stays in `scores` under the retriever's name, the new one under the reranker's.
    """
    whole = isinstance(raw, RerankerResponse)
    if isinstance(raw, RerankerResponse):
        raw = raw.documents
    result: Sequence[Any] = raw.tolist() if hasattr(raw, "tolist") else list(raw)
    if whole or (result and isinstance(result[0], Document)):
        order = [(cast(Document, item), cast(Document, item).score) for item in result]
    elif len(result) == len(documents):
        order = list(zip(documents, (float(score) for score in result), strict=True))
        order.sort(key=lambda pair: -cast(float, pair[1]))
    else:
        raise GenkitError(
            "INTERNAL",
            f"The reranker `{name}` returned {len(result)} scores for {len(documents)} documents.",
            hint="Return one score for each document, in their order, or the documents themselves.",
        )
    unordered = next((document.id for document, score in order if score is not None and math.isnan(score)), None)
    if unordered is not None:
        raise GenkitError(
            "INTERNAL",
            f"The reranker `{name}` returned NaN for the document {unordered!r}.",
            hint="A score must be a number: NaN has no place in an order.",
        )
    earlier = {document.id: document for document in documents}
    return [
        _scored(document, score, rank, name, earlier.get(document.id, document))
        for rank, (document, score) in enumerate(order)
    ]


def _scored(document: Document, score: float | None, rank: int, name: str, earlier: Document) -> Document:
    scores = dict(earlier.scores or {})
    if earlier.score is not None and earlier.retriever:
        scores.setdefault(earlier.retriever, earlier.score)  # a second reranker does not take the first one's for it
    if score is not None:
        scores[name] = score
    return document.copy(score=score, rank=rank, scores=scores or None)


def _telemetry(name: str) -> Callable[[RerankerRequest, RerankerResponse | None], dict[str, Any]]:
    provider, _, model = name.partition("/")

    def attributes(request: RerankerRequest, response: RerankerResponse | None) -> dict[str, Any]:
        return {
            "gen_ai.operation.name": "rerank",  # not in the conventions yet
            "gen_ai.provider.name": provider,
            "gen_ai.request.model": model or provider,
            "genkit_rag.rerank.documents": len(request.documents),
        }

    return attributes
