"""Crash and damage sweeps over the durable store.

    python benchmarks/faults.py                   # SIGKILL at every storage system call of the workload
    python benchmarks/faults.py --fault EIO       # the call fails instead; also ENOSPC
    python benchmarks/faults.py --every 10        # a share of the points
    python benchmarks/faults.py --corrupt 200     # seeded damage to the files of a closed store

The workload (12 batches of upserts with overwrites, deletions, searches by words, compactions) runs in a forked child
under `strace -e inject=...`; acknowledgements are recorded through a shared mapping, which costs no system call. After
each fault a fresh process opens the store: its state must be that of the acknowledged batches or one more, `verify`
must be clean, search must equal brute force, and a further write must work. Exit code 1 when anything was lost.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import logging
import mmap
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from genkit_rag.plugin_api import Document, GenkitError, parse_filter
from genkit_rag_faiss import FaissStore

CALLS = ("pwrite64", "write", "fsync", "fdatasync", "rename", "renameat", "renameat2", "unlink", "unlinkat",
         "ftruncate", "fallocate", "mkdir", "mkdirat")  # fmt: skip
READS = ("pread64", "openat")
BATCHES = 12
SIZE = 30
DIMENSIONS = 16
TIMEOUT = 60

State = dict[str, tuple[str, int]]


def vectors(keys: list[tuple[str, int]]) -> Any:
    """Returns the vector of each (id, version): the same in every process."""
    rows = [np.random.default_rng([int(name[1:]), version]).standard_normal(DIMENSIONS) for name, version in keys]
    rows = np.array(rows, np.float32).reshape(-1, DIMENSIONS)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def batch(number: int) -> list[str]:
    return [f"d{(number * 20 + i) % 160}" for i in range(SIZE)]  # a third of each batch overwrites the one before


def document(name: str, version: int) -> Document:
    return Document(f"text common {name} version{version}", {"version": version, "name": name}, id=name)


def states() -> list[State]:
    """Returns the state after each batch, the first one empty."""
    found: list[State] = [{}]
    for number in range(1, BATCHES + 1):
        state = dict(found[-1])
        if number % 4 == 3:
            for name in batch(number - 1)[::3]:
                state.pop(name, None)
        elif number % 6 == 5:
            state = {name: value for name, value in state.items() if value[1] != number - 4}
        else:
            state |= {name: (document(name, number).text, number) for name in batch(number)}
        found.append(state)
    return found


async def workload(path: Path, acknowledged: mmap.mmap) -> None:
    store = await FaissStore.open(path)
    for number in range(1, BATCHES + 1):
        if number % 4 == 3:
            await store.delete(ids=batch(number - 1)[::3])
        elif number % 6 == 5:
            await store.delete(filter=parse_filter({"version": number - 4}))
        else:
            names = batch(number)
            await store.upsert([document(name, number) for name in names], vectors([(n, number) for n in names]))
        acknowledged[0] = number
        if number in (4, 9):
            await store.search_text("common", 3)
        if number in (6, 10):
            await store.compact()
    await store.close()


async def check(path: Path, expected: list[State]) -> str:
    """Returns what is wrong with the store at the path; an empty string when nothing is."""
    store = await FaissStore.open(path)
    try:
        found = await answers(store)
        state = next((state for state in expected if state == found), None)
        if state is None:
            return f"{len(found)} documents, expected {' or '.join(str(len(state)) for state in expected)}"
        report = await store.verify()
        if not report.ok:
            return f"verify: {report.problems[0]}"
        problem = await check_search(store, state)
        if problem:
            return problem
        await store.upsert([document("d999", 1)], vectors([("d999", 1)]))
        await store.compact()
        if await store.count() != len(state) + 1:
            return "a further write was not counted"
        return await check_search(store, state | {"d999": (document("d999", 1).text, 1)})
    finally:
        await store.close()


async def answers(store: FaissStore) -> State:
    names = await store.ids()
    documents = await store.get(names)
    return {d.id: (d.text, d.metadata["version"]) for d in documents if d is not None}


async def check_search(store: FaissStore, state: State) -> str:
    names = list(state)
    rows = vectors([(name, state[name][1]) for name in names])
    queries = vectors([("d7", 99), ("d8", 99), ("d9", 99)])
    for query, hits in zip(queries, await store.search(queries, 5), strict=True):
        exact = sorted((rows @ query).tolist(), reverse=True)[:5]
        if not np.allclose([hit.score for hit in hits], exact, atol=1e-5):
            return "search differs from brute force"
        if any(hit.document is None or hit.document.text != state[hit.id][0] for hit in hits):
            return "a hit has another document"
    if {hit.id for hit in await store.search_text("common", 1000)} != set(names):
        return "the search by words differs"
    for version in {version for _, version in state.values()}:
        wanted = {name for name in names if state[name][1] == version}
        if set(await store.ids(filter=parse_filter({"version": version}))) != wanted:
            return "a filter differs"
    return ""


# Processes. This one has imported everything and opened nothing, so a fork of it is a fresh process at once.


def fork(body: Callable[[], int], *, wait_for: int | None = None) -> int:
    """Returns the pid of a child that runs the body, after a byte has come through the pipe when one is given."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.setpgid(0, 0)
        if wait_for is not None:
            os.read(wait_for, 1)
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


