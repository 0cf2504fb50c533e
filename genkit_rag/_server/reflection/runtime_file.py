"""The file by which Genkit's tools find a running app."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import secrets
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

MARKERS = (
    "package.json",
    "go.mod",
    "pyproject.toml",
    "requirements.txt",
    "pom.xml",
    "build.gradle",
    "build.gradle.kts",
    "pubspec.yaml",
)
"""What makes a folder a project's root, for Genkit's CLI."""


def project_root(start: Path | None = None) -> Path:
    """Return the nearest parent folder with one of `MARKERS`, or the folder itself if there is none."""
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if any((folder / marker).is_file() for marker in MARKERS):
            return folder
    return start


_written: set[RuntimeFile] = set()


def remove_all() -> None:
    """Remove the runtime files of this program."""
    for file in list(_written):
        file.remove()


class RuntimeFile:
    """`<project root>/.genkit/runtimes/<id>.json`, from `write` to `remove`; the end of the program removes it too."""

    def __init__(self, facts: dict[str, Any], root: Path | None = None) -> None:
        self._facts = facts
        self._folder = (root or project_root()) / ".genkit"
        self._pid = os.getpid()
        name = f"{self._pid}-{secrets.token_hex(3)}-{time.time_ns() // 1_000_000}.json"
        self.path = self._folder / "runtimes" / name

    def write(self) -> Path:
        """Write the file atomically and return its path: watchers read it as soon as it appears."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._folder / f"{self.path.name}.tmp"  # not in the folder that is watched
        facts = {**self._facts, "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds")}
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
            with os.fdopen(os.open(draft, flags, 0o600), "w", encoding="utf-8") as file:
                json.dump(facts, file)
            draft.replace(self.path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        _written.add(self)
        atexit.register(remove_all)
        return self.path

    def remove(self) -> None:
        """Remove the file; a forked child does not remove its parent's."""
        _written.discard(self)
        if os.getpid() == self._pid:
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)
