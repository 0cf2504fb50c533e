"""Datasets from files, and from judgements made in a playground."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from pydantic_core import PydanticSerializationError

from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._core.schema import parse
from genkit_rag._documents.wire import WireModel
from genkit_rag._evaluation.types import EvalDataPoint, with_ids

MAX_FILE_BYTES = 100_000_000
"""The largest dataset file that is read."""

_OWN = frozenset({"input", "output", "context", "reference", "testCaseId", "traceIds", "test_case_id", "trace_ids"})

DatasetLike = str | Path | Iterable[EvalDataPoint | Mapping[str, Any] | Any]


class Judgement(WireModel):
    """A relevance judgement of one document for one query.

    Attributes:
        query: The query.
        document_id: The id of the document.
        grade: 0 is not relevant, 1 is relevant, higher is better.
        retriever: The retriever that returned it.
        created_at: ISO 8601 time of the judgement.
    """

    query: str
    document_id: str
    grade: int = 1
    retriever: str | None = None
    created_at: str | None = None


def judged_points(judgements: Iterable[Judgement]) -> list[EvalDataPoint]:
    """Return a data point for each query, with the graded documents as the reference.

    Of several judgements on one document the last one counts.
    """
    grades: dict[str, dict[str, int]] = {}
    for judgement in judgements:
        grades.setdefault(judgement.query, {})[judgement.document_id] = judgement.grade
    return with_ids([EvalDataPoint(input=query, reference={"relevant": found}) for query, found in grades.items()])


def to_points(dataset: DatasetLike) -> list[EvalDataPoint]:
    """Return the data points of a list or a file, each with an id.

    A mapping with at least one of `input`, `output`, `reference`, `context` or `testCaseId` is a data point; anything
    else is an input.
    """
    if isinstance(dataset, str | Path):
        return load_dataset(dataset)
    given: Any = dataset
    if isinstance(given, Mapping) or not isinstance(given, Iterable):
        raise invalid("dataset", given, "must be a list of data points or a path", hint="Put the one into a list.")
    points = [_point(item, number) for number, item in enumerate(given)]
    try:
        return with_ids(points)
    except PydanticSerializationError as error:
        raise GenkitError(
            "INVALID_ARGUMENT",
            f"An input of the dataset is no JSON: {error}.",
            hint="Inputs are JSON-compatible values or pydantic models.",
        ) from error


def _point(item: Any, number: int) -> EvalDataPoint:
    if isinstance(item, EvalDataPoint):
        return item
    if isinstance(item, Mapping) and _OWN & cast("Mapping[str, Any]", item).keys():
        point: EvalDataPoint = parse(EvalDataPoint, item, f"The data point {number}")
        return point
    return EvalDataPoint(input=item)


def load_dataset(path: str | Path) -> list[EvalDataPoint]:
    """Load the data points of a file: `.jsonl` (one a line), `.json` (a list) or `.csv` (with a header).

    Genkit's dataset files are such lists. Cells of a CSV file are text, unless they begin with `[` or `{` and are valid
    JSON; empty cells are absent; further columns are kept.

    Raises:
        GenkitError: NOT_FOUND for a missing file, INVALID_ARGUMENT with the line for an invalid one, RESOURCE_EXHAUSTED
            for one over 100 MB.
    """
    file = Path(path)
    readers = {".jsonl": _lines, ".ndjson": _lines, ".json": _list, ".csv": _rows}
    reader = readers.get(file.suffix.lower())
    if reader is None:
        raise invalid("dataset", str(path), f"must be a file of the kind {', '.join(readers)}")
    if not file.is_file():
        raise GenkitError("NOT_FOUND", f"There is no dataset file {str(path)!r}.", hint="Check the path.")
    if file.stat().st_size > MAX_FILE_BYTES:
        raise GenkitError(
            "RESOURCE_EXHAUSTED",
            f"The dataset {str(path)!r} is larger than {MAX_FILE_BYTES:,} bytes.",
            hint="Split it, or pass the rows as a list.",
        )
    try:
        text = file.read_text("utf-8-sig")
        return with_ids([_point(item, number) for number, item in enumerate(reader(text))])
    except (ValueError, RecursionError) as error:  # bytes that are no text, JSON that is none
        raise GenkitError(
            "INVALID_ARGUMENT",
            f"The dataset {str(path)!r} cannot be read: {error}.",
            hint="It must be UTF-8, and JSON, JSON Lines or CSV by its ending.",
        ) from error


def _lines(text: str) -> list[Any]:
    found: list[Any] = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                found.append(json.loads(line))
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from error
    return found


def _list(text: str) -> list[Any]:
    found = json.loads(text)
    if not isinstance(found, list):
        raise ValueError("it is no list of data points")
    items: list[Any] = found
    return items


def _rows(text: str) -> list[Any]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    columns: Sequence[str] = reader.fieldnames or ()
    if not {"input", "output"} & set(columns):
        raise ValueError("its header has neither `input` nor `output`")
    try:
        rows = list(reader)
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from error
    found: list[Any] = []
    for row in rows:
        if None in row:
            raise ValueError("a row has more cells than the header")
        cells = {name: _cell(value) for name, value in row.items() if value}
        if isinstance(cells.get("context"), str):
            cells["context"] = [cells["context"]]
        found.append(cells)
    return found


def _cell(value: str) -> Any:
    if value[:1] in "[{":
        try:
            return json.loads(value)
        except ValueError:
            return value  # text that begins like JSON
    return value
