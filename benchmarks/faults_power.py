"""Power loss: what was written and not synced is gone in part, in any part, and torn.

One run of the workload is recorded by strace, each write with its bytes. For a crash at any point of the record a disk
is made up that a machine may come back with: of each file what was synced, and of what was written since a random
part, sector by sector; of each folder the entries that were there when it was last synced, and the first of the
changes since. A file's sync makes its bytes durable, not its name. Memory maps are not recorded: nothing here writes
through one but the index of SQLite's log, which SQLite makes again.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.faults_model import states, workload
from benchmarks.faults_process import run_check, traced

SECTOR = 512
CALLS = (
    "openat",
    "creat",
    "close",
    "dup",
    "fcntl",
    "lseek",
    "write",
    "pwrite64",
    "ftruncate",
    "fsync",
    "fdatasync",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "rmdir",
)
UNKNOWN = ("writev", "pwritev", "pwritev2", "copy_file_range", "sendfile", "link", "linkat", "symlink", "truncate")
"""Calls that would change files too: the record would not hold them, so none may occur."""


@dataclass(eq=False)
class File:
    """The bytes that are synced, and the changes since: `(offset, bytes)`, or `(size, None)` for a new length."""

    synced: bytes = b""
    since: list[tuple[int, bytes | None]] = field(default_factory=list)

    def after(self, changes: list[tuple[int, bytes | None]]) -> bytes:
        data = bytearray(self.synced)
        for at, new in changes:
            if new is None:
                data = data[:at] + bytes(max(0, at - len(data)))
            else:
                data += bytes(max(0, at - len(data)))
                data[at : at + len(new)] = new
        return bytes(data)

    def sync(self) -> None:
        self.synced, self.since = self.after(self.since), []

    def survivor(self, chance: random.Random) -> bytes:
        """Returns what may be on the disk after a power loss."""
        kind = chance.choice(["nothing", "all", "first", "some", "torn"])
        changes = self.since
        if kind == "nothing":
            changes = []
        elif kind == "first":
            changes = changes[: chance.randrange(len(changes) + 1)]
        elif kind != "all":
            changes = [change for change in changes if chance.random() < 0.5]
        if kind == "torn":
            changes = [part for change in changes for part in torn(change, chance)]
        return self.after(changes)


def torn(change: tuple[int, bytes | None], chance: random.Random) -> Iterator[tuple[int, bytes | None]]:
    at, data = change
    if data is None:
        yield change
        return
    for start in range(0, len(data), SECTOR):
        if chance.random() < 0.7:
            yield at + start, data[start : start + SECTOR]


@dataclass
class Disk:
    """Names and files as the process sees them, and as they are synced."""

    now: dict[str, File | None] = field(default_factory=dict)
    synced: dict[str, File | None] = field(default_factory=dict)
    since: list[tuple[str, File | None, bool]] = field(default_factory=list)
    open: dict[int, list] = field(default_factory=dict)  # type: ignore[type-arg]

    def enter(self, path: str, file: File | None) -> None:
        self.now[path] = file
        self.since.append((path, file, True))

    def leave(self, path: str) -> None:
        if path in self.now:
            self.since.append((path, self.now.pop(path), False))

    def sync_folder(self, folder: str) -> None:
        for path, file, there in self.since:
            if os.path.dirname(path) == folder:
                change(self.synced, path, file, there)
        self.since = [one for one in self.since if os.path.dirname(one[0]) != folder]

    def survivors(self, root: str, chance: random.Random) -> dict[str, bytes | None]:
        """Returns what a machine may come back with: bytes by path, None for folders."""
        names = dict(self.synced)
        kept = {folder: chance.choice([0, 0, 1, 2, 10**6]) for folder in {os.path.dirname(p) for p, _, _ in self.since}}
        for path, file, there in self.since:
            folder = os.path.dirname(path)
            if kept[folder]:
                kept[folder] -= 1
                change(names, path, file, there)
        return {
            path: None if file is None else file.survivor(chance)
            for path, file in names.items()
            if path.startswith(root)
        }


def change(names: dict[str, File | None], path: str, file: File | None, there: bool) -> None:
    if there:
        names[path] = file
    else:
        names.pop(path, None)


class Replay:
    """Applies recorded calls to a disk, one after the other."""

    def __init__(self, notes: Path) -> None:
        self.disk = Disk()
        self.acknowledged = 0
        self._notes = str(notes)

    def apply(self, call: str, arguments: str, result: int) -> None:
        strings = [bytes.fromhex(s.replace("\\x", "")) for s in re.findall(r'"((?:\\x[0-9a-f]{2})*)"', arguments)]
        plain = re.sub(r'"[^"]*"', "S", arguments).split(", ")
        disk = self.disk
        if call in ("openat", "creat"):
            self._open(self._path(plain[0], strings[0]), arguments, result)
        elif call.startswith("rename"):
            self._rename(plain, strings)
        elif call in ("unlink", "unlinkat", "rmdir"):
            disk.leave(self._path(plain[0], strings[0]))
        elif call.startswith("mkdir"):
            disk.enter(self._path(plain[0], strings[0]), None)
        elif int(plain[0]) in disk.open:
            self._on_handle(call, int(plain[0]), plain, strings, result)

    def _path(self, folder: str, name: bytes) -> str:
        path = os.fsdecode(name)
        if folder.isdigit() and not path.startswith("/"):
            return os.path.join(self.disk.open[int(folder)][0], path)
        return path

    def _open(self, path: str, arguments: str, handle: int) -> None:
        disk = self.disk
        if path not in disk.now and "O_CREAT" in arguments:
            disk.enter(path, File())
        file = disk.now.get(path)
        if file is not None and "O_TRUNC" in arguments:
            file.since.append((0, None))
        disk.open[handle] = [path, file, 0, "O_APPEND" in arguments]

    def _rename(self, plain: list[str], strings: list[bytes]) -> None:
        folders = [one for one in plain if one != "S"] or ["", ""]
        old, new = self._path(folders[0], strings[0]), self._path(folders[1], strings[1])
        file = self.disk.now[old]
        self.disk.enter(new, file)  # journals keep a rename together: the new name is never lost alone
        self.disk.leave(old)

    def _on_handle(self, call: str, handle: int, plain: list[str], strings: list[bytes], result: int) -> None:
        path, file, at, append = entry = self.disk.open[handle]
        if call == "close":
            del self.disk.open[handle]
        elif call == "dup" or (call == "fcntl" and "F_DUPFD" in plain[1]):
            self.disk.open[result] = entry
        elif call == "lseek":
            entry[2] = result
        elif call in ("fsync", "fdatasync"):
            file.sync() if file is not None else self.disk.sync_folder(path)
        elif file is not None and call == "ftruncate":
            file.since.append((int(plain[1]), None))
        elif file is not None and call in ("write", "pwrite64"):
            if path == self._notes:
                self.acknowledged = int(strings[0])
            at = len(file.after(file.since)) if append else int(plain[-1]) if call == "pwrite64" else at
            file.since.append((at, strings[0][:result]))
            entry[2] = at + result if call == "write" else entry[2]


def calls(log: Path) -> Iterator[tuple[str, str, int]]:
    """Yields the calls of a log that succeeded, in the order in which they ended."""
    begun: dict[str, str] = {}
    with open(log) as lines:
        for line in lines:
            pid, _, text = line.rstrip("\n").partition(" ")
            text = text.strip()
            if text.endswith("<unfinished ...>"):
                begun[pid] = text.removesuffix("<unfinished ...>").rstrip()
                continue
            resumed = re.match(r"<\.\.\. \w+ resumed>", text)
            if resumed:
                text = begun.pop(pid) + text[resumed.end() :]
            match = re.match(r"(\w+)\((.*)\) += (\d+)", text)
            if match:
                if match[1] in UNKNOWN:
                    raise SystemExit(f"the record cannot hold {match[1]}: the replay must learn it")
                yield match[1], match[2], int(match[3])


def record(work: Path) -> Path:
    """Returns the log of one run of the workload in `work/recorded/store`."""
    log, notes = work / "power.log", work / "recorded" / "notes"
    notes.parent.mkdir()

    def body(pause: Callable[[], None]) -> int:
        pause()
        handle = os.open(notes, os.O_CREAT | os.O_WRONLY)

        async def run() -> None:
            store = await workload(notes.parent / "store", lambda number: void(os.write(handle, b"%d" % number)))
            await store.close()

        asyncio.run(run())
        return 0

    names = ",".join(f"?{name}" for name in CALLS + UNKNOWN)
    if traced(body, ["-o", str(log), "-xx", "-s", str(64 << 20), "-e", f"trace={names}"]):
        raise SystemExit("the workload itself failed")
    return log


def void(_: object) -> None:
    return None


def power(work: Path, trials: int, seed: int) -> int:
    """Returns how many power losses lost something that was acknowledged, or left something half done."""
    log = record(work)
    events = list(calls(log))
    chance = random.Random(seed)
    points = sorted(chance.sample(range(1, len(events) + 1), min(trials, len(events))))
    replay, history = Replay(work / "recorded" / "notes"), states()
    replay.disk.synced[str(work / "recorded")] = replay.disk.now[str(work / "recorded")] = None
    lost = at = 0
    for point in points:
        for event in events[at:point]:
            replay.apply(*event)
        at = point
        path = work / "store"
        shutil.rmtree(path, ignore_errors=True)
        root = work / "recorded" / "store"
        lay_out(replay.disk.survivors(str(root), chance), root, path)
        done = replay.acknowledged
        problem = run_check(path, history[done : done + 2])
        if problem:
            lost += 1
            print(f"  call {point} ({events[point - 1][0]}), {done} acknowledged: {problem}", flush=True)
    print(f"power loss: {len(points)} of {len(events)} points, {lost} lost")
    return lost


def lay_out(found: dict[str, bytes | None], root: Path, target: Path) -> None:
    """Writes what survived; what stands in a folder that did not is gone with it."""
    for path, data in sorted(found.items()):
        place = target / Path(path).relative_to(root)
        if place != target and not place.parent.is_dir():
            continue
        place.mkdir() if data is None else place.write_bytes(data)
