"""Files that only their owner reads."""

import fcntl
import os
import stat
import subprocess
import sys
from pathlib import Path

from genkit_rag._core.private_file import create_private

TRY_TO_LOCK = """
import fcntl, sys
with open(sys.argv[1], "r+") as file:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        sys.exit(1)
"""


def test_a_new_file_is_its_owners_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        create_private(tmp_path / "a.db")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.db").stat().st_mode) == 0o600


def test_a_file_that_is_there_keeps_its_content_and_the_locks_of_this_process(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_text("mine")
    with path.open("r+") as held:
        fcntl.lockf(held, fcntl.LOCK_EX)
        create_private(path)
        other = subprocess.run([sys.executable, "-c", TRY_TO_LOCK, str(path)], check=False)
        assert other.returncode == 1, "the lock was dropped"
    assert path.read_text() == "mine"
