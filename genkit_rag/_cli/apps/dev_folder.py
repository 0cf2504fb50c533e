"""Where a project's traces, datasets and evaluations are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genkit_rag._cli.options import DEFAULT_FOLDER

TRACES = "traces.db"

DevFolder = Annotated[
    Path | None,
    typer.Option(
        "--dir",
        envvar="GENKIT_RAG_DIR",
        show_envvar=True,
        help="The folder of traces and evaluations; .genkit_rag at the project's root by default.",
    ),
]


def dev_folder(given: Path | None) -> Path:
    """Return the given folder, otherwise `.genkit_rag` at the project's root."""
    if given is not None:
        return given
    from genkit_rag._server.reflection.runtime_file import project_root

    return project_root() / DEFAULT_FOLDER
