"""The plugin: rerankers behind an HTTP endpoint."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from typing import Any

from genkit_rag.plugin_api import (
    ActionKind,
    ApiKey,
    Document,
    Plugin,
    RerankerAction,
    RerankerOptions,
    invalid,
    plugin_options,
    reranker_action,
)
from genkit_rag_http_rerank._http import Connection
from genkit_rag_http_rerank._options import HttpRerankOptions
from genkit_rag_http_rerank._protocols import protocol_named

logger = logging.getLogger("genkit_rag.http_rerank")


class HttpRerank(Plugin):
    """Registers `<name>/<model>` for the rerankers of a server.

    Scores are the server's own. Documents that it gives no score, because they have no text or because its answer
    leaves them out, come behind all others, in their earlier order. A query without text is not sent: the order stays.

    Args:
        api: The protocol: `cohere`, `jina`, `vllm`, `llama.cpp` or `tei` (Text Embeddings Inference).
        model: The model that is listed, and used where none is named; every other one is found by name as well.
        base_url: The server, without the protocol's path; default: the provider's own, for `cohere` and `jina`.
        api_key: Default: the protocol's environment variable (CO_API_KEY, JINA_API_KEY, VLLM_API_KEY, LLAMA_API_KEY,
            TEI_API_KEY). Needed for a provider's own server, optional elsewhere.
        name: The first part of the rerankers' names; the protocol's name by default.
        options: See `HttpRerankOptions`.
    """

    provides = ("reranker",)

    def __init__(
        self,
        api: str,
        model: str | None = None,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        name: str | None = None,
        **options: Any,
    ) -> None:
        protocol = self._protocol = protocol_named(api)
        address = base_url or protocol.base_url
        if address is None:
            raise invalid("base_url", base_url, f"is needed for `{api}`", hint="Such as `http://127.0.0.1:8000`.")
        self.name = name or api
        self._model = model
        self._options = plugin_options(HttpRerankOptions, options)
        needs_key = protocol.base_url is not None and address.rstrip("/") == protocol.base_url
        key = ApiKey(api_key, protocol.key_variable, "HttpRerank(api_key=...)", required=needs_key)
        self._connection = Connection(address, key, self._options)

    def __repr__(self) -> str:
        return f"HttpRerank({self.name!r}, base_url={self._connection.shown_url!r})"

    async def init(self) -> Sequence[RerankerAction]:
        """Return the reranker of the model; without one, that of the server's only model if the protocol has one."""
        if self._model:
            return [self._reranker(f"{self.name}/{self._model}", self._model)]
        return [] if self._protocol.needs_model else [self._reranker(self.name, None)]

    async def resolve(self, kind: str, name: str) -> RerankerAction | None:
        """Return the reranker of any model; the first call shows whether the server has it."""
        model = name.removeprefix(f"{self.name}/")
        return self._reranker(name, model) if kind == ActionKind.RERANKER and model != name else None

    async def close(self) -> None:
        """Close the connections."""
        await self._connection.close()

    def _reranker(self, name: str, model: str | None) -> RerankerAction:
        async def rerank(query: Document, documents: Sequence[Document], options: RerankerOptions) -> list[float]:
            limit = self._options.max_characters
            texts = [_sendable(document.text[:limit]) for document in documents]
            asked = [number for number, text in enumerate(texts) if text.strip()]
            words = _sendable(query.text)
            if not asked or not words.strip():
                return [0.0] * len(documents)
            found = await self._scores(model, words, [texts[number] for number in asked], options.k)
            scores: list[float | None] = [None] * len(documents)
            for number, score in zip(asked, found, strict=True):
                scores[number] = score
            return _last_without(scores)

        return reranker_action(name, rerank, label=f"{model or self.name} at {self._connection.shown_url}")

    async def _scores(self, model: str | None, query: str, texts: list[str], k: int | None) -> list[float | None]:
        """Return a score for each text, from one or more requests; None for texts missing in the answer."""
        size = self._options.max_documents or self._protocol.max_documents
        gate = asyncio.Semaphore(self._options.max_concurrency)

        async def batch(part: list[str]) -> list[float | None]:
            best = len(part) if k is None else min(k, len(part))  # the k best of all are among the k best of the parts
            async with gate:
                answer = await self._connection.post(self._protocol.path, self._protocol.body(model, query, part, best))
            scores = self._protocol.scores(answer, len(part))
            if sum(score is not None for score in scores) < best:
                logger.warning("%s left documents out of its ranking; they come last.", self._connection.shown_url)
            return scores

        try:
            async with asyncio.TaskGroup() as group:  # the first failure stops the other requests
                tasks = [group.create_task(batch(texts[at : at + size])) for at in range(0, len(texts), size)]
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return [score for task in tasks for score in task.result()]


def _last_without(scores: Sequence[float | None]) -> list[float]:
    """Replace missing scores by one just below all others."""
    given = [score for score in scores if score is not None]
    below = math.nextafter(min(given), -math.inf) if given else 0.0
    return [below if score is None else score for score in scores]


def _sendable(text: str) -> str:
    """Replace lone surrogates, which UTF-8 cannot encode."""
    return text.encode("utf-8", "replace").decode()
