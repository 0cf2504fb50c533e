"""How much may run on the event loop itself: a lone cheap search does, a crowd of them does not stall it."""

from __future__ import annotations

import asyncio

BUDGET = 3e-3
"""Seconds of estimated work in one turn of the loop."""
LONGEST = 2e-3
"""Seconds of estimated work that one search may take there."""
BYTES_PER_SECOND = 20e9
"""The approximate scan speed: half of the memory bandwidth of a server core."""


class InlineBudget:
    """Hands out the time of one turn of the event loop."""

    def __init__(self) -> None:
        self._spent = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None

    def take(self, seconds: float) -> bool:
        """Return whether work of this duration may run on the event loop, and account for it."""
        if seconds > LONGEST:
            return False
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._spent = loop, 0.0
        if self._spent == 0.0:
            loop.call_soon(self._next_turn)
        elif self._spent + seconds > BUDGET:
            return False
        self._spent += seconds
        return True

    def _next_turn(self) -> None:
        self._spent = 0.0
