"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_FOLDER = Path(".genkit_rag")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Folder = Annotated[
    Path, typer.Option("--dir", envvar="GENKIT_RAG_DIR", help="The folder that the stores are in.", show_envvar=True)
]
Store = Annotated[
    str | None,
    typer.Option(
        "--store",
        help="The store: PLUGIN/NAME, or NAME for the default plugin. faiss/docs, or the default of genkit_rag.toml.",
    ),
]
Embedder = Annotated[
    str | None,
    typer.Option(
        "--embedder", help="The embedding model, such as minilm/all-minilm-l6-v2; the store's own by default."
    ),
]


def examples(*lines: str) -> str:
    """Format an epilog with one example a line."""
    # The backspace tells the help formatter not to join the lines.
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
