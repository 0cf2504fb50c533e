"""Retry middleware: repeats failed model calls with exponential backoff."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import ClassVar

from genkit_rag._core.errors import GenkitError, Status, invalid
from genkit_rag._core.redact import redact_text
from genkit_rag._generation.middleware.base import Middleware, ModelParams, Next, SentChunks, WireConfig
from genkit_rag._generation.model import ModelResponse
from genkit_rag._net.retrying import Backoff, retry_call

logger = logging.getLogger("genkit_rag.middleware")

RETRY_STATUSES: tuple[Status, ...] = (
    "UNAVAILABLE",
    "DEADLINE_EXCEEDED",
    "RESOURCE_EXHAUSTED",
    "ABORTED",
    "INTERNAL",
)
"""Statuses of errors that may be temporary."""

OnError = Callable[[Exception, int], None]
"""A function of the error and the number of the failed attempt, counted from 1."""


def status_of(error: Exception) -> Status:
    """Return the status of an error; INTERNAL for an exception that is not a `GenkitError`, as in the generate loop."""
    return error.status if isinstance(error, GenkitError) else "INTERNAL"


@dataclass(frozen=True)
class Retry(Middleware):
    """A middleware that retries failed model calls, up to `max_retries` times.

    The pause before retry i (from 0) is `initial_delay_ms * backoff_factor**i`, at most `max_delay_ms`; jitter
    subtracts up to half of it. When the error has a `retry_after`, the pause is at least that long, within
    `max_delay_ms`. Not retried: errors with other statuses, cancellation, and a call that has already streamed a chunk
    to the caller, because its text would appear twice.

    Args:
        max_retries: The number of attempts after the first one.
        statuses: The statuses to retry; an exception that is not a `GenkitError` counts as INTERNAL.
        initial_delay_ms: The first pause.
        max_delay_ms: The longest pause.
        backoff_factor: The growth from one pause to the next.
        no_jitter: Whether to use the exact pauses.
        on_error: Called with the error and the number of the attempt before every pause.
        sleep: Waits for seconds; for tests.
        uniform: Returns a random number in [0, 1); for tests.
    """

    wire_config: ClassVar[WireConfig] = {
        "max_retries": int,
        "statuses": list[Status],
        "initial_delay_ms": float,
        "max_delay_ms": float,
        "backoff_factor": float,
        "no_jitter": bool,
    }

    max_retries: int = 3
    statuses: Collection[Status] = RETRY_STATUSES
    initial_delay_ms: float = 1000
    max_delay_ms: float = 60_000
    backoff_factor: float = 2
    no_jitter: bool = False
    on_error: OnError | None = None
    sleep: Callable[[float], Awaitable[None]] = field(default=asyncio.sleep, repr=False, kw_only=True)
    uniform: Callable[[], float] = field(default=random.random, repr=False, kw_only=True)

    def __post_init__(self) -> None:
        for name in ("max_retries", "initial_delay_ms", "max_delay_ms", "backoff_factor"):
            if not getattr(self, name) >= 0:
                raise invalid(name, getattr(self, name), "must not be negative")

    async def wrap_model(self, params: ModelParams, next: Next[ModelParams, ModelResponse], /) -> ModelResponse:
        """Return the response of the first attempt that succeeds; raise the last error otherwise."""
        backoff = Backoff(
            self.initial_delay_ms / 1000,
            self.max_delay_ms / 1000,
            self.backoff_factor,
            jitter=0 if self.no_jitter else 0.5,
            uniform=self.uniform,
        )
        sent = SentChunks(params.ctx)

        async def attempt() -> ModelResponse:
            nonlocal sent
            sent, watched = SentChunks.watch(params)
            return await next(watched)

        def pause(retry: int, error: Exception) -> float | None:
            if sent.any or status_of(error) not in self.statuses:
                return None
            if self.on_error is not None:
                self.on_error(error, retry + 1)
            seconds = backoff.pause(retry)
            wanted = error.retry_after if isinstance(error, GenkitError) else None
            if wanted is not None:
                seconds = max(seconds, min(wanted, backoff.longest))
            shown = redact_text(str(error))
            logger.info("%s failed (attempt %d), next in %.2f s: %s", params.model.key, retry + 1, seconds, shown)
            return seconds

        return await retry_call(attempt, pause, retries=self.max_retries, sleep=self.sleep)


retry = Retry
