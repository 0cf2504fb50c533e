"""Asking a model for a format in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from genkit_rag._core.errors import invalid
from genkit_rag._core.registry import Registry
from genkit_rag._documents.part import Message, Part
from genkit_rag._generation.formats.base import Format
from genkit_rag._generation.formats.registered import find_format
from genkit_rag._generation.model import ModelAction, ModelRequest, model_supports

Instructions = bool | str | Callable[[dict[str, Any] | None], str | None] | None
"""The words that ask for the output, a function of the schema that gives them, False for none, the format's if None."""


def constrains(model: ModelAction, request: ModelRequest) -> bool:
    """Returns whether a model can be held to a schema in this request."""
    can = model_supports(model).get("constrained")
    return can == "all" or (can == "no-tools" and not request.tools)


def simulate_constrained(
    request: ModelRequest, instructions: Instructions = None, *, registry: Registry | None = None
) -> ModelRequest:
    """Returns a request that asks in words for what it would hold the model to, and no longer holds it to anything.

    A request that does not ask for constrained output comes back as it is.

    Args:
        request: What would go to the model.
        instructions: The words, a function of the JSON Schema that gives them, or False for none.
        registry: Where formats of the user's own are found.
    """
    output = request.output
    if output is None or not output.constrained:
        return request
    fmt = find_format(registry, output.format or "json")
    cleared = request.model_copy(update={"output": None})
    return inject_instructions(cleared, wished_words(fmt, output.schema_, instructions))


def wished_words(fmt: Format, schema: dict[str, Any] | None, instructions: Instructions) -> str | None:
    """Returns the words that ask for a format, None for none."""
    if instructions is False:
        return None
    if instructions is None or instructions is True:
        return fmt.instructions(schema)
    words = instructions(schema) if callable(instructions) else instructions
    if words is not None and not isinstance(words, str):
        raise invalid("output_instructions", words, "must be text, True, False or None")
    return words


def inject_instructions(request: ModelRequest, words: str | None) -> ModelRequest:
    """Returns the request with the words as a part of the purpose `output`; as it is if it has such a part.

    They take the place of a pending part of that purpose, else they end the system message, else the last user message.
    """
    if not words:
        return request
    messages = request.messages
    at, position = 0, None
    for number, message in enumerate(messages):
        for place, part in enumerate(message.content):
            metadata = part.metadata or {}
            if metadata.get("purpose") != "output":
                continue
            if not metadata.get("pending"):
                return request
            if position is None:
                at, position = number, place
    part = Part(text=words, metadata={"purpose": "output"})
    if position is not None:
        content = messages[at].content
        changed = _replaced(messages, at, [*content[:position], part, *content[position + 1 :]])
    else:
        changed = _appended(messages, part)
    return request.model_copy(update={"messages": changed})


def _appended(messages: list[Message], part: Part) -> list[Message]:
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
