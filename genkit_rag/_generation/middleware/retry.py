"""Retry: the same model once more, after a growing pause."""

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

logger = logging.getLogger("genkit_rag.middleware")

RETRY_STATUSES: tuple[Status, ...] = (
    "UNAVAILABLE",
    "DEADLINE_EXCEEDED",
    "RESOURCE_EXHAUSTED",
    "ABORTED",
    "INTERNAL",
)
"""Statuses of errors that may be gone at the next attempt."""

OnError = Callable[[Exception, int], None]
"""Called with the error and the number of the attempt that failed, from 1."""


def status_of(error: Exception) -> Status:
    """Returns the error's status; INTERNAL, as the generate loop would, for errors that have none."""
    return error.status if isinstance(error, GenkitError) else "INTERNAL"


@dataclass(frozen=True)
class Retry(Middleware):
    """Makes a failed model call again, up to `max_retries` times.

    The pause before retry i (from 0) is `initial_delay_ms * backoff_factor**i`, at most `max_delay_ms`; jitter takes up
    to half of it away. When the error says how long to wait (`retry_after`), the pause is at least that, within
    `max_delay_ms`. Never retried: other statuses, cancellation, and a call of which a chunk was streamed to the caller
    already, because its text would come twice.

    Args:
        max_retries: Attempts after the first one.
        statuses: Which errors are worth it; an error that is no GenkitError counts as INTERNAL.
        initial_delay_ms: The first pause.
        max_delay_ms: The longest pause.
        backoff_factor: How much longer every pause is than the one before.
        no_jitter: Pause exactly that long.
        on_error: Called with the error and the attempt's number before every pause.
        sleep: Waits for seconds; for tests.
        uniform: A random number in [0, 1); for tests.
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
        """Returns the first response that comes; raises the last error."""
        attempt = 1
        while True:
            sent, watched = SentChunks.watch(params)
            try:
                return await next(watched)
            except Exception as error:
                if attempt > self.max_retries or sent.any or status_of(error) not in self.statuses:
                    raise
                if self.on_error is not None:
                    self.on_error(error, attempt)
                pause = self._pause(attempt - 1, error)
                said = redact_text(str(error))
                logger.info("%s failed (attempt %d), next in %.2f s: %s", params.model.key, attempt, pause, said)
            await self.sleep(pause)
            attempt += 1

    def _pause(self, retry: int, error: Exception) -> float:
        """Returns the seconds before the retry, counted from 0."""
        longest = self.max_delay_ms / 1000
        # 64 doublings are beyond every cap; the power of a large number would overflow.
        pause = min(self.initial_delay_ms / 1000 * self.backoff_factor ** min(retry, 64), longest)
        if not self.no_jitter:
            pause *= 1 - self.uniform() / 2
        wanted = error.retry_after if isinstance(error, GenkitError) else None
        return max(pause, min(wanted, longest)) if wanted is not None else pause


retry = Retry
