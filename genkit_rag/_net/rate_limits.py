"""How many calls and tokens a minute, and how many calls at a time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from weakref import WeakKeyDictionary

MINUTE = 60.0
BURST = 5.0
"""Seconds' worth of calls that may be made at once after a pause."""


class TokenBucket:
    """A token bucket, stored as the time at which it is full again (generic cell rate algorithm, ITU-T I.371).

    Requests are served in order of arrival across threads and event loops. In any minute at most `per_minute` units
    start, plus the excess of the last request.

    Args:
        per_minute: Units per minute.
        clock: A monotonic clock in seconds.
    """

    def __init__(self, per_minute: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = (MINUTE + BURST) / per_minute  # slower by what the burst adds, so that both are a minute's
        self._clock = clock
        self._full = clock()
        self._lock = threading.Lock()

    def reserve(self, amount: float = 1) -> float:
        """Take units and return the seconds to wait before they may be used."""
        with self._lock:
            now = self._clock()
            wait = max(0.0, self._full - BURST - now)
            self._full = max(self._full, now) + amount * self._seconds
            return wait

    def correct(self, amount: float) -> None:
        """Count units that were used beyond the reserved ones; negative to give some back."""
        with self._lock:
            self._full += amount * self._seconds

    def hold(self, seconds: float) -> None:
        """Delay all later reservations by a number of seconds."""
        with self._lock:
            self._full = max(self._full, self._clock() + seconds + BURST)


class ConcurrencyLimit:
    """Bounds the calls at the same time, in each event loop: what asyncio waits with cannot leave its loop."""

    def __init__(self, width: int) -> None:
        self.width = width
        self._gates: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

    def __call__(self) -> asyncio.Semaphore:
        """Return the semaphore of the running event loop."""
        return self._gates.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(self.width))


class RateLimiter:
    """Requests and tokens a minute; either may be without a bound."""

    def __init__(self, requests: float | None, tokens: float | None) -> None:
        self._requests = None if requests is None else TokenBucket(requests)
        self._tokens = None if tokens is None else TokenBucket(tokens)

    async def wait(self, tokens: float) -> None:
        """Wait until a call with this many tokens may start."""
        waits = [
            pace.reserve(amount) for pace, amount in ((self._requests, 1), (self._tokens, tokens)) if pace is not None
        ]
        if any(waits):
            await asyncio.sleep(max(waits))

    def correct(self, tokens: float) -> None:
        """Count tokens that a call used beyond the reserved ones; negative to give some back."""
        if self._tokens is not None:
            self._tokens.correct(tokens)

    def hold(self, seconds: float) -> None:
        """Lets no further call start for that long: the other side has said so."""
        for pace in (self._requests, self._tokens):
            if pace is not None:
                pace.hold(seconds)
