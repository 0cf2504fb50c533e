"""Parsing `.prompt` files into front matter and template."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from genkit_rag._core.errors import GenkitError

_BREAK = re.compile(r"\r\n|\r|\n")
_DELIMITER = re.compile(r"---[ \t]*")


class _Fields(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", defer_build=True)


class InputFields(_Fields):
    """The fields of `input:`."""

    schema_: Any = Field(default=None, alias="schema")
    default: dict[str, Any] | None = None


class OutputFields(_Fields):
    """The fields of `output:`."""

    format: str | None = None
    schema_: Any = Field(default=None, alias="schema")
    content_type: str | None = None
    constrained: bool | None = None
    instructions: bool | str | None = None


class UseFields(_Fields):
    """An item of `use:` with a configuration."""

    model_config = ConfigDict(extra="forbid")

    name: str
    config: dict[str, Any] | None = None


class FrontMatter(_Fields):
    """The front matter of a prompt file, by the field names of the format."""

    model: str | None = None
    config: dict[str, Any] | None = None
    input: InputFields = InputFields()
    output: OutputFields = OutputFields()
    tools: list[str] | None = None
    tool_choice: Literal["auto", "required", "none"] | None = None
    max_turns: int | None = Field(default=None, ge=0)
    return_tool_requests: bool | None = None
    docs: list[str] | None = None
    use: list[str | UseFields] | None = None
    description: str | None = None
    metadata: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class PromptSource:
    """A parsed `.prompt` file.

    Attributes:
        where: The file, or another name for error messages.
        fields: The front matter.
        template: The text below the front matter, stripped; the whole text without front matter.
        line: The line in which the template begins.
        raw: The unvalidated front matter.
        ext: The keys with dots: `acme.owner` is in `{"acme": {"owner": ...}}`.
        schema_line: The lines of the schemas, by `input` and `output`.
    """

    where: str
    fields: FrontMatter
    template: str
    line: int
    raw: dict[str, Any]
    ext: dict[str, dict[str, Any]]
    schema_line: dict[str, int]


def parse_source(source: str, where: str) -> PromptSource:
    """Parse a `.prompt` file.

    Blank lines and lines that begin with `#` are allowed above the front matter. A byte order mark is removed; line
    ends may be CRLF.

    Raises:
        GenkitError: INVALID_ARGUMENT with the place, the line and the field.
    """
    source = source.removeprefix("\ufeff")
    found = _split(source, where)
    if found is None:
        return PromptSource(where, FrontMatter(), source, 1, {}, {}, {})
    front, first, body, body_line = found
    raw, lines = _load(front, where, first)
    try:
        fields = FrontMatter.model_validate({key: value for key, value in raw.items() if value is not None})
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
        path = problem["loc"]
        line = next((lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in lines), 0)
        field = ".".join(str(step) for step in path)
        raise _invalid(where, first + line, f"`{field}`: {problem['msg']}", field) from error
    schema_line = {key: first + lines[(key, "schema")] for key in ("input", "output") if (key, "schema") in lines}
    blank = len(body) - len(body.lstrip())
    line = body_line + len(_BREAK.findall(body[:blank]))
    return PromptSource(where, fields, body.strip(), line, raw, _extensions(raw), schema_line)


def _split(source: str, where: str) -> tuple[str, int, str, int] | None:
    """Split into front matter and body, each with its first line; None without front matter."""
    ends = [match.span() for match in _BREAK.finditer(source)]
    starts = [0, *(end for _, end in ends)]
    stops = [*(start for start, _ in ends), len(source)]
    opening: int | None = None
    for number, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        line = source[start:stop]
        if _DELIMITER.fullmatch(line):
            if opening is not None:
                front = source[starts[opening + 1] : start]
                body_start = starts[number + 1] if number + 1 < len(starts) else len(source)
                return front, opening + 2, source[body_start:], number + 2
            opening = number
        elif opening is None and line.strip() and not line.startswith("#"):
            return None
    if opening is None:
        return None
    raise _invalid(where, opening + 1, "the front matter is not closed by a line `---`", None)


def _load(front: str, where: str, first: int) -> tuple[dict[str, Any], dict[tuple[str | int, ...], int]]:
    from genkit_rag._generation.prompt.yaml_loader import YamlProblem, load

    try:
        raw, lines = load(front)
    except YamlProblem as error:
        raise _invalid(where, first + error.line, f"the front matter is invalid: {error.problem}", None) from error
    if raw is None:
        return {}, lines
    if not isinstance(raw, dict):
        raise _invalid(where, first, "the front matter must be an object of fields", None)
    return cast("dict[str, Any]", raw), lines


def _extensions(raw: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for key, value in raw.items():
        space, dot, name = key.rpartition(".")
        if dot:
            found.setdefault(space, {})[name] = value
    return found


def _invalid(where: str, line: int, problem: str, field: str | None) -> GenkitError:
    return GenkitError(
        "INVALID_ARGUMENT",
        f"{where}, line {line}: {problem}.",
        hint="The reference of prompt files lists all fields and their values.",
        details={"source": where, "line": line, **({"argument": field} if field else {})},
    )
