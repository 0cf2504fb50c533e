"""Where the screen keeps datasets and runs, and what requests say about them."""

from __future__ import annotations

import tempfile
from pathlib import Path, PurePosixPath
from typing import Any, cast

from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._evaluation.dataset import load_dataset
from genkit_rag._server.datasets import DatasetKind, DatasetStore, RunStore
from genkit_rag._server.dev_ui.ui import Ui

ENDINGS = (".json", ".jsonl", ".ndjson", ".csv")


def stores(ui: Ui) -> tuple[DatasetStore, RunStore]:
    """Return the project's datasets and runs."""
    return DatasetStore(ui.data), RunStore(ui.data)


def rows_of(body: dict[str, Any], kind: DatasetKind) -> list[Any]:
    """Return the rows of a request: `rows` unchanged, or parsed from `text` of a file named `filename`."""
    if "text" not in body:
        given: Any = body.get("rows", [])
        if not isinstance(given, list):
            raise invalid("rows", given, "must be a list")
        rows: list[Any] = given
        return rows
    text, name = body["text"], body.get("filename")
    if not isinstance(text, str) or not isinstance(name, str):
        raise invalid("text", "…", "must be text, and `filename` its name")
    ending = PurePosixPath(name).suffix.lower()
    if ending not in ENDINGS:
        raise invalid("filename", name[:200], f"must end with {', '.join(ENDINGS)}")
    parsed = _parsed(text, ending, name)
    return [_judgement(row) for row in parsed] if kind == "judgements" else parsed


def _parsed(text: str, ending: str, name: str) -> list[Any]:
    """Parse rows in the formats of `load_dataset`."""
    with tempfile.TemporaryDirectory(prefix="genkit-rag-") as folder:
        path = Path(folder) / f"dataset{ending}"
        path.write_text(text, "utf-8", "surrogatepass")
        try:
            points = load_dataset(path)
        except GenkitError as error:
            message = error.message.replace(repr(str(path)), repr(name[:200]))
            raise GenkitError(error.status, message, hint=error.hint) from error
    return [point.to_wire() for point in points]


def _judgement(row: dict[str, Any]) -> dict[str, Any]:
    """Convert a row to a judgement if it was parsed as an input: judgements have other fields."""
    given = row.get("input")
    return cast("dict[str, Any]", given) if isinstance(given, dict) else row


def text_field(body: dict[str, Any], name: str, limit: int = 200) -> str | None:
    """Return an optional text field; an empty one counts as absent."""
    value = body.get(name)
    if value is not None and (not isinstance(value, str) or len(value) > limit):
        raise invalid(name, value, f"must be text of at most {limit} characters")
    return value.strip() or None if isinstance(value, str) else None
