"""JSON that is given on the command line: as text, in a file, or on stdin."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genkit_rag._cli.failures import WrongUsage


@dataclass(frozen=True, slots=True)
class NotJson:
    """An input that is not JSON; possibly a text."""

    text: str
    problem: str


@dataclass(frozen=True, slots=True)
class Scalar:
    """JSON that may have been intended as a text, such as 2024."""

    text: str
    value: Any


def read_input(given: str | None) -> Any:
    """Parse the JSON of an argument, of `@FILE` or of stdin (`-`); None for no input.

    What may be a text is decided by `for_schema`.
    """
    if given is None:
        return None
    text = sys.stdin.read() if given == "-" else read_file(given[1:]) if given.startswith("@") else given
    try:
        value = json.loads(text)
    except ValueError as error:
        return NotJson(text, str(error))
    return value if isinstance(value, dict | list | str) else Scalar(text.strip(), value)


def read_file(name: str) -> str:
    """Read the text of a file; WrongUsage if that fails."""
    try:
        return Path(name).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise WrongUsage(f"{name!r} cannot be read: {reason}.", hint="Check the path.") from error


def for_schema(given: Any, schema: Any) -> Any:
    """Convert an input for an action's schema: a text if the schema wants one.

    Raises:
        WrongUsage: It is not JSON, and the schema wants no text.
    """
    wants_text = isinstance(schema, Mapping) and schema.get("type") == "string"
    if isinstance(given, NotJson):
        if not wants_text:
            raise WrongUsage(
                f"The input is not JSON: {given.problem}.",
                hint=f"A text is written in quotes: {json.dumps(given.text.strip()[:40])!r}",
            )
        return given.text
    if isinstance(given, Scalar):
        return given.text if wants_text else given.value
    return given


def json_object(given: str | None, option: str) -> dict[str, Any] | None:
    """Parse the JSON object of an option; WrongUsage for anything else."""
    if given is None:
        return None
    value = read_input(given)
    if not isinstance(value, dict):
        raise WrongUsage(f"`{option}` is no JSON object.", hint=f"""For example: {option} '{{"user": "ada"}}'""")
    return value


def read_rows(name: str) -> list[Any]:
    """Read the rows of a file, a JSON array or JSON Lines; of stdin for `-`."""
    text = sys.stdin.read() if name == "-" else read_file(name)
    try:
        whole = json.loads(text)
    except ValueError:
        return _lines(name, text)
    return whole if isinstance(whole, list) else [whole]


def _lines(name: str, text: str) -> list[Any]:
    rows: list[Any] = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                raise WrongUsage(
                    f"{name!r} is neither a JSON array nor JSON Lines: line {number}: {error}.",
                    hint="Write one input a line, or a list of them.",
                ) from error
    return rows
