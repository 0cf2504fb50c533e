"""The built-in formats, with the names, content types and defaults of Genkit."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._core.schema import JsonSchema
from genkit_rag._generation.formats.base import Format, Wanted
from genkit_rag._generation.formats.json_extraction import Lines, Values, array_items, partial_value
from genkit_rag._generation.formats.json_schemas import allowed_values, has_type, items_of, types_of

_ALONE = "and nothing else: no explanation, no code fence."
_END_OF_OBJECT = re.compile("}")
_END_OF_ITEM = re.compile(r'[}\],"el]')
"""A character in every chunk that completes an item; other chunks skip the parsing."""

_NO_JSON_HINT = "Use `.text`, or a model that supports constrained output."


class Json(Format):
    """A format for one JSON value."""

    name = "json"
    content_type = "application/json"
    constrained = True
    default_instructions = False

    def instructions(self, schema: JsonSchema | None, /) -> str:
        """Return the instructions."""
        if schema is None:
            return f"Answer with one JSON value {_ALONE}"
        return f"Answer with one JSON value that matches this JSON Schema {_ALONE}\n{_dumped(schema)}"

    def parse(self, text: str, wanted: Wanted, /) -> Any:
        """Return the first JSON value in the text that matches; the text itself if a string is expected.

        The value may be in a code fence or between other text. Malformed or cut off JSON is not repaired, and a part
        of it is never returned as the value.
        """
        values = Values(text)
        plain = [text.strip()] if types_of(wanted.schema) == {"string"} else []
        return _first_that_fits(chain(values, plain), wanted, values)

    def parse_chunk(self, text: str, previous: str, wanted: Wanted, /) -> Any:
        """Return the incomplete value."""
        types = types_of(wanted.schema)
        value = partial_value(text, lambda whole: _fits(whole, wanted), lambda begun: has_type(begun, types))
        return text.strip() or None if value is None and types == {"string"} else value


class Array(Format):
    """A format for one JSON array."""

    name = "array"
    content_type = "application/json"
    constrained = True

    def check_schema(self, schema: JsonSchema | None, /) -> None:
        """Raise INVALID_ARGUMENT unless the schema is that of an array."""
        if schema is not None and types_of(schema) != {"array"}:
            raise _unsupported_schema(self.name, "an array", "`list[Item]`")

    def instructions(self, schema: JsonSchema | None, /) -> str:
        """Return the instructions."""
        if schema is None:
            return f"Answer with one JSON array {_ALONE}"
        return f"Answer with one JSON array that matches this JSON Schema {_ALONE}\n{_dumped(schema)}"

    def parse(self, text: str, wanted: Wanted, /) -> Any:
        """Return the first JSON array in the text that matches, with the same tolerance as `json`."""
        values = Values(text)
        return _first_that_fits((value for value in values if isinstance(value, list)), wanted, values)

    def parse_chunk(self, text: str, previous: str, wanted: Wanted, /) -> list[Any]:
        """Return the items that were completed since `previous`."""
        types = types_of(items_of(wanted.schema), wanted.schema)
        ends = _END_OF_OBJECT if types == {"object"} else _END_OF_ITEM
        if ends.search(text, len(previous)) is None:
            return []
        items = array_items(text, lambda item: has_type(item, types))
        return [item for item, whole_at in items if whole_at > len(previous)]


class JsonLines(Format):
    """A format for JSON Lines, one object per line."""

    name = "jsonl"
    content_type = "application/jsonl"

    def check_schema(self, schema: JsonSchema | None, /) -> None:
        """Raise INVALID_ARGUMENT unless the schema is that of an array of objects."""
        if schema is not None and (types_of(schema) != {"array"} or types_of(items_of(schema), schema) != {"object"}):
            raise _unsupported_schema(self.name, "an array of objects", "`list[Item]`")

    def instructions(self, schema: JsonSchema | None, /) -> str:
        """Return the instructions."""
        words = (
            "Answer with JSON Lines and nothing else: one JSON object a line, no array around them, no explanation, "
            "no code fence."
        )
        items = items_of(schema)
        return f"{words} Every object matches this JSON Schema:\n{_dumped(items)}" if items else words

    def parse(self, text: str, wanted: Wanted, /) -> Any:
        """Return the objects that begin a line and skip other lines; a malformed object raises INVALID_ARGUMENT."""
        lines = Lines(text)
        values = [value for value, _ in lines]
        if lines.broken is not None:
            raise GenkitError(
                "INVALID_ARGUMENT", f"{_line_of(text, lines.broken)} of the answer is malformed or incomplete JSON."
            )
        if not values and text.strip():
            raise GenkitError("INVALID_ARGUMENT", "The answer contains no JSON Lines.", hint=_NO_JSON_HINT)
        return wanted.check(values)

    def parse_chunk(self, text: str, previous: str, wanted: Wanted, /) -> list[Any]:
        """Return the objects that were completed since `previous`."""
        if _END_OF_OBJECT.search(text, len(previous)) is None:
            return []
        return [value for value, end in Lines(text) if end > len(previous)]


class Enum(Format):
    """A format for one of several strings."""

    name = "enum"
    content_type = "text/enum"
    constrained = True

    def check_schema(self, schema: JsonSchema | None, /) -> None:
        """Raise INVALID_ARGUMENT unless the schema is that of strings."""
        if schema is None:
            return
        are_strings = all(isinstance(value, str) for value in allowed_values(schema))
        if types_of(schema) not in ({"string"}, {"enum"}) or not are_strings:
            raise _unsupported_schema(self.name, "a string", "an `enum.Enum` of strings or `Literal['a', 'b']`")

    def instructions(self, schema: JsonSchema | None, /) -> str | None:
        """Return the instructions with the allowed values."""
        values = allowed_values(schema)
        if not values:
            return None
        listed = "\n".join(str(value) for value in values)
        return f"Answer with exactly one of these values and nothing else: no quotes, no explanation.\n{listed}"

    def parse(self, text: str, wanted: Wanted, /) -> Any:
        """Return the value without surrounding quotes and white space."""
        values = allowed_values(wanted.schema)
        value = text.strip() if text.strip() in values else _unquoted(text.strip())
        if values and value not in values:
            problem = f"must be one of {', '.join(f'`{known}`' for known in values)}"
            raise GenkitError(
                "INVALID_ARGUMENT",
                f"The answer {problem}, got {value!r:.100}.",
                hint=_NO_JSON_HINT,
                details={"problems": [{"path": "$", "problem": problem}]},
            )
        # Genkit's type `enum` is not part of JSON Schema.
        return value if types_of(wanted.schema) == {"enum"} else wanted.check(value)

    def parse_chunk(self, text: str, previous: str, wanted: Wanted, /) -> str | None:
        """Return the text so far without quotes; the value is validated at the end."""
        return _stripped(text) or None


class Text(Format):
    """A format for plain text."""

    name = "text"
    content_type = "text/plain"

    def check_schema(self, schema: JsonSchema | None, /) -> None:
        """Raise INVALID_ARGUMENT for any schema."""
        if schema is not None:
            raise invalid(
                "output_format", self.name, "cannot be combined with `output_schema`", hint="Omit one of them."
            )

    def parse(self, text: str, wanted: Wanted, /) -> str:
        """Return the text."""
        return text

    def parse_chunk(self, text: str, previous: str, wanted: Wanted, /) -> str:
        """Return the text of the chunk."""
        return text[len(previous) :]


BUILT_IN: Mapping[str, Format] = {fmt.name: fmt for fmt in (Json(), Array(), JsonLines(), Enum(), Text())}
"""The built-in formats by name."""


def _first_that_fits(candidates: Iterator[Any], wanted: Wanted, values: Values) -> Any:
    first: GenkitError | None = None
    for value in candidates:
        try:
            return wanted.check(value)
        except GenkitError as error:
            first = first or error
    if first is None:
        broken = values.broken
        where = "" if broken is None else f": the value at character {broken} is malformed or incomplete"
        first = GenkitError("INVALID_ARGUMENT", f"The answer contains no valid JSON{where}.", hint=_NO_JSON_HINT)
    raise first


def _fits(value: Any, wanted: Wanted) -> bool:
    try:
        wanted.check(value)
    except GenkitError:
        return False
    return True


def _unquoted(text: str) -> str:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    return value.strip() if isinstance(value, str) else _stripped(text)


def _stripped(text: str) -> str:
    return text.strip().strip("\"'`").strip()


def _line_of(text: str, at: int) -> str:
    return f"Line {text.count(chr(10), 0, at) + 1}"


def _unsupported_schema(name: str, what: str, example: str) -> GenkitError:
    return GenkitError(
        "INVALID_ARGUMENT",
        f"The format `{name}` requires an `output_schema` that is {what}.",
        hint=f"Pass {example}, or omit `output_format` for JSON.",
        details={"argument": "output_schema"},
    )


def _dumped(schema: JsonSchema) -> str:
    return json.dumps(schema, ensure_ascii=False)
