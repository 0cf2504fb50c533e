"""Detection of an app's event loop, and of the end of a script that starts none.

Most apps are created at module level, before an event loop runs. Their clients must not be bound to two loops, so the
reflection API waits for the app's loop: in development, a thread checks several times a second whether the thread that
created the app runs one. A script that ends without a loop, or after it, is served in a new one.
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary

from genkit_rag._server.reflection.lifecycle import DevRuntime, started_by_tools

PAUSE = 0.05
"""Seconds between two looks."""

FLUSH_SECONDS = 0.5
"""How long SIGTERM waits for spans that are queued."""

_RUN_FOREVER = asyncio.BaseEventLoop.run_forever.__code__
_RUNNER_RUN = asyncio.Runner.run.__code__

_runtimes: WeakKeyDictionary[DevRuntime, int] = WeakKeyDictionary()  # -> the thread that made it
_lock = threading.Lock()
_watching = False
_hooked = False


def wait_for_loop(runtime: DevRuntime) -> None:
    """Start the runtime in the event loop of the calling thread, as soon as there is one."""
    global _watching
    _hook_the_end()
    with _lock:
        _runtimes[runtime] = threading.get_ident()
        if not _watching:
            _watching = True
            threading.Thread(target=_watch, name="genkit_rag waits for a loop", daemon=True).start()


def _watch() -> None:
    while True:
        if not _look():
            return
        time.sleep(PAUSE)


def _look() -> bool:
    """Start the runtimes whose loop was found; return whether others still wait."""
    global _watching
    with _lock:
        runtimes = [(runtime, thread) for runtime, thread in _runtimes.items() if not runtime.closed]
        _watching = bool(runtimes)
    for runtime, thread in runtimes:
        loop = None if runtime.attached else running_loop(thread)
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it was closed meanwhile
                loop.call_soon_threadsafe(runtime.attach)
    return bool(runtimes)


def running_loop(thread: int) -> asyncio.AbstractEventLoop | None:
    """Return the event loop that a thread runs, read from its stack; None if it is not visible there.

    A loop that is not written in Python, such as uvloop's, is seen through the `asyncio.Runner` that runs it.
    """
    frame: FrameType | None = sys._current_frames().get(thread)  # pyright: ignore[reportPrivateUsage]
    while frame is not None:
        found: Any = None
        if frame.f_code is _RUN_FOREVER:
            found = frame.f_locals.get("self")
        elif frame.f_code is _RUNNER_RUN:
            found = getattr(frame.f_locals.get("self"), "_loop", None)
        if isinstance(found, asyncio.AbstractEventLoop) and found.is_running():
            return found
        frame = frame.f_back
    return None


# -- the end of a script


def _hook_the_end() -> None:
    global _hooked
    if _hooked:
        return
    _hooked = True
    # Behind the import of `concurrent.futures.thread`, whose own hook ends the worker threads: ours runs before it.
    assert concurrent.futures.thread is not None
    register = getattr(threading, "_register_atexit", None)
    if register is not None:
        with contextlib.suppress(RuntimeError):  # the program is ending already
            register(_serve_what_is_left)


def _serve_what_is_left() -> None:
    runtimes = [runtime for runtime in _runtimes if not runtime.closed and not runtime.attached]
    if runtimes and _ended_well():
        asyncio.run(_serve(runtimes))


def _ended_well() -> bool:
    """Return whether this was a script, started by a tool, that has reached its end."""
    multiprocessing = sys.modules.get("multiprocessing")
    child = multiprocessing is not None and multiprocessing.parent_process() is not None
    interactive = hasattr(sys, "ps1") or bool(sys.flags.interactive)
    failed = hasattr(sys, "last_value")
    return started_by_tools() and not (child or interactive or failed)


async def _serve(runtimes: list[DevRuntime]) -> None:
    for runtime in runtimes:
        await runtime.start()
    await hold(*runtimes)
    for runtime in runtimes:
        await runtime.close()


async def hold(*runtimes: DevRuntime) -> None:
    """Wait until the runtimes have ended, or for SIGTERM or SIGINT (Ctrl-C)."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    ended = asyncio.create_task(_wait_for_all(runtimes, stop))
    ours = signal.getsignal(signal.SIGTERM) in (signal.SIG_DFL, _leave)
    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # Windows, another thread
        if ours:
            loop.add_signal_handler(signal.SIGTERM, stop.set)
    try:
        await stop.wait()
    except asyncio.CancelledError:  # Ctrl-C: an ordinary end
        task = asyncio.current_task()
        assert task is not None
        task.uncancel()
    finally:
        ended.cancel()
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            if ours:
                loop.remove_signal_handler(signal.SIGTERM)


async def _wait_for_all(runtimes: Iterable[DevRuntime], stop: asyncio.Event) -> None:
    for runtime in runtimes:
        await runtime.wait()
    stop.set()


# -- SIGTERM, which ends a program without cleanup unless it is handled


def leave_politely() -> None:
    """Make SIGTERM run the exit handlers of the program, unless it has a handler already."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _leave)


def _leave(number: int, _frame: FrameType | None) -> None:
    from genkit_rag._server.reflection.runtime_file import remove_all

    remove_all()
    exporter = sys.modules.get("genkit_rag._server.telemetry.exporter")
    if exporter is not None:
        with contextlib.suppress(Exception):  # whatever it is, we end
            exporter.flush(FLUSH_SECONDS)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)  # the parent sees by which signal we ended
