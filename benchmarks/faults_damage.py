"""Seeded damage to the files of a store: every answer is right or refused, none is wrong."""

from __future__ import annotations

import asyncio
import collections
import mmap
import random
import shutil
from functools import partial
from pathlib import Path

from benchmarks.faults_model import STEPS, State, outcome, states
from benchmarks.faults_process import fork, join, run_workload

KILLED_AT, OLDER = 24, 15
"""After so many steps the process is killed, which leaves a log; and the older backup was made."""
KINDS = ("flip", "flip", "flip", "truncate", "zeros", "noise", "append", "missing", "older", "swapped")


def group(file: Path) -> str:
    """Returns what kind of file it is: `store.db`, `seg .keys`, `text .store`."""
    if file.parts[0] in ("seg", "text"):
        return f"{file.parts[0]} {file.suffix or file.name}"
    return file.name


def templates(work: Path) -> list[Path]:
    """Makes a closed store, one whose process was killed, and an older backup of the same."""
    acknowledged = mmap.mmap(-1, 4096)
    paths = [work / "closed", work / "killed", work / "older"]
    for path, stop, close in zip(paths, (len(STEPS), KILLED_AT, OLDER), (True, False, True), strict=True):
        code = join(fork(partial(run_workload, path, acknowledged, stop=stop, close=close)))
        if code:
            raise SystemExit(f"the workload itself ended with {code}")
    return paths


def damage(path: Path, older: Path, chance: random.Random) -> str:
    """Returns what was done to one file of a store, its group first."""
    files = [p.relative_to(path) for p in sorted(path.rglob("*")) if p.is_file() and not p.name.startswith("LOCK")]
    groups = collections.defaultdict(list)
    for file in files:
        groups[group(file)].append(file)
    names = sorted(groups)
    weights = [4 if name.startswith("store.db") else 2 if name.startswith("seg") else 1 for name in names]
    victim = chance.choice(groups[chance.choices(names, weights)[0]])
    kind = chance.choice(KINDS)
    done = f"{group(victim)}: {victim} of a {path.name} store, {kind}"
    data = (path / victim).read_bytes()
    if kind == "missing":
        (path / victim).unlink()
    elif kind in ("older", "swapped"):
        root = older if kind == "older" else path
        others = [p for p in sorted(root.rglob("*")) if p.is_file() and group(p.relative_to(root)) == group(victim)]
        others = [p for p in others if p.read_bytes() != data]
        # An older `store.db` is a backup, not damage: beside it stay the newer files.
        if not others or (kind == "older" and victim.name.startswith("store.db") and victim.name != "store.db"):
            kind = "flip"
        else:
            shutil.copyfile(chance.choice(others), path / victim)
            return done
    if kind != "missing":
        (path / victim).write_bytes(changed(data, kind, chance))
    return done


def changed(data: bytes, kind: str, chance: random.Random) -> bytes:
    """Returns the bytes with one kind of damage."""
    new = bytearray(data)
    at = chance.randrange(len(new) or 1)
    if kind == "append":
        return bytes(new) + chance.randbytes(100)
    if not new or kind == "truncate":
        return bytes(new[:at])
    if kind == "flip":
        new[at] ^= 1 << chance.randrange(8)
    else:
        size = len(new[at : at + 512])
        new[at : at + size] = bytes(size) if kind == "zeros" else chance.randbytes(size)
    return bytes(new)


def corrupt(work: Path, trials: int, seed: int) -> int:
    """Returns how many damaged stores gave a wrong answer; prints what came out by kind of file."""
    closed, killed, older = templates(work)
    history = states()
    note = work / "outcome"
    tally: collections.Counter[tuple[str, str]] = collections.Counter()
    wrong = 0
    for trial in range(trials):
        chance = random.Random(seed * 1_000_003 + trial)
        template, now = ((closed, history[-1]), (killed, history[KILLED_AT]))[chance.random() < 0.4]
        path = work / "case" / template.name
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(template, path)
        what = damage(path, older, chance)
        # A damaged log ends where the damage is: SQLite takes the commits before it. An older file is the older state.
        earlier = "store.db-wal" in what or ("store.db" in what and "older" in what)
        candidates = [now, *(reversed(history[:KILLED_AT]) if earlier else ())]
        note.write_text("nothing")

        def body(path: Path = path, candidates: list[State] = candidates) -> int:
            note.write_text(asyncio.run(outcome(path, candidates)))
            return 0

        code = join(fork(body))
        result = note.read_text() if code == 0 else f"WRONG the process ended with {code}"
        if result.startswith("WRONG"):
            wrong += 1
            print(f"  trial {trial}: {what}: {result}", flush=True)
            result = "WRONG"
        tally[what.split(":")[0], result] += 1
    for (file, result), count in sorted(tally.items()):
        print(f"{file:<20} {result:<24} {count:>5}")
    print(f"damage: {trials} trials, {wrong} wrong")
    return wrong
