"""Kills, and calls that fail, at every storage system call of the workload; and kills during the recovery."""

from __future__ import annotations

import asyncio
import collections
import mmap
import random
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.faults_model import NAMESPACES, SESSIONS, STEPS, states
from benchmarks.faults_process import FAILED, fork, join, run_check, run_workload, traced
from genkit_rag_faiss import FaissStore

CALLS = (
    "pwrite64",
    "write",
    "fsync",
    "fdatasync",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "ftruncate",
    "fallocate",
    "mkdir",
    "mkdirat",
    "rmdir",
)
READS = ("pread64", "openat")
KILLED = -9


def inject(call: str, fault: str, n: int) -> list[str]:
    """Returns the arguments of strace that let the n-th such call of a thread fail, or kill the process there."""
    what = "signal=KILL" if fault == "KILL" else f"error={fault}"
    return ["-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:{what}:when={n}"]


class Runs:
    """Runs of single steps, each followed by closing, on copies of a store that has seen the steps before."""

    def __init__(self, work: Path) -> None:
        self.path = work / "store"
        self.acknowledged = mmap.mmap(-1, 4096)
        self._log = work / "strace.log"
        self._templates: dict[int, Path] = {0: work / "nothing"}
        for first in SESSIONS[1:]:
            self._templates[first] = work / f"after{first}"
            code = join(fork(partial(run_workload, self._templates[first], self.acknowledged, stop=first)))
            if code:
                raise SystemExit(f"the workload itself ended with {code}")

    def run(self, step: int, arguments: list[str]) -> tuple[int, int]:
        """Returns how a step ended under strace, and how many steps were acknowledged then."""
        first = max(one for one in SESSIONS if one < step)
        shutil.rmtree(self.path, ignore_errors=True)
        if first:
            shutil.copytree(self._templates[first], self.path)
        self.acknowledged[0] = first

        def body(pause: Callable[[], None]) -> int:
            return run_workload(self.path, self.acknowledged, first=first, stop=step, before_last=pause)

        return traced(body, arguments), self.acknowledged[0]

    def points(self, step: int, calls: tuple[str, ...]) -> list[tuple[str, int]]:
        """Returns each call of a step, as its name and a number; injection counts by thread, so the busiest counts."""
        code, _ = self.run(step, ["-o", str(self._log), "-e", "trace=" + ",".join(f"?{name}" for name in calls)])
        if code:
            raise SystemExit(f"step {step} itself ended with {code}")
        return numbered(self._log, calls)


def numbered(log: Path, calls: tuple[str, ...]) -> list[tuple[str, int]]:
    """Returns the calls in a log of strace."""
    found: collections.Counter[tuple[str, str]] = collections.Counter()
    for line in log.read_text(errors="replace").splitlines():
        match = re.match(r"(\d+) +(\w+)\(", line)
        if match:
            found[match[1], match[2]] += 1
    most = {name: max((n for (_, call), n in found.items() if call == name), default=0) for name in calls}
    return [(name, n) for name in calls for n in range(1, most[name] + 1)]


def sweep(work: Path, fault: str, every: int, seed: int) -> int:
    """Returns how many faults lost something; prints a line for each step."""
    runs, history = Runs(work), states()
    calls = CALLS + READS * (fault == "EIO")
    print(f"{'step':<12} {'points':>6} {'hit':>5} {'lost':>5}  ended")
    lost = total = offset = 0
    for step in range(1, len(STEPS) + 1):
        every_point = runs.points(step, calls)
        points = [point for at, point in enumerate(every_point, offset + seed) if at % every == 0]
        offset += len(every_point)
        ends: collections.Counter[str] = collections.Counter()
        failures = 0
        for name, n in points:
            code, done = runs.run(step, inject(name, fault, n))
            ends[{0: "ran on", FAILED: "error", KILLED: "killed"}.get(code, f"code {code}")] += 1
            problem = run_check(runs.path, history[done : min(done + 1, step) + 1])
            if code not in (0, FAILED, KILLED):
                problem = problem or f"the step ended with {code}"
            if problem:
                failures += 1
                print(f"  {name} #{n} of step {step}, {done} acknowledged: {problem}", flush=True)
        title = f"{step} {type(STEPS[step - 1]).__name__}"
        print(f"{title:<12} {len(points):>6} {len(points) - ends['ran on']:>5} {failures:>5}  {dict(ends)}", flush=True)
        lost += failures
        total += len(points)
    print(f"{fault}: {total} points of {offset}, {lost} lost")
    return lost


def recover(path: Path, pause: Callable[[], None]) -> int:
    """Opens a store as after a crash, asks it for words, and writes what is derived; changes no document."""

    async def run() -> None:
        pause()
        store = await FaissStore.open(path)
        for namespace in NAMESPACES:
            await store.search_text("common", 3, namespace=namespace)
        await store.compact()
        await store.close()

    asyncio.run(run())
    return 0


def nested(work: Path, trials: int, seed: int) -> int:
    """Returns how many times something was lost when a process was killed, and the one that recovers was as well."""
    runs, history, log = Runs(work), states(), work / "recovery.log"
    first = {step: points for step in range(1, len(STEPS) + 1) if (points := runs.points(step, CALLS))}
    names = ",".join(f"?{name}" for name in CALLS)
    traced(lambda pause: recover(runs.path, pause), ["-o", str(log), "-e", f"trace={names}"])
    second = numbered(log, CALLS)
    lost = twice = 0
    for trial in range(trials):
        chance = random.Random(seed * 1_000_003 + trial)
        step = chance.choice(list(first))
        (call, n), (again, m) = chance.choice(first[step]), chance.choice(second)
        _, done = runs.run(step, inject(call, "KILL", n))
        twice += traced(lambda pause: recover(runs.path, pause), inject(again, "KILL", m)) == KILLED
        problem = run_check(runs.path, history[done : min(done + 1, step) + 1])
        if problem:
            lost += 1
            print(f"  {call} #{n} of step {step}, then {again} #{m}, {done} acknowledged: {problem}", flush=True)
    print(f"nested: {trials} trials, {twice} killed twice, {lost} lost")
    return lost
