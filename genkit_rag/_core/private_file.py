"""Files that only their owner reads."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def create_private(path: Path) -> None:
    """Create an empty file with mode 0600 under any umask; leave an existing file unopened.

    SQLite gives its side files the permissions of the database. An open database must not be opened again outside of
    SQLite: closing any handle of a file drops all POSIX locks that the process holds on it.
    """
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, flags, 0o600))
