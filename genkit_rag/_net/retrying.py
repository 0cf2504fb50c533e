"""Retrying: repeat a call that failed, after pauses that grow exponentially."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")
_MAX_EXPONENT = 64  # the power of a larger number would overflow, and every limit is below it


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with jitter.

    Retry i, counted from 0, comes `first * factor**i` seconds after the failure, at most `longest`; a random share of
    up to `jitter` is subtracted (1.0 is full jitter,
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).

    Attributes:
        first: The first pause in seconds.
        longest: The longest pause in seconds.
        factor: The growth from one pause to the next.
        jitter: The largest share of a pause that is subtracted, from 0 to 1.
        uniform: A source of random numbers in [0, 1).
    """

    first: float
    longest: float
    factor: float = 2.0
    jitter: float = 0.0
    uniform: Callable[[], float] = field(default=random.random, repr=False)

    def pause(self, retry: int) -> float:
        """Return the seconds before a retry, counted from 0."""
        grown = min(self.first * self.factor ** min(retry, _MAX_EXPONENT), self.longest)
        return grown * (1 - self.jitter * self.uniform()) if self.jitter else grown


async def retry_call(
    call: Callable[[], Awaitable[T]],
    pause: Callable[[int, Exception], float | None],
    *,
    retries: int,
    sleep: Callable[[float], Awaitable[None]] | None = None,
) -> T:
    """Return the result of the first call that succeeds; raise the last error otherwise. Cancellation is not retried.

    Args:
        call: One attempt.
        pause: Returns the seconds to wait before a retry (counted from 0) after an error; None to raise the error.
        retries: The number of calls after the first one.
        sleep: Waits for seconds; `asyncio.sleep` by default.
    """
    for retry in range(retries):
        try:
            return await call()
        except Exception as error:
            seconds = pause(retry, error)
            if seconds is None:
                raise
        await (sleep or asyncio.sleep)(seconds)
    return await call()
