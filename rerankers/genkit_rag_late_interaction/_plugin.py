"""The plugin: MaxSim over the token vectors of the local encoder, joined with the first stage's score."""

from __future__ import annotations

import os
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
from genkit_rag_late_interaction._cache import TokenCache
from genkit_rag_late_interaction._file import VectorFile
from genkit_rag_late_interaction._maxsim import maxsim, scaled
from genkit_rag_late_interaction._reader import Reader

WEIGHTS = "all-minilm-l6-v2"
DEFAULT_TOKENS = 1536
"""Six windows of the model. On long pages nDCG@10 is .581 when only the first is read, less than the hybrid first
stage's .593, and .639 when all are."""

DEFAULT_WEIGHT = 0.6
"""nDCG@10 over three collections (manual sections, notes, long manual pages; 1,595 queries, the 30 best of a hybrid
search): the first stage alone .731, .493, .593; joined at 0.4 .738, .511, .624; at 0.5 .740, .509, .634; at 0.6 .746,
.508, .639. With 50 and 100 candidates it is the same within .003."""


class LateInteraction(Plugin):
    """Registers the reranker `late-interaction/all-minilm-l6-v2`.

    MaxSim is the mean over the query's tokens of the largest cosine with a token of the document (Khattab and Zaharia
    2020, "ColBERT"). It and the earlier score of the documents are scaled to [0, 1] over the documents and combined:
    `weight * maxsim + (1 - weight) * earlier`. Documents without a score are ranked by MaxSim alone.

    The model was not trained for this: alone it may rank worse than the first stage, combined it rarely does. Install
        the weights with
    `genkit-rag models pull all-minilm-l6-v2`; they are loaded at the first call.

    Most of the time goes into encoding documents, so their token vectors are cached in half precision: 768 bytes a
    token. Documents without text have a MaxSim of 0.

    Args:
        name: The prefix of the reranker's name.
        weight: The default weight of MaxSim in [0, 1].
        threads: CPU threads of one call.
        max_tokens: The maximum number of tokens of a document, encoded 254 at a time; the rest is ignored.
        cache_bytes: Memory for token vectors; 0 keeps none.
        cache_path: A file for token vectors, shared by processes and later runs.
        cache_path_bytes: The maximum size of the vectors in the file.
    """

    provides = ("reranker",)
    default_action = WEIGHTS

    def __init__(
        self,
        *,
        name: str = "late-interaction",
        weight: float = DEFAULT_WEIGHT,
        threads: int = 2,
        max_tokens: int = DEFAULT_TOKENS,
        cache_bytes: int = 256 << 20,
        cache_path: str | os.PathLike[str] | None = None,
        cache_path_bytes: int = 2 << 30,
    ) -> None:
        if not 0 <= weight <= 1:
            raise invalid("weight", weight, "must be in [0, 1]")
        for argument, count in (("threads", threads), ("max_tokens", max_tokens)):
            if count < 1:
                raise invalid(argument, count, "must be at least 1")
        for argument, size in (("cache_bytes", cache_bytes), ("cache_path_bytes", cache_path_bytes)):
            if size < 0:
                raise invalid(argument, size, "must not be negative")
        self.name = name
        self._weight = weight
        self._encoder = TextEncoder(WEIGHTS, threads=threads)
        self._reader = Reader(self._encoder, max_tokens)
        file = None if cache_path is None else VectorFile(cache_path, cache_path_bytes)
        self._cache = TokenCache(self._reader.revision, cache_bytes, file)

    async def init(self) -> Sequence[RerankerAction]:
        """Return the single reranker."""
        return [reranker_action(f"{self.name}/{WEIGHTS}", self._rerank, label="MaxSim over all-MiniLM-L6-v2")]

    async def close(self) -> None:
        """Frees the model and the token vectors in memory."""
        self._encoder.close()
        self._cache.clear()

    async def _rerank(self, query: Document, documents: Sequence[Document], options: RerankerOptions) -> list[float]:
        texts = [document.text for document in documents]
        similarity = scaled(await run_in_thread(self._maxsim, query.text, texts))
        earlier = [document.score for document in documents if document.score is not None]
        if len(earlier) < len(documents):
            return [float(score) for score in similarity]
        weight = self._weight if options.weight is None else options.weight
        joined = weight * similarity + (1 - weight) * scaled(np.asarray(earlier, dtype=np.float32))
        return [float(score) for score in joined]

    def _maxsim(self, query: str, texts: list[str]) -> Vectors:
        documents = self._cache.vectors(texts, self._reader.documents)
        return maxsim(self._reader.query(query), documents)
