"""The formats that are always there; names, content types and defaults are Genkit's, the words are ours."""

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
"""What a chunk that completes an item holds: most hold none, and all that came before needs no second look."""

_NO_JSON_HINT = "Use `.text`, or a model that supports constrained output."


class Json(Format):
    """One JSON value."""

    name = "json"
    content_type = "application/json"
    constrained = True
    default_instructions = False

    def instructions(self, schema: JsonSchema | None, /) -> str:
        """Returns the words."""
        if schema is None:
            return f"Answer with one JSON value {_ALONE}"
        return f"Answer with one JSON value that matches this JSON Schema {_ALONE}\n{_dumped(schema)}"

    def parse(self, text: str, wanted: Wanted, /) -> Any:
        """Returns the first JSON value in the text that matches; the text itself where a string is wanted.

        The value may stand in a code fence or between other words. Broken or cut off JSON is not repaired, and no part
        of it is taken for the whole.
        """
        values = Values(text)
        plain = [text.strip()] if types_of(wanted.schema) == {"string"} else []
        return _first_that_fits(chain(values, plain), wanted, values)

    def parse_chunk(self, text: str, previous: str, wanted: Wanted, /) -> Any:
        """Returns the value as far as it has been written."""
        types = types_of(wanted.schema)
        value = partial_value(text, lambda whole: _fits(whole, wanted), lambda begun: has_type(begun, types))
        return text.strip() or None if value is None and types == {"string"} else value


class Array(Format):
    """One JSON array."""

    name = "array"
    content_type = "application/json"
    constrained = True

    def check_schema(self, schema: JsonSchema | None, /) -> None:
        """Raises INVALID_ARGUMENT unless the schema is that of an array."""
        if schema is not None and types_of(schema) != {"array"}:
            raise _wrong_schema(self.name, "an array", "`list[Item]`")

    def instructions(self, schema: JsonSchema | None, /) -> str:
        """Returns the words."""
        if schema is None:
            return f"Answer with one JSON array {_ALONE}"
        return f"Answer with one JSON array that matches this JSON Schema {_ALONE}\n{_dumped(schema)}"

    def parse(self, text: str, wanted: Wanted, /) -> Any:
        """Returns the first JSON array in the text that matches; as lenient as `json`."""
        values = Values(text)
        return _first_that_fits((value for value in values if isinstance(value, list)), wanted, values)

    def parse_chunk(self, text: str, previous: str, wanted: Wanted, /) -> list[Any]:
        """Returns the items that became whole since `previous`."""
        types = types_of(items_of(wanted.schema), wanted.schema)
        ends = _END_OF_OBJECT if types == {"object"} else _END_OF_ITEM
        if ends.search(text, len(previous)) is None:
            return []
        items = array_items(text, lambda item: has_type(item, types))
        return [item for item, whole_at in items if whole_at > len(previous)]


class JsonLines(Format):
    """JSON objects, one a line."""

    name = "jsonl"
    content_type = "application/jsonl"

    def check_schema(self, schema: JsonSchema | None, /) -> None:
        """Raises INVALID_ARGUMENT unless the schema is that of an array of objects."""
        if schema is not None and (types_of(schema) != {"array"} or types_of(items_of(schema), schema) != {"object"}):
            raise _wrong_schema(self.name, "an array of objects", "`list[Item]`")

    def instructions(self, schema: JsonSchema | None, /) -> str:
        """Returns the words."""
        words = (
            "Answer with JSON Lines and nothing else: one JSON object a line, no array around them, no explanation, "
            "no code fence."
        )
        items = items_of(schema)
        return f"{words} Every object matches this JSON Schema:\n{_dumped(items)}" if items else words

    def parse(self, text: str, wanted: Wanted, /) -> Any:
        """Returns the objects that begin a line; other lines are passed over. One that is broken spoils the answer."""
        lines = Lines(text)
        values = [value for value, _ in lines]
        if lines.broken is not None:
            raise GenkitError(
                "INVALID_ARGUMENT", f"{_line_of(text, lines.broken)} of the answer is broken or cut off JSON."
            )
        if not values and text.strip():
            raise GenkitError("INVALID_ARGUMENT", "The answer holds no JSON Lines.", hint=_NO_JSON_HINT)
        return wanted.check(values)

    def parse_chunk(self, text: str, previous: str, wanted: Wanted, /) -> list[Any]:
        """Returns the objects that became whole since `previous`."""
        if _END_OF_OBJECT.search(text, len(previous)) is None:
            return []
        return [value for value, end in Lines(text) if end > len(previous)]


class Enum(Format):
    """One of several strings."""

    name = "enum"
    content_type = "text/enum"
    constrained = True

    def check_schema(self, schema: JsonSchema | None, /) -> None:
        """Raises INVALID_ARGUMENT unless the schema is that of strings."""
        if schema is None:
            return
        are_strings = all(isinstance(value, str) for value in allowed_values(schema))
        if types_of(schema) not in ({"string"}, {"enum"}) or not are_strings:
            raise _wrong_schema(self.name, "a string", "an `enum.Enum` of strings or `Literal['a', 'b']`")

    def instructions(self, schema: JsonSchema | None, /) -> str | None:
        """Returns the words, with the values."""
        values = allowed_values(schema)
        if not values:
            return None
        listed = "\n".join(str(value) for value in values)
        return f"Answer with exactly one of these values and nothing else: no quotes, no explanation.\n{listed}"

    def parse(self, text: str, wanted: Wanted, /) -> Any:
        """Returns the value; quotes and white space around it do not matter."""
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
        # Genkit's own type `enum` is not of JSON Schema.
        return value if types_of(wanted.schema) == {"enum"} else wanted.check(value)

    def parse_chunk(self, text: str, previous: str, wanted: Wanted, /) -> str | None:
        """Returns the text so far without quotes; whether it is one of the values shows at the end."""
        return _stripped(text) or None


class Text(Format):
    """Text as it is."""

    name = "text"
    content_type = "text/plain"

    def check_schema(self, schema: JsonSchema | None, /) -> None:
        """Raises INVALID_ARGUMENT for any schema."""
        if schema is not None:
            raise invalid("output_format", self.name, "does not go with `output_schema`", hint="Leave one of them out.")

    def parse(self, text: str, wanted: Wanted, /) -> str:
        """Returns the text."""
        return text

    def parse_chunk(self, text: str, previous: str, wanted: Wanted, /) -> str:
        """Returns the chunk's own text."""
        return text[len(previous) :]


BUILT_IN: Mapping[str, Format] = {fmt.name: fmt for fmt in (Json(), Array(), JsonLines(), Enum(), Text())}
"""The formats that need no registration, by name."""


def _first_that_fits(candidates: Iterator[Any], wanted: Wanted, values: Values) -> Any:
    first: GenkitError | None = None
    for value in candidates:
        try:
            return wanted.check(value)
        except GenkitError as error:
            first = first or error
    if first is None:
        broken = values.broken
        where = "" if broken is None else f": what begins at character {broken} is broken or cut off"
        first = GenkitError("INVALID_ARGUMENT", f"The answer holds no JSON{where}.", hint=_NO_JSON_HINT)
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


def _wrong_schema(name: str, what: str, example: str) -> GenkitError:
    return GenkitError(
        "INVALID_ARGUMENT",
        f"The format `{name}` needs an `output_schema` that is {what}.",
        hint=f"Pass {example}, or leave `output_format` out for JSON.",
        details={"argument": "output_schema"},
    )


def _dumped(schema: JsonSchema) -> str:
    return json.dumps(schema, ensure_ascii=False)
