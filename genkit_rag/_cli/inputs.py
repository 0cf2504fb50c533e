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
    """What was given and is no JSON; a text, perhaps."""

    text: str
    problem: str


@dataclass(frozen=True, slots=True)
class Scalar:
    """JSON that may have been meant as a text, such as 2024."""

    text: str
    value: Any


def read_input(given: str | None) -> Any:
    """Returns the JSON of an argument, of `@FILE` or of stdin (`-`); None for none.

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
    """Returns the text of a file; WrongUsage when it cannot be read."""
    try:
        return Path(name).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise WrongUsage(f"{name!r} cannot be read: {reason}.", hint="Check the path.") from error


def for_schema(given: Any, schema: Any) -> Any:
    """Returns the input for an action of this input schema: a text where it wants one.

    Raises WrongUsage for what is neither JSON nor wanted as text.
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
    """Returns the JSON object of an option; WrongUsage for anything else."""
    if given is None:
        return None
    value = read_input(given)
    if not isinstance(value, dict):
        raise WrongUsage(f"`{option}` is no JSON object.", hint=f"""For example: {option} '{{"user": "ada"}}'""")
    return value


def read_rows(name: str) -> list[Any]:
    """Returns the rows of a file, a JSON array or JSON Lines; of stdin for `-`."""
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