def run_workload(path: Path, acknowledged: mmap.mmap) -> int:
    try:
        asyncio.run(workload(path, acknowledged))
    except GenkitError:
        return 3  # the fault came through as one of our errors
    return 0


def traced(path: Path, acknowledged: mmap.mmap, arguments: list[str]) -> int:
    """Returns how the workload ended under strace with the arguments."""
    read, write = os.pipe()
    pid = fork(lambda: run_workload(path, acknowledged), wait_for=read)
    os.close(read)
    tracer = subprocess.Popen(
        ["strace", "-f", "-q", "-p", str(pid), *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while "TracerPid:\t0\n" in Path(f"/proc/{pid}/status").read_text() and tracer.poll() is None:
        time.sleep(0.001)
    os.write(write, b"x")
    os.close(write)
    code = join(pid)
    tracer.wait(TIMEOUT)
    return code


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


def count_calls(work: Path, acknowledged: mmap.mmap) -> dict[str, int]:
    """Returns how often one thread of the workload makes each system call; injection counts by thread."""
    log = work / "strace.log"
    calls = ",".join(f"?{name}" for name in CALLS + READS)
    code = traced(work / "baseline", acknowledged, ["-o", str(log), "-e", f"trace={calls}"])
    if code != 0 or acknowledged[0] != BATCHES:
        raise SystemExit(f"the workload itself ended with {code} after {acknowledged[0]} batches")
    found: collections.Counter[tuple[str, str]] = collections.Counter()
    for line in log.read_text(errors="replace").splitlines():
        match = re.match(r"(\d+) +(\w+)\(", line)
        if match:
            found[match[1], match[2]] += 1
    return {name: max((n for (_, call), n in found.items() if call == name), default=0) for name in CALLS + READS}


def sweep(work: Path, fault: str, every: int, seed: int) -> int:
    vectors([("d1", 1)])  # what is imported at its first use is imported before a fault could hit it
    acknowledged = mmap.mmap(-1, 4096)
    counts = count_calls(work, acknowledged)
    history = states()
    inject = "signal=KILL" if fault == "KILL" else f"error={fault}"
    names = CALLS if fault == "KILL" else (CALLS + READS if fault == "EIO" else CALLS)
    print(f"{'call':<10} {'points':>6} {'hit':>5} {'ended':>22} {'lost':>5}")
    lost = total = 0
    for name in names:
        points = list(range(1 + seed % every, counts[name] + 1, every)) if counts[name] else []
        ends: collections.Counter[str] = collections.Counter()
        failures = 0
        for n in points:
            path = work / "store"
            shutil.rmtree(path, ignore_errors=True)
            acknowledged[0] = 0
            code = traced(
                path, acknowledged, ["-o", "/dev/null", "-e", f"trace={name}", "-e", f"inject={name}:{inject}:when={n}"]
            )
            ends[{0: "ran on", 3: "error", -9: "killed"}.get(code, f"code {code}")] += 1
            done = acknowledged[0]
            problem = run_check(path, history[done : done + 2])
            if code not in (0, 3, -9):
                problem = problem or f"the workload ended with {code}"
            if problem:
                failures += 1
                print(f"  {name} #{n}, {done} acknowledged: {problem}")
        hit = sum(ends.values()) - ends["ran on"]
        if points:
            print(f"{name:<10} {len(points):>6} {hit:>5} {dict(ends)!s:>22} {failures:>5}")
        lost += failures
        total += len(points)
    print(f"{fault}: {total} points, {lost} lost")
    return lost


# Damage.


def damage(path: Path, chance: random.Random) -> str:
    """Returns what was done to one file of a closed store."""
    files = sorted(p for p in path.rglob("*") if p.is_file() and p.stat().st_size)
    files = [file for file in files if not file.name.startswith(("LOCK", "store.db-"))]
    groups = {"store.db": [], "seg": [], "text": [], "FORMAT": []}  # type: ignore[var-annotated]
    for file in files:
        groups[file.relative_to(path).parts[0]].append(file)
    victim = chance.choice(groups[chance.choice(["store.db", "store.db", "seg", "text", "FORMAT"])])
    data = bytearray(victim.read_bytes())
    kind = chance.choice(["flip", "flip", "truncate", "zeros"])
    at = chance.randrange(len(data))
    if kind == "flip":
        data[at] ^= 1 << chance.randrange(8)
    elif kind == "truncate":
        del data[at:]
    else:
        data[at : at + 512] = bytes(len(data[at : at + 512]))
    victim.write_bytes(data)
    return f"{victim.relative_to(path)} {kind} at {at}"


async def outcome(path: Path, state: State) -> str:
    """Returns `same`, `reported` or `WRONG ...` for a damaged store."""
    problem = ""
    try:
        store = await FaissStore.open(path)
        try:
            found = await answers(store)
            if found != state:
                problem = f"{len(found)} documents instead of {len(state)}"
            problem = problem or await check_search(store, state)
            report = await store.verify()
        finally:
            await store.close()
    except GenkitError as error:
        return "reported at once" if error.status in ("DATA_LOSS", "UNAVAILABLE") else f"WRONG error {error}"
    if not report.ok:
        return f"reported by verify only: {problem}" if problem else "reported by verify"
    return f"WRONG {problem}" if problem else "same answers"


def corrupt(work: Path, trials: int, seed: int) -> int:
    state = states()[-1]
    template = work / "template"
    join(fork(lambda: run_workload(template, mmap.mmap(-1, 4096))))
    note = work / "outcome"
    tally: collections.Counter[tuple[str, str]] = collections.Counter()
    wrong = 0
    for trial in range(trials):
        path = work / "store"
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(template, path)
        what = damage(path, random.Random(seed * 1_000_003 + trial))
        note.write_text("nothing")

        def body(path: Path = path) -> int:
            note.write_text(asyncio.run(outcome(path, state)))
            return 0

        code = join(fork(body))
        result = note.read_text() if code == 0 else f"WRONG the process ended with {code}"
        if "only" in result:
            print(f"  trial {trial}: {what}: {result}")
        if "WRONG" in result:
            wrong += 1
            print(f"  trial {trial}: {what}: {result}")
        tally[re.split(r"[/ ]", what)[0], result.split(":")[0] if "WRONG" not in result else "WRONG"] += 1
    for (file, result), count in sorted(tally.items()):
        print(f"{file:<10} {result:<24} {count:>5}")
    print(f"damage: {trials} trials, {wrong} wrong")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description="Crash and damage sweeps over the durable store.")
    parser.add_argument("--fault", choices=["KILL", "EIO", "ENOSPC"], default="KILL")
    parser.add_argument("--every", type=int, default=1, help="take every n-th point")
    parser.add_argument("--corrupt", type=int, default=0, metavar="N", help="damage files N times instead")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    started = time.monotonic()
    work = Path(tempfile.mkdtemp(prefix="faults"))
    try:
        if arguments.corrupt:
            bad = corrupt(work, arguments.corrupt, arguments.seed)
        elif shutil.which("strace") is None:
            raise SystemExit("strace is needed: apt-get install strace")
        else:
            bad = sweep(work, arguments.fault, arguments.every, arguments.seed)
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(work)
    print(f"{time.monotonic() - started:.0f} s")
    raise SystemExit(1 if bad else 0)


if __name__ == "__main__":
    main()
