"""The command `genkit-rag`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from genkit_rag._core.errors import MissingExtra

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 success, 1 failure, 2 wrong usage, 130 interrupted.

    Args:
        arguments: The arguments after the command's name; those of the process by default.
    """
    try:
        from genkit_rag._cli.app import run
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("typer", "rich"):
            raise
        sys.stderr.write(f"error: {MissingExtra('cli', str(error.name))}\n")
        sys.exit(1)
    code = run(sys.argv[1:] if arguments is None else list(arguments))
    if code == _INTERRUPTED:
        # The stores are closed. What still runs in threads, a model's batch, is of no use, but Python would wait.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
