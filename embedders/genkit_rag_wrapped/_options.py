"""The configuration of a wrapped embedder."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Literal, get_args

from genkit_rag.plugin_api import invalid

TooLong = Literal["model", "truncate", "refuse"]
Shorten = Literal["model", "here"]


@dataclass(frozen=True, slots=True)
class WrappedConfig:
    """An embedder, and the cache, limits and retries around it. Unset fields leave the embedder's behaviour unchanged.

    Attributes:
        embedder: The name of the embedder, such as `openai/text-embedding-3-small`.
        cache: A file that keeps every vector; processes may share it. It contains hashes of texts, not the texts.
        cache_bytes: The approximate maximum size of the file; least recently used vectors are deleted first.
        dimensions: Shorten vectors to their first components and normalise them, for models that were trained for it.
        shorten: Whether the `model` is asked for shorter vectors, or whole ones are cut `here`. Vectors of a model that
            cannot (UNIMPLEMENTED) are cut here in either case.
        prefixes: Texts prepended to queries and documents, for models that need them and have none configured.
        too_long: The behaviour for a text with more tokens than the embedder's `max_tokens`: leave it to the `model`,
            `truncate` it here, or `refuse` it with INVALID_ARGUMENT.
        max_texts: Texts in one call.
        max_tokens: Tokens in one call; a longer text gets its own call.
        max_concurrency: Concurrent calls.
        requests_per_minute: The maximum number of calls of this process in any minute.
        tokens_per_minute: The maximum number of tokens in any minute; the call that exceeds it is still made.
        retries: How often a call is repeated if the provider is unavailable, busy or too slow.
        retry_seconds: The total time of a call with its retries; a longer Retry-After raises at once.
    """

    embedder: str
    _: KW_ONLY
    cache: str | Path | None = None
    cache_bytes: int | None = None
    dimensions: int | None = None
    shorten: Shorten = "model"
    prefixes: tuple[str, str] | None = None
    too_long: TooLong = "model"
    max_texts: int | None = None
    max_tokens: int | None = None
    max_concurrency: int | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    retries: int = 4
    retry_seconds: float = 120.0

    def __post_init__(self) -> None:
        _check_one_of("shorten", self.shorten, get_args(Shorten))
        _check_one_of("too_long", self.too_long, get_args(TooLong))
        for name in ("cache_bytes", "dimensions", "max_texts", "max_tokens", "max_concurrency"):
            _check_from(name, getattr(self, name), 1)
        for name in ("requests_per_minute", "tokens_per_minute"):
            _check_from(name, getattr(self, name), 1)
        _check_from("retries", self.retries, 0)
        _check_from("retry_seconds", self.retry_seconds, 0)
        if self.cache_bytes is not None and self.cache is None:
            raise invalid("cache_bytes", self.cache_bytes, "needs a `cache`", hint="Name its file: cache='vectors.db'.")
        given: object = self.prefixes
        pair = isinstance(given, tuple | list) and len(given) == 2 and all(isinstance(text, str) for text in given)
        if given is not None and not pair:
            raise invalid("prefixes", given, "must be two texts", hint='Write prefixes=("query: ", "passage: ").')

    @property
    def counts(self) -> bool:
        """Whether the tokens of a text matter."""
        return self.max_tokens is not None or self.tokens_per_minute is not None


def _check_one_of(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise invalid(name, value, f"must be one of {', '.join(choices)}")


def _check_from(name: str, value: float | None, least: float) -> None:
    if value is not None and not (isinstance(value, int | float) and math.isfinite(value) and value >= least):
        raise invalid(name, value, f"must be a number from {least}", hint="Leave it out for no such bound.")
