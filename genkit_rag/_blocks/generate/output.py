"""Structured output: asking for JSON, natively or in words, and reading it leniently."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import chain, islice
from typing import Any

from genkit_rag._blocks.generate.options import GenerateOptions
from genkit_rag._blocks.model import FinishReason, ModelAction, ModelRequest, OutputConfig
from genkit_rag._blocks.part import Message, Part
from genkit_rag._core import schema
from genkit_rag._core.errors import GenkitError, invalid

_CONTENT_TYPES = {"json": "application/json", "text": "text/plain"}


def output_config(options: GenerateOptions) -> OutputConfig | None:
    """Returns what the request says of the output; None when nothing is asked for."""
    wished = options.output_format or ("json" if options.output_schema is not None else None)
    if wished is None:
        return None
    if wished not in _CONTENT_TYPES:
        raise invalid("output_format", wished, f"must be one of {', '.join(_CONTENT_TYPES)}")
    if wished == "text" and options.output_schema is not None:
        raise invalid("output_format", wished, "does not go with `output_schema`", hint="Leave one of them out.")
    is_json = wished == "json"
    return OutputConfig(
        format=wished,
        schema=_schema_of(options.output_schema),
        constrained=(options.output_constrained is not False) if is_json else None,
        content_type=options.output_content_type or _CONTENT_TYPES[wished],
    )


def _schema_of(tp: Any) -> dict[str, Any] | None:
    return schema.json_schema(tp) if tp is None or isinstance(tp, Mapping) else _schema_of_type(tp)


@functools.lru_cache(maxsize=256)
def _schema_of_type(tp: Any) -> dict[str, Any] | None:
    try:
        return schema.json_schema(tp)
    except Exception as error:
        raise invalid("output_schema", tp, f"has no JSON Schema ({error})") from error


def supports(model: ModelAction) -> Mapping[str, Any]:
    """Returns what a model says that it can do, in wire names."""
    return (model.metadata.get("model") or {}).get("supports") or {}


def fit_output(model: ModelAction, request: ModelRequest, instructions: bool | str | None) -> ModelRequest:
    """Returns the request as this model can serve it: output that it cannot constrain is asked for in words."""
    output = request.output
    if output is None or output.format != "json" or (output.constrained and _constrains(model, request)):
        return request
    update: dict[str, Any] = {}
    if output.constrained:
        update["output"] = None
    if instructions is not False:
        text = instructions if isinstance(instructions, str) else _instructions(output.schema_)
        update["messages"] = _with_instructions(request.messages, text)
    return request.model_copy(update=update)


def _constrains(model: ModelAction, request: ModelRequest) -> bool:
    can = supports(model).get("constrained")
    return can == "all" or (can == "no-tools" and not request.tools)


def _instructions(json_schema: Mapping[str, Any] | None) -> str:
    if json_schema is None:
        return "Answer with one JSON value and nothing else: no explanation, no code fence."
    return (
        "Answer with one JSON value that matches this JSON Schema and nothing else: no explanation, no code fence.\n"
        + json.dumps(json_schema, ensure_ascii=False)
    )


def _with_instructions(messages: list[Message], text: str) -> list[Message]:
    """Returns the messages with the instructions: for a pending part, else in the system or last user message."""
    part = Part(text=text, metadata={"purpose": "output"})
    for at, message in enumerate(messages):
        for position, old in enumerate(message.content):
            if (old.metadata or {}).get("purpose") == "output":
                if not (old.metadata or {}).get("pending"):
                    return messages
                return _replaced(messages, at, [*message.content[:position], part, *message.content[position + 1 :]])
    roles = [message.role for message in messages]
    if "system" in roles:
        at = roles.index("system")
    elif "user" in roles:
        at = len(roles) - 1 - roles[::-1].index("user")
    else:
        return [Message(role="system", content=[part]), *messages]
    return _replaced(messages, at, [*messages[at].content, part])


def _replaced(messages: list[Message], at: int, content: list[Part]) -> list[Message]:
    old = messages[at]
    return [*messages[:at], Message(role=old.role, content=content, metadata=old.metadata), *messages[at + 1 :]]


def output_parser(tp: Any, finish_reason: FinishReason | None) -> Callable[[str], Any]:
    """Returns what makes a value of a type (or JSON Schema) of an answer's text; see `parse_output`."""

    def parse(text: str) -> Any:
        try:
            return parse_output(text, tp)
        except GenkitError as error:
            if finish_reason == "length":
                error.hint = "The answer was cut off: raise `max_output_tokens`."
            raise

    return parse


def parse_output(text: str, tp: Any) -> Any:
    """Returns the first JSON value in a text that matches; the text itself where a string is wanted.

    The value may stand in a code fence or between other words. Broken or cut off JSON is not repaired, and no part of
    it is taken for the whole: INVALID_ARGUMENT, with the text in the details.
    """
    first: GenkitError | None = None
    wants_text = (_schema_of(tp) or {}).get("type") == "string"
    for value in chain(json_values(text), [text.strip()] if wants_text else []):
        try:
            return schema.parse(tp, value, "The answer")
        except GenkitError as error:
            first = first or error
    if first is None:
        first = GenkitError("INVALID_ARGUMENT", "The answer holds no JSON.",
                            hint="Use `.text`, or a model that supports constrained output.")  # fmt: skip
    first.details["text"] = text
    raise first


MAX_BROKEN = 100
"""How many beginnings of JSON that come to nothing are looked at: each costs time in proportion to the text."""

_START = re.compile(r"[{\[]")


def json_values(text: str) -> Iterator[Any]:
    """Yields JSON values: the whole text if it is one, else what fences hold, else every outermost object and array."""
    for piece in chain([text], islice(_fenced(text), MAX_BROKEN)):
        try:
            value = json.loads(piece.strip(), parse_constant=_refuse)
        except (ValueError, RecursionError):
            continue
        yield value
        if piece is text:
            return
    at = broken = 0
    while broken < MAX_BROKEN and (start := _START.search(text, at)) is not None:
        try:
            value, at = _decoder.raw_decode(text, start.start())
        except json.JSONDecodeError as error:
            # What was read had a key and a value, so it was meant as JSON: an object inside of it is not the answer.
            if ":" in text[start.start() : error.pos] or error.msg.startswith("Unterminated"):
                return
            at = max(error.pos, start.end())
            broken += 1
        except (ValueError, RecursionError):
            return
        else:
            yield value


def _fenced(text: str) -> Iterator[str]:
    """Yields what stands in code fences."""
    inside: list[str] | None = None
    for line in text.splitlines(keepends=True) if "```" in text else ():
        mark = line.strip()
        if inside is None:
            inside = [] if mark.startswith("```") else None
        elif mark == "```":
            yield "".join(inside)
            inside = None
        else:
            inside.append(line)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_refuse)
