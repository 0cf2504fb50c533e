"""The command as a process of its own, on a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

COMMAND = (sys.executable, "-m", "genkit_rag._cli")


def spawn(*arguments: str, cwd: Path | None = None, **environment: str) -> tuple[int, bytes]:
    """Returns the exit code and all that was printed on the terminal."""
    parent, child = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", **environment}
    with subprocess.Popen([*COMMAND, *arguments], stdin=child, stdout=child, stderr=child, env=env, cwd=cwd) as process:
        os.close(child)
        printed = b""
        try:
            while piece := os.read(parent, 65536):
                printed += piece
        except OSError:  # how a terminal says that the other side is gone
            pass
        os.close(parent)
    return process.returncode, printed
