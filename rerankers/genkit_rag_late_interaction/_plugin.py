"""The plugin: MaxSim over the token vectors of the local encoder, joined with the first stage's score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genkit_rag.plugin_api import (
    Document,
    Plugin,
    RerankerAction,
    RerankerOptions,
    TextEncoder,
    Vectors,
    invalid,
    reranker_action,
    run_in_thread,
)

WEIGHTS = "all-minilm-l6-v2"
DEFAULT_WEIGHT = 0.4
"""nDCG@10 over three collections (manual sections, manual pages, notes; 450 queries, 40 candidates): a hybrid first
stage alone .591, joined .602 at 0.4 and .604 at 0.6, MaxSim alone .589; after a dense one .538, .573, .580, .578. With
0.4 none of the three falls below its first stage; with 0.6 the long pages do."""


class LateInteraction(Plugin):
    """Registers the reranker `late-interaction/all-minilm-l6-v2`.

    MaxSim is the mean over the query's tokens of the largest cosine with a token of the document (Khattab and Zaharia
    2020, "ColBERT"). It and the score that the documents came with are scaled to [0, 1] over the documents and joined:
    `weight * maxsim + (1 - weight) * earlier`. Documents without a score are ranked by MaxSim alone.

    The model was not trained for this: by itself it may rank worse than the first stage, joined it rarely does. The
    weights come by `genkit-rag models pull all-minilm-l6-v2`; they are loaded at the first call.

    Args:
        name: The first part of the reranker's name.
        weight: The share of MaxSim in [0, 1] when the options say nothing.
        threads: CPU threads of one call.
    """

    def __init__(self, *, name: str = "late-interaction", weight: float = DEFAULT_WEIGHT, threads: int = 2) -> None:
        if not 0 <= weight <= 1:
            raise invalid("weight", weight, "must be in [0, 1]")
        if threads < 1:
            raise invalid("threads", threads, "must be at least 1")
        self.name = name
        self._weight = weight
        self._encoder = TextEncoder(WEIGHTS, threads=threads)

    async def init(self) -> Sequence[RerankerAction]:
        """Returns the one reranker."""
        return [reranker_action(f"{self.name}/{WEIGHTS}", self._rerank, label="MaxSim over all-MiniLM-L6-v2")]

    async def close(self) -> None:
        """Frees the model."""
        self._encoder.close()

    async def _rerank(self, query: Document, documents: Sequence[Document], options: RerankerOptions) -> list[float]:
        texts = [query.text, *(document.text for document in documents)]
        similarity = scaled(await run_in_thread(self._maxsim, texts))
        earlier = [document.score for document in documents if document.score is not None]
        if len(earlier) < len(documents):
            return [float(score) for score in similarity]
        weight = self._weight if options.weight is None else options.weight
        joined = weight * similarity + (1 - weight) * scaled(np.asarray(earlier, dtype=np.float32))
        return [float(score) for score in joined]

    def _maxsim(self, texts: list[str]) -> Vectors:
        query, *documents = self._encoder.embed_tokens(texts)
        return np.asarray([maxsim(query, document) for document in documents], dtype=np.float32)


def maxsim(query: Vectors, document: Vectors) -> float:
    """Returns the mean over the query's tokens of the largest cosine; 0 when either has no tokens."""
    if not len(query) or not len(document):
        return 0.0
    return float((query @ document.T).max(axis=1).mean())


def scaled(scores: Vectors) -> Vectors:
    """Returns the scores scaled to [0, 1] by their extremes; all 1 when they are equal."""
    low, high = scores.min(), scores.max()
    unit: Vectors = (scores - low) / (high - low) if high > low else np.ones_like(scores)
    return unit
