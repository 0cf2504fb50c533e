"""What is put around an embedder."""

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
    """An embedder, and what is put around it. What is left out stays as the embedder has it.

    Attributes:
        embedder: The name of the embedder, such as `openai/text-embedding-3-small`.
        cache: A file that keeps every vector; processes may share it. Texts are not in it, only their hashes.
        cache_bytes: About how large the file may become; what was not used for longest goes first.
        dimensions: Shorter vectors: the first ones, brought to length 1 again. For models that were trained for it.
        shorten: Whether the `model` is asked for shorter vectors, or whole ones are cut `here`. A model that cannot
            (UNIMPLEMENTED) has them cut here in either case.
        prefixes: What is put before queries and before documents, for models that want it and have none configured.
        too_long: What happens to a text of more tokens than the embedder's `max_tokens`: the `model` does what it
            does, it is cut here (`truncate`), or INVALID_ARGUMENT (`refuse`).
        max_texts: Texts in one call.
        max_tokens: Tokens in one call; a longer text has a call of its own.
        max_concurrency: Calls at the same time.
        requests_per_minute: In no minute more calls than that, from this process.
        tokens_per_minute: The same for tokens; the call that reaches it is still made.
        retries: How often a call is made again when the other side is not available, busy or too slow.
        retry_seconds: How long a call and its retries may take; a longer Retry-After is not waited for.
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
