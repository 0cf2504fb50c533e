"""Files that only their owner reads."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def create_private(path: Path) -> None:
    """Makes an empty file with mode 0600, whatever the umask; one that is there is left as it is, and unopened.

    For SQLite, which gives its side files the rights of the database. To open a database besides SQLite would do harm:
    closing any handle of a file drops all locks that the process holds on it (POSIX), those of other connections too.
    """
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, flags, 0o600))
