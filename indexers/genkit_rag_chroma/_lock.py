"""One writer at a time: among the event loops of this process, and among processes by a lock file."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from genkit_rag.plugin_api import GenkitError

_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.02


class WriteLock:
    """A lock that any event loop of any thread can hold; it waits without blocking one.

    Args:
        path: The lock file; None for a lock of this object only.
        timeout: Seconds to wait for another process; for this one it waits as long as it takes.
    """

    def __init__(self, path: Path | None, timeout: float) -> None:
        self._here = threading.Lock()
        # The holder's next step may run in another thread, so the lock must not belong to one.
        self._file = None if path is None else FileLock(path, thread_local=False)
        self._timeout = timeout

    @asynccontextmanager
    async def held(self) -> AsyncGenerator[None, None]:
        """Hold the lock exclusively; UNAVAILABLE if another process keeps it."""
        pause = _FIRST_PAUSE
        while not self._here.acquire(blocking=False):
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        try:
            await self._take_file()
            try:
                yield
            finally:
                if self._file is not None:
                    self._file.release()
        finally:
            self._here.release()

    async def _take_file(self) -> None:
        if self._file is None:
            return
        until, pause = time.monotonic() + self._timeout, _FIRST_PAUSE
        while True:
            try:
                self._file.acquire(blocking=False)
                return
            except Timeout:
                if time.monotonic() >= until:
                    raise GenkitError(
                        "UNAVAILABLE",
                        f"Another process has been writing for {self._timeout:g} s: it holds {self._file.lock_file}.",
                        hint="Wait for it, raise `lock_timeout`, or let both use `chroma run` and `url`.",
                    ) from None
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
