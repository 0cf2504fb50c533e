"""Print the rows of a spreadsheet as JSON lines; runs as a separate process.

The library allocates the whole rectangle around a sheet's cells: a file of one kilobyte can request half a terabyte,
and a failed allocation ends the process.
"""

from __future__ import annotations

import json
import sys
from datetime import date, datetime, time, timedelta


def plain(value: object) -> object:
    """Convert a cell's value to JSON: dates and times in ISO 8601, whole floats as integers."""
    if isinstance(value, datetime) and value.time() == time():
        return value.date().isoformat()
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


def _write(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")


def limit_resources(memory: int, seconds: int) -> None:
    """Bounds the process where the system can."""
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main(path: str, memory: int, seconds: int) -> None:
    """Print `[sheet name]` for each sheet and `[number, [cells]]` for each non-empty row, then `[]`."""
    limit_resources(memory, seconds)
    from python_calamine import CalamineError, CalamineWorkbook, PasswordError, SheetTypeEnum, XmlError, ZipError

    try:
        with CalamineWorkbook.from_path(path) as workbook:
            for sheet in workbook.sheets_metadata:
                if sheet.typ is not SheetTypeEnum.WorkSheet:
                    continue
                _write([sheet.name])
                rows = workbook.get_sheet_by_name(sheet.name)
                for number, row in enumerate(rows.iter_rows(), 1):
                    if any(cell not in ("", None) for cell in row):
                        _write([number, [plain(cell) for cell in row]])
        _write([])
    except PasswordError:
        _write({"error": "protected by a password: save a copy without it"})
    except (CalamineError, ZipError, XmlError, ValueError, OverflowError) as error:
        _write({"error": f"damaged or not a spreadsheet ({error})"})


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
