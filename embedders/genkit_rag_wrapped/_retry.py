"""Calls that failed for a while are made again."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, stop_any, stop_before_delay

from genkit_rag.plugin_api import GenkitError, Status

logger = logging.getLogger("genkit_rag.wrapped")
T = TypeVar("T")

STATUSES: tuple[Status, ...] = ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED")
"""What may be gone at the next attempt."""

_HTTP = (500, 502, 503, 504)
_FIRST, _LONGEST = 1.0, 60.0


async def retried(call: Callable[[], Awaitable[T]], *, retries: int, seconds: float) -> T:
    """Returns what the call gives at one of its attempts; raises its last error.

    The pause is anything between nothing and one second, twice that at each further attempt and at most a minute
    (full jitter, https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/), behind what the error says
    is to be waited. A pause that would end later than `seconds` after the beginning is not begun.
    """
    policy = AsyncRetrying(
        sleep=asyncio.sleep,
        stop=stop_any(stop_after_attempt(retries + 1), stop_before_delay(seconds)),
        wait=_pause,
        retry=retry_if_exception(is_passing),
        before_sleep=_say,
        reraise=True,
    )
    return await policy(call)


def is_passing(error: BaseException) -> bool:
    """Returns whether the same call may succeed later; never for what is wrong with the call itself."""
    if not isinstance(error, GenkitError):
        return False
    return error.status in STATUSES or (error.status == "INTERNAL" and error.details.get("http_status") in _HTTP)


def wanted_pause(error: BaseException | None) -> float:
    """Returns the seconds that the other side asked for; 0 when it did not."""
    return max(0.0, error.retry_after or 0.0) if isinstance(error, GenkitError) else 0.0


def _pause(state: RetryCallState) -> float:
    longest = min(_LONGEST, _FIRST * 2 ** min(state.attempt_number - 1, 16))
    return wanted_pause(_error(state)) + random.uniform(0, longest)  # noqa: S311 - spreads load, guards nothing


def _say(state: RetryCallState) -> None:
    logger.info("attempt %d failed, next in %.2f s: %s", state.attempt_number, state.upcoming_sleep, _error(state))


def _error(state: RetryCallState) -> BaseException | None:
    return None if state.outcome is None else state.outcome.exception()
