"""Processes for the fault sweeps. This one has imported everything and opened nothing, so a fork of it is fresh."""

from __future__ import annotations

import asyncio
import mmap
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.faults_model import STEPS, State, check, workload
from genkit_rag.plugin_api import GenkitError

TIMEOUT = 60
FAILED = 3
"""The exit code of a workload that a fault reached as one of our errors."""


def fork(body: Callable[[], int]) -> int:
    """Returns the pid of a child that runs the body."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        code = body()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def join(pid: int) -> int:
    """Returns the exit code of a child, negative for a signal; ends it when it takes too long."""
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -99


def traced(body: Callable[[Callable[[], None]], int], arguments: Sequence[str]) -> int:
    """Returns how a child ended that ran the body under strace from where it called what it was given."""
    (ready, tell), (wait, go) = os.pipe(), os.pipe()

    def pause() -> None:
        os.write(tell, b"x")
        os.read(wait, 1)

    pid = fork(lambda: body(pause))
    os.close(tell)
    os.read(ready, 1)
    tracer = subprocess.Popen(
        ["strace", "-f", "-q", "-p", str(pid), *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not _all_traced(pid) and tracer.poll() is None:
        time.sleep(0.001)
    os.write(go, b"x")
    code = join(pid)
    tracer.wait(TIMEOUT)
    for handle in (ready, wait, go):
        os.close(handle)
    return code


def _all_traced(pid: int) -> bool:
    return not any("TracerPid:\t0\n" in (task / "status").read_text() for task in Path(f"/proc/{pid}/task").iterdir())


def run_workload(
    path: Path,
    acknowledged: mmap.mmap,
    *,
    first: int = 0,
    stop: int = len(STEPS),
    before_last: Callable[[], None] = lambda: None,
    close: bool = True,
) -> int:
    """Runs the workload in this process; acknowledging costs no system call."""

    async def run() -> None:
        store = await workload(
            path, lambda number: acknowledged.__setitem__(0, number), first=first, stop=stop, before_last=before_last
        )
        if close:
            await store.close()
        else:
            os._exit(0)

    try:
        asyncio.run(run())
    except GenkitError:
        return FAILED
    return 0


def run_check(path: Path, expected: list[State]) -> str:
    """Returns what is wrong, found by a fresh process."""
    note = path.parent / "problem"

    def body() -> int:
        try:
            problem = asyncio.run(check(path, expected))
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        note.write_text(problem)
        return 0

    code = join(fork(body))
    return note.read_text() if code == 0 else f"the checking process ended with {code}"
