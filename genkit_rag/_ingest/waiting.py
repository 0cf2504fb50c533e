"""Waits in a worker thread for what only an event loop can do."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Coroutine
from contextvars import ContextVar
from typing import Any, TypeVar

from genkit_rag._core.errors import GenkitError

T = TypeVar("T")

LOOP: ContextVar[asyncio.AbstractEventLoop | None] = ContextVar("ingestion_loop", default=None)
"""The loop of the ingestion that runs; worker threads inherit it with the context."""


def wait_for(result: T | Awaitable[T]) -> T:
    """Await a function's result on the ingestion's loop, or on a new one."""
    if not inspect.isawaitable(result):
        return result
    work: Coroutine[Any, Any, T] = _awaited(result)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        loop = LOOP.get()
        if loop is None:
            return asyncio.run(work)
        return asyncio.run_coroutine_threadsafe(work, loop).result()
    work.close()
    if inspect.iscoroutine(result):
        result.close()
    raise GenkitError(
        "FAILED_PRECONDITION",
        "An asynchronous `embed` cannot be waited for on the event loop's own thread.",
        hint="Split in a thread: chunks = await asyncio.to_thread(lambda: list(splitter.chunks(text))).",
    )


async def _awaited(result: Awaitable[T]) -> T:
    return await result
