"""Instructions that ask a model for a format."""

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
"""The instructions, a function of the schema that returns them, False for none, or None for the format's."""


def constrains(model: ModelAction, request: ModelRequest) -> bool:
    """Return whether the model supports constrained output for this request."""
    can = model_supports(model).get("constrained")
    return can == "all" or (can == "no-tools" and not request.tools)


def simulate_constrained(
    request: ModelRequest, instructions: Instructions = None, *, registry: Registry | None = None
) -> ModelRequest:
    """Replace constrained output in the request by instructions.

    A request without constrained output is returned unchanged.

    Args:
        request: The request for the model.
        instructions: The instructions, a function of the JSON Schema that returns them, or False for none.
        registry: The registry of custom formats.
    """
    output = request.output
    if output is None or not output.constrained:
        return request
    fmt = find_format(registry, output.format or "json")
    cleared = request.model_copy(update={"output": None})
    return inject_instructions(cleared, resolve_instructions(fmt, output.schema_, instructions))


def resolve_instructions(fmt: Format, schema: dict[str, Any] | None, instructions: Instructions) -> str | None:
    """Return the text of the instructions; None for none."""
    if instructions is False:
        return None
    if instructions is None or instructions is True:
        return fmt.instructions(schema)
    words = instructions(schema) if callable(instructions) else instructions
    if words is not None and not isinstance(words, str):
        raise invalid("output_instructions", words, "must be text, True, False or None")
    return words


def inject_instructions(request: ModelRequest, words: str | None) -> ModelRequest:
    """Insert the instructions as a part with the purpose `output`, unless the request has such a part.

    They replace a pending part with that purpose, else they are appended to the system message or the last user
    message.
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
