"""The plugin: one reranker over the vectors of any embedder."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from pydantic import AliasChoices, Field

from genkit_rag.plugin_api import (
    ActionKind,
    Document,
    EmbedderAction,
    EmbedResponse,
    GenkitError,
    Plugin,
    RerankerAction,
    RerankerOptions,
    Vectors,
    invalid,
    mmr_select,
    reranker_action,
    run_in_thread,
    service_of,
)

DEFAULT_LAMBDA = 0.5


class MMROptions(RerankerOptions):
    """How much relevance counts against diversity: 1 is relevance only, 0 is diversity only."""

    mmr_lambda: float | None = Field(
        default=None, ge=0, le=1, validation_alias=AliasChoices("mmr_lambda", "mmrLambda", "lambda", "lambda_")
    )


class MMR(Plugin):
    """Registers the reranker `mmr`: documents by maximal marginal relevance (Carbonell and Goldstein 1998).

    A document's score is its marginal relevance when it was taken: `lambda * cos(document, query)` less
    `(1 - lambda)` times its likeness to the nearest one that was taken before. The documents are embedded at each call:
    where a store has their vectors already, the retriever option `mmr_lambda` costs nothing.

    Args:
        embedder: The name of the embedder, such as `minilm/all-minilm-l6-v2`.
        mmr_lambda: When the options say nothing.
        name: The reranker's name.
    """

    def __init__(self, embedder: str, *, mmr_lambda: float = DEFAULT_LAMBDA, name: str = "mmr") -> None:
        if not 0 <= mmr_lambda <= 1:
            raise invalid("mmr_lambda", mmr_lambda, "must be in [0, 1]")
        self.name = name
        self._embedder = embedder
        self._lambda = mmr_lambda

    async def init(self) -> Sequence[RerankerAction]:
        """Returns the one reranker."""
        label = f"Maximal marginal relevance over {self._embedder}"
        return [reranker_action(self.name, self._rerank, label=label, options_type=MMROptions)]

    async def _rerank(self, query: Document, documents: Sequence[Document], options: MMROptions) -> list[float]:
        embedder = await self.registry.get(ActionKind.EMBEDDER, self._embedder)
        if not isinstance(embedder, EmbedderAction):
            raise GenkitError(
                "FAILED_PRECONDITION",
                f"`{embedder.key}` was not made with `embedder_action` or `@ai.embedder`.",
                hint="Make it with one of them.",
            )
        service = service_of(embedder)
        vectors = _one_each(await service.documents(documents), len(documents))
        lambda_ = self._lambda if options.mmr_lambda is None else options.mmr_lambda
        return await run_in_thread(_scores, await service.query(query), vectors, lambda_)


def _scores(query: Vectors, vectors: Vectors, lambda_: float) -> list[float]:
    """Returns the marginal relevance of each row, such that sorting by it gives the order of selection."""
    scores = [0.0] * len(vectors)
    last = math.inf
    for row, gain in mmr_select(query, vectors, len(vectors), lambda_):
        # A row unlike all before it may gain more than the one before, and two may gain the same.
        last = scores[row] = min(gain, math.nextafter(last, -math.inf))
    return scores


def _one_each(response: EmbedResponse, count: int) -> Vectors:
    """Returns one vector a document: the mean of its vectors where it has several."""
    if response.owners is None:
        return response.vectors
    sums = np.zeros((count, response.dimensions), dtype=np.float32)
    np.add.at(sums, np.asarray(response.owners), response.vectors)
    return sums
