"""CSV and JSON Lines, streamed: a section per row."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

from genkit_rag._ingest.loaders.encoding import open_text
from genkit_rag._ingest.loaders.guard import storable
from genkit_rag._ingest.section import LoadContext, Section, UnreadableFile, row_metadata

TEXT_FIELDS = ("text", "content", "body")
ID_FIELDS = ("id", "_id")
_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"')


def load_csv(path: Path, context: LoadContext) -> Iterator[Section]:
    """Yield each row as `column: value` lines with short columns also as metadata; the first row has the names."""
    # The module's limit is one for the process and low for documents in cells; it is only ever raised.
    csv.field_size_limit(max(csv.field_size_limit(), context.limits.max_row_characters))
    tally = Tally(context)
    with open_text(path, context) as file:
        rows = csv.reader(file, delimiter=_delimiter(file))
        names = [name.strip() or f"column_{number}" for number, name in enumerate(next(rows, []), 1)]
        while True:
            try:
                row = next(rows, None)
            except csv.Error as error:
                tally.bad(rows.line_num, str(error))
                continue
            if row is None:
                break
            if len(row) > len(names):
                tally.bad(rows.line_num, f"{len(row)} fields under {len(names)} columns")
                continue
            values = {name: value.strip() for name, value in zip(names, row, strict=False) if value.strip()}
            if values:
                tally.good += 1
                yield row_section("\n".join(f"{name}: {value}" for name, value in values.items()), values)
    tally.close("row")


def load_jsonl(path: Path, context: LoadContext) -> Iterator[Section]:
    """Yield each line's text field with its other scalars as metadata; note lines that cannot be read."""
    limits = context.limits
    tally = Tally(context)
    with open_text(path, context) as file:
        for number, line in enumerate(_lines(file, limits.max_row_characters), 1):
            if line is None:
                tally.bad(number, f"longer than {limits.max_row_characters:,} characters")
            elif line.strip():
                try:
                    section = json_section(line, context)
                except (ValueError, RecursionError) as error:
                    tally.bad(number, str(error))
                    continue
                tally.good += 1
                yield section
    tally.close("line")


def json_section(line: str, context: LoadContext) -> Section:
    depth = context.limits.max_json_depth
    if line.count("[") + line.count("{") > depth and _depth(line) > depth:
        raise ValueError(f"nests deeper than {depth}")
    raw: Any = json.loads(line, parse_constant=lambda _: None)
    if not isinstance(raw, dict):
        raise ValueError("not a JSON object")
    row = cast(dict[str, Any], raw)
    names = (context.text_field,) if context.text_field else TEXT_FIELDS
    name = next((name for name in names if isinstance(row.get(name), str)), None)
    if name is None:
        raise ValueError(f"no text in {' or '.join(f'`{name}`' for name in names)} (set `text_field`)")
    values = {key: storable(value) for key, value in row.items() if key != name}
    return row_section(storable(row[name]), values)


def row_section(text: str, values: dict[str, Any]) -> Section:
    """Create the section of a row, identified by its id (`id`, `_id`) or its content."""
    given = next((values[name] for name in ID_FIELDS if values.get(name) not in (None, "")), None)
    metadata = row_metadata(values)
    if isinstance(given, str | int) and not isinstance(given, bool):
        return Section(text, metadata, key=f"id:{given}", row_id=str(given))
    content = json.dumps([text, metadata], sort_keys=True).encode()
    return Section(text, metadata, key=hashlib.blake2b(content, digest_size=16).hexdigest())


def _depth(line: str) -> int:
    depth = deepest = 0
    for mark in re.findall(r"[\[\]{}]", _STRINGS.sub("", line)):
        depth += 1 if mark in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _lines(file: IO[str], limit: int) -> Iterator[str | None]:
    """Yield lines, None for one beyond the limit, which is skipped without holding it in memory."""
    while line := file.readline(limit + 1):
        if len(line) <= limit or line.endswith("\n"):
            yield line
            continue
        while line and not line.endswith("\n"):
            line = file.readline(limit + 1)
        yield None


def _delimiter(file: IO[str]) -> str:
    """Detect the column separator of the first line and rewind the file."""
    start = file.tell()
    header = file.readline(64 * 1024)
    file.seek(start)
    return max(",;\t|", key=header.count)


class Tally:
    """Counts rows and remembers the first few that could not be read."""

    def __init__(self, context: LoadContext) -> None:
        self.context = context
        self.good = 0
        self.wrong = 0
        self.examples: list[str] = []

    def bad(self, number: int, reason: str) -> None:
        self.wrong += 1
        self.examples += islice([f"line {number}: {reason}"], 3 - len(self.examples))

    def close(self, what: str) -> None:
        if not self.wrong:
            return
        summary = f"{self.wrong} of {self.good + self.wrong} {what}s left out ({'; '.join(self.examples)})"
        if not self.good:
            raise UnreadableFile(summary)
        self.context.note(summary)
