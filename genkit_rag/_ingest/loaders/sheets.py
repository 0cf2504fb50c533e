"""Spreadsheets by python-calamine, streamed from a separate process: one section per row."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from genkit_rag._core.errors import require_extra
from genkit_rag._ingest.loaders import _sheet_reader
from genkit_rag._ingest.loaders.guard import Budget, open_zip, readable, storable
from genkit_rag._ingest.loaders.members import member_context
from genkit_rag._ingest.loaders.rows import row_section
from genkit_rag._ingest.section import LoadContext, LoadLimits, Section, UnreadableFile

_KIND = "a spreadsheet"
_CPU_SECONDS = 600
_OWN = ("sheet", "row")


def load_sheets(path: Path, context: LoadContext) -> Iterator[Section]:
    """Yield each row as `column: value` lines with its cells, `sheet` and `row` (as programs show it) as metadata.

    The first row of a sheet that is not empty names its columns. Of merged cells the first has the value.
    """
    require_extra("office", "python_calamine")
    if path.suffix.lower() != ".xls":
        _check_size(path, context.limits, member_context(context, path).budget)
    sheet = ""
    names: list[str] = []
    long = 0
    with _reader(path, context.limits) as lines:
        for row in _rows(lines, context.limits):
            if row is None:
                long += 1
            elif len(row) == 1:
                sheet, names = storable(row[0]), []
            elif not names:
                names = _names(row[1])
            else:
                yield _section(sheet, row[0], names, row[1])
    if long:
        context.note(f"{long} rows left out: longer than max_row_characters={context.limits.max_row_characters:,}")


def _check_size(path: Path, limits: LoadLimits, budget: Budget) -> None:
    with readable(_KIND), open_zip(path, _KIND, limits) as archive:
        budget.spend(sum(entry.file_size for entry in archive.infolist()))


@contextmanager
def _reader(path: Path, limits: LoadLimits) -> Generator[IO[bytes]]:
    """Run the process that reads the file and yield its output; it ends with the block."""
    script = str(Path(_sheet_reader.__file__))
    # -P: the script's folder is not searched for modules, whose names are those of libraries.
    command = [sys.executable, "-P", script, str(path.absolute()), str(limits.max_memory_bytes), str(_CPU_SECONDS)]
    process = subprocess.Popen(  # noqa: S603 (our own script)
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    try:
        with process.stdout:
            yield process.stdout
    finally:
        process.kill()
        process.wait()


def _rows(lines: IO[bytes], limits: LoadLimits) -> Iterator[list[Any] | None]:
    """Yield `[sheet]` and `[number, cells]`, None for a row that is too long."""
    limit = limits.max_row_characters
    while line := lines.readline(limit):
        if not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = lines.readline(limit)
            yield None
            continue
        row: Any = json.loads(line)
        if isinstance(row, dict):
            raise UnreadableFile(str(row["error"]))
        if not row:
            return
        yield row
    raise UnreadableFile(f"it needs more than max_memory_bytes={limits.max_memory_bytes:,} to be read, or is damaged")


def _names(cells: list[Any]) -> list[str]:
    names: list[str] = []
    for number, cell in enumerate(cells, 1):
        name = " ".join(str(storable(cell)).split()) or f"column_{number}"
        names.append(f"{name}_{number}" if name in names else name)
    return names


def _section(sheet: str, number: int, names: list[str], cells: list[Any]) -> Section:
    values = {name: storable(cell) for name, cell in zip(names, cells, strict=False) if cell not in ("", None)}
    text = "\n".join(f"{name}: {value}" for name, value in values.items())
    own = {f"{name}_" if name in _OWN else name: value for name, value in values.items()}
    section = row_section(text, own)
    section.key = f"{sheet}\0{section.key}"
    section.metadata |= {"sheet": sheet, "row": number}
    return section
