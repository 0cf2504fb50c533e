"""An embedder with a cache, limits and retries around it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from genkit_rag.plugin_api import (
    Document,
    EmbedderAction,
    EmbedderInfo,
    EmbedderOptions,
    GenkitError,
    Vectors,
    embedder_action,
    invalid,
    run_in_thread,
)
from genkit_rag_wrapped._batching import cut, estimate
from genkit_rag_wrapped._cache import VectorCache
from genkit_rag_wrapped._calls import Calls
from genkit_rag_wrapped._matryoshka import check_dimensions
from genkit_rag_wrapped._options import WrappedConfig
from genkit_rag_wrapped._sharing import Keep, SharedCache


class WrappedEmbedder:
    """The wrapping embedder, with its action in `.action`.

    Args:
        name: The name of the action.
        wrap: The configuration.
        inner: The wrapped embedder.
        cache: The opened cache of `wrap.cache`, or None.
    """

    def __init__(self, name: str, wrap: WrappedConfig, inner: EmbedderAction, cache: VectorCache | None) -> None:
        self._wrap = wrap
        self._inner = inner
        self._calls = Calls(wrap, inner)
        self._cache = None if cache is None else SharedCache(cache)
        self._told: EmbedderInfo | None = None
        limits = {
            "max_texts": self._calls.max_texts,
            "concurrency": wrap.max_concurrency or inner.batching.concurrency,
        }
        self.action = embedder_action(
            name,
            self._embed,
            info=self._info(),
            batching=inner.batching.model_copy(update=limits),
            count_tokens=None if inner.count_tokens is None else self._count,
        )

    def _info(self) -> EmbedderInfo:
        """Return the properties of the wrapping embedder, derived from the current ones of the inner embedder."""
        self._told = info = self._inner.info
        wrap = self._wrap
        known: dict[str, Any] = {}
        if wrap.prefixes is not None:
            if any(info.prefixes):
                raise _two_prefixes(self._inner.name, info.prefixes)
            known["prefixes"] = tuple(wrap.prefixes)
        if wrap.dimensions is not None:
            if info.dimensions is not None:
                check_dimensions(wrap.dimensions, info.dimensions)
            if info.dimensions != wrap.dimensions:
                known |= {"dimensions": wrap.dimensions, "normalized": True}
        return info.model_copy(update={"vectors_of": info.vectors_of or self._inner.name, **known})

    async def _learn(self) -> None:
        """Read the inner embedder's properties again: some are known only after its model is loaded."""
        inner = self._inner
        if inner.info.dimensions is None and inner.count_tokens is not None:
            await run_in_thread(inner.count_tokens, "a")  # counting loads the model: then its revision is known
        self._look()

    def _look(self) -> None:
        if self._inner.info is not self._told:
            self.action.info = self._info()

    def _count(self, text: str) -> int:
        assert self._inner.count_tokens is not None
        tokens = self._inner.count_tokens(text)
        self._look()
        return tokens

    async def _embed(self, documents: Sequence[Document], options: EmbedderOptions) -> Vectors:
        await self._learn()
        wanted = options.dimensions or self._wrap.dimensions
        options = options.model_copy(update={"dimensions": None if wanted == self._inner.info.dimensions else wanted})
        ready = await self._ready(documents, options)
        if self._cache is None:
            vectors = await self._plain(ready, options)
        else:
            vectors = await self._cached(self._cache, ready, options)
        self._look()
        return vectors

    async def _ready(self, documents: Sequence[Document], options: EmbedderOptions) -> list[Document]:
        """Return the documents to send: with their prefix, and within the length limit."""
        before = (self._wrap.prefixes or ("", ""))[0 if options.task == "query" else 1]
        limit = self._inner.info.max_tokens
        ready = [
            Document(before + document.text) if before and document.is_text else document for document in documents
        ]
        if self._wrap.too_long == "model" or limit is None:
            return ready
        return await run_in_thread(self._fitted, ready, limit)

    def _fitted(self, documents: list[Document], limit: int) -> list[Document]:
        count = self._inner.count_tokens or estimate
        fitted = list(documents)
        for position, document in enumerate(documents):
            tokens = count(document.text) if document.is_text else 0
            if tokens <= limit:
                continue
            if self._wrap.too_long == "refuse":
                raise invalid(
                    f"input[{position}]",
                    document.text,
                    f"has {tokens} tokens; {limit} are the most",
                    hint="Split it into smaller chunks, or wrap with too_long='truncate'.",
                )
            fitted[position] = Document(cut(document.text, limit, count))
        return fitted

    async def _plain(self, documents: list[Document], options: EmbedderOptions) -> Vectors:
        rows: list[Vectors | None] = [None] * len(documents)

        async def keep(positions: range, vectors: Vectors) -> None:
            for position, vector in zip(positions, vectors, strict=True):
                rows[position] = vector

        await self._calls.make(documents, options, keep)
        return self._stacked([row for row in rows if row is not None])

    async def _cached(self, cache: SharedCache, documents: list[Document], options: EmbedderOptions) -> Vectors:
        space = self._space(options)
        keys = await run_in_thread(lambda: [_key(space, document) for document in documents])
        by_key = dict(zip(keys, documents, strict=True))

        async def fetch(missing: Sequence[bytes], keep: Keep) -> None:
            async def arrived(positions: range, vectors: Vectors) -> None:
                found: Mapping[bytes, Vectors] = {missing[at]: row for at, row in zip(positions, vectors, strict=True)}
                await keep(found)

            await self._calls.make([by_key[key] for key in missing], options, arrived)

        found = await cache.vectors(keys, fetch)
        return self._stacked([found[key] for key in keys])

    def _space(self, options: EmbedderOptions) -> bytes:
        """Return the key of the vector space; texts in the same space have comparable vectors."""
        mark = self._inner.fingerprint(options.dimensions or 0)
        facts = [
            mark.provider,
            mark.model,
            mark.dimensions,
            mark.revision,
            mark.normalized,
            mark.prefixes,
            options.task,
        ]
        return json.dumps(facts).encode()

    def _stacked(self, rows: list[Vectors]) -> Vectors:
        if len({len(row) for row in rows}) > 1:
            raise GenkitError(
                "FAILED_PRECONDITION",
                f"`{self._inner.name}` gives vectors of another length than those in {self._wrap.cache}.",
                hint="Another model has that name now: delete the cache, and index the documents again.",
            )
        return np.stack(rows)


def _key(space: bytes, document: Document) -> bytes:
    """Hash the content only, since metadata is not embedded."""
    body = document.plain_text
    content = ["text", body] if body is not None else ["parts", [part.to_wire() for part in document.content]]
    blob = json.dumps(content, sort_keys=True).encode()
    return hashlib.blake2b(len(space).to_bytes(4, "little") + space + blob, digest_size=20).digest()


def _two_prefixes(name: str, prefixes: tuple[str, str]) -> GenkitError:
    return GenkitError(
        "FAILED_PRECONDITION",
        f"`{name}` has prefixes of its own, {prefixes}: a second one would stand before them.",
        hint="Leave `prefixes` out of the wrap, or out of the embedder's own settings.",
    )
