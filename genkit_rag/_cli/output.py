"""Output of the command: data on stdout, messages on stderr, without foreign control characters."""

from __future__ import annotations

import json
import os
import re
import sys
from functools import cached_property
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.text import Text

LINE_SECONDS = 10.0
"""How often a command says how far it is, where no terminal shows it."""

PIPE_WIDTH = 100
"""The width of tables where no terminal says how wide it is."""

# Control characters (all but tab and line feed), marks that reorder or hide text, and lone surrogates.
_UNSAFE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb"
    r"\U000e0000-\U000e007f\ud800-\udfff]"
)


def clean(text: str) -> str:
    """Replace control characters by visible ones and hidden marks by U+FFFD, so that a text cannot control a terminal.

    Everything that comes from documents, models, file names or servers passes through here before it is printed.
    """
    return _UNSAFE.sub(_picture, text)


def one_line(text: str) -> str:
    """Clean a text and join its lines and white space."""
    return " ".join(clean(text).split())


def to_json(value: Any, *, indent: int | None = 2) -> str:
    """Format JSON with readable letters; escape characters that could control a terminal."""
    text = json.dumps(value, ensure_ascii=False, indent=indent, default=str)
    return _UNSAFE.sub(_escape, text)


def _picture(found: re.Match[str]) -> str:
    character = found[0]
    if character == "\r":
        return ""
    code = ord(character)
    return chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else "\ufffd"


def _escape(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


class Output:
    """The two streams of a command.

    Args:
        json: Whether stdout gets one JSON object instead of text for people.
    """

    def __init__(self, *, json: bool = False) -> None:
        self.json = json

    @cached_property
    def stdout(self) -> Console:
        """Where results go that are for people."""
        return _console(sys.stdout)

    @cached_property
    def stderr(self) -> Console:
        """Where everything else goes."""
        return _console(sys.stderr)

    @property
    def live(self) -> bool:
        """Whether lines on stderr can be redrawn, as a progress bar does."""
        return sys.stderr.isatty() and not _is_plain()

    def data(self, value: Any) -> None:
        """Print a JSON object on stdout."""
        sys.stdout.write(to_json(value) + "\n")

    def row(self, value: Any) -> None:
        """Print a JSON value on one line of stdout and flush."""
        sys.stdout.write(to_json(value, indent=None) + "\n")
        sys.stdout.flush()

    def show(self, text: Text, *, indent: int = 0) -> None:
        """Print a rich text, already cleaned, on stdout.

        Lines are wrapped on a terminal only.
        """
        if indent and self.stdout.is_terminal:
            from rich.padding import Padding

            self.stdout.print(Padding(text, (0, 0, 0, indent)))
        else:
            self.stdout.print(" " * indent, text, sep="", soft_wrap=True)

    def result(self, data: Any, line: str) -> None:
        """Print the data if JSON was requested, otherwise the line, on stdout."""
        if self.json:
            self.data(data)
        else:
            self.line(line)

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a cleaned table on stdout, without a header of empty names. Cells are folded on a terminal only."""
        cells = [[clean(cell) for cell in row] for row in ([heads, *rows] if any(heads) else rows)]
        if not self.stdout.is_terminal:
            widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
            for row in cells:
                padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
                self.line("  ".join(padded).rstrip())
            return
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
        table.add_column(style="bold")
        for number, row in enumerate(cells):
            table.add_row(*(Text(cell) for cell in row), style="bold" if number == 0 and any(heads) else "")
        self.stdout.print(table)

    def line(self, text: str) -> None:
        """Print a cleaned line on stdout."""
        sys.stdout.write(clean(text) + "\n")

    def write(self, text: str) -> None:
        """Print a cleaned piece of text on stdout without a line end, and flush."""
        sys.stdout.write(clean(text))
        sys.stdout.flush()

    def redraw(self, text: str, end: str = "") -> None:
        """Print a cleaned text on stderr over the current line."""
        sys.stderr.write(f"\r\x1b[2K{clean(text)}{end}")
        sys.stderr.flush()

    def say(self, text: str) -> None:
        """Print a cleaned line on stderr."""
        sys.stderr.write(clean(text) + "\n")
        sys.stderr.flush()


def replace_closed_streams() -> None:
    """Open the null device for closed standard streams (`>&-`)."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - open until the end


def tolerate_any_encoding() -> None:
    """Make the standard streams write `?` for characters that their encoding lacks, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def _console(stream: TextIO) -> Console:
    from rich.console import Console

    styled = not _is_plain() and (stream.isatty() or bool(os.environ.get("FORCE_COLOR")))
    fixed = None if stream.isatty() or os.environ.get("COLUMNS") else PIPE_WIDTH
    return Console(
        file=stream,
        force_terminal=styled,
        color_system="auto" if styled else None,
        width=fixed,
        markup=False,
        highlight=False,
        emoji=False,
    )


def _is_plain() -> bool:
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") in ("dumb", "unknown")
