"""The retry policy of a wrapped embedder."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from genkit_rag.plugin_api import Backoff, GenkitError, Status, retry_call

logger = logging.getLogger("genkit_rag.wrapped")
T = TypeVar("T")

STATUSES: tuple[Status, ...] = ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED")
"""Statuses of temporary failures."""

_HTTP = (500, 502, 503, 504)
_BACKOFF = Backoff(1.0, 60.0, jitter=1.0)


async def call_with_retries(call: Callable[[], Awaitable[T]], *, retries: int, seconds: float) -> T:
    """Return the result of the first attempt that succeeds; raise the last error otherwise.

    The pause is a random time of up to 1 second, doubled for each further attempt up to a minute (full jitter), plus
    the `retry_after` of the error. A pause that would end more than `seconds` after the first attempt raises the error.
    """
    now = asyncio.get_running_loop().time
    started = now()

    def pause(retry: int, error: Exception) -> float | None:
        if not is_temporary(error):
            return None
        wait = retry_after_of(error) + _BACKOFF.pause(retry)
        if now() - started + wait >= seconds:
            return None
        logger.info("attempt %d failed, next in %.2f s: %s", retry + 1, wait, error)
        return wait

    return await retry_call(call, pause, retries=retries)


def is_temporary(error: BaseException) -> bool:
    """Return whether the same call may succeed later."""
    if not isinstance(error, GenkitError):
        return False
    return error.status in STATUSES or (error.status == "INTERNAL" and error.details.get("http_status") in _HTTP)


def retry_after_of(error: BaseException | None) -> float:
    """Return the `retry_after` of an error in seconds; 0 for an error without it."""
    return max(0.0, error.retry_after or 0.0) if isinstance(error, GenkitError) else 0.0
