"""Runs blocking functions beside the event loop.

asyncio's own pool has `cpu_count + 4` threads, so eight blocking tools on a small machine would run in two
waves; ours is wider, shared, and made at the first use.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")

MAX_THREADS = 64
"""Upper bound of worker threads; they are started one by one as calls overlap."""

_pool: ThreadPoolExecutor | None = None
_lock = threading.Lock()


def executor() -> ThreadPoolExecutor:
    """Return the process-wide thread pool for blocking calls."""
    global _pool
    if _pool is None:
        with _lock:
            if _pool is None:
                _pool = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="genkit_rag")
    return _pool


async def run_in_thread(fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Run `fn` in a worker thread with the caller's context variables and return its result."""
    context = contextvars.copy_context()
    call: Callable[[], Any] = functools.partial(context.run, _guarded, fn, *args, **kwargs)
    result: _T = await asyncio.get_running_loop().run_in_executor(executor(), call)
    return result


def _guarded(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    try:
        return fn(*args, **kwargs)
    except StopIteration as error:  # a future cannot hold one: before Python 3.12 its caller would wait for ever
        raise RuntimeError("The function raised StopIteration.") from error
