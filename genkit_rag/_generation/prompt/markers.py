"""Splitting a rendered text into messages: roles, history, sections and media.

A helper such as `{{role "system"}}` writes a marker with a random number of this rendering into the text. No input can
contain such a marker, so no input can inject a message.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from genkit_rag._core.errors import invalid
from genkit_rag._documents.part import Media, Message, Part, Role


@dataclass(frozen=True, slots=True)
class RoleMark:
    """The start of text of another role."""

    role: Role


@dataclass(frozen=True, slots=True)
class HistoryMark:
    """The place of the conversation so far."""


Mark = RoleMark | HistoryMark | Part
_FENCE = "\ue000"
ROLES: tuple[Role, ...] = get_args(Role)


class Markers:
    """The markers of one rendering."""

    def __init__(self) -> None:
        # Digits only, so that a helper that changes the case of a block's text does not change them.
        self._token = str(secrets.randbits(128))
        self._marks: list[Mark] = []

    def put(self, mark: Mark) -> str:
        """Store a mark and return the text that represents it."""
        self._marks.append(mark)
        return f"{_FENCE}{self._token}:{len(self._marks) - 1}{_FENCE}"

    def split(self, text: str) -> list[str | Mark]:
        """Split a text into the pieces between the marks, and the marks, in order."""
        first, *rest = text.split(f"{_FENCE}{self._token}:")
        pieces: list[str | Mark] = [first]
        for piece in rest:
            number, _, after = piece.partition(_FENCE)
            pieces += [self._marks[int(number)], after]
        return pieces

    def role(self, args: list[Any], _options: Any) -> str:
        """Handle `{{role "system"}}`."""
        name = str(args[0]) if args else ""
        if name not in ROLES:
            raise invalid("role", name, f"must be one of {', '.join(ROLES)}", hint='Write {{role "user"}}.')
        return self.put(RoleMark(name))

    def history(self, _args: list[Any], _options: Any) -> str:
        """Handle `{{history}}`."""
        return self.put(HistoryMark())

    def section(self, args: list[Any], _options: Any) -> str:
        """Handle `{{section "context"}}`, a pending part that is replaced later."""
        if not args or not str(args[0]):
            raise invalid("section", None, "needs a name", hint='Write {{section "context"}}.')
        return self.put(Part(metadata={"purpose": str(args[0]), "pending": True}))

    def media(self, _args: list[Any], options: Any) -> str:
        """Handle `{{media url=image contentType="image/png"}}`; empty without a URL."""
        url, content_type = options.hash_value("url"), options.hash_value("contentType")
        if not url:
            return ""
        return self.put(Part(media=Media(url=str(url), content_type=str(content_type) if content_type else None)))


@dataclass(slots=True)
class Assembly:
    """The messages of a rendering; `has_history` tells whether a template has inserted the conversation."""

    messages: list[Message] = field(default_factory=list[Message])
    has_history: bool = False


def assemble(pieces: Iterable[str | Mark], history: Sequence[Message], first: Role = "user") -> Assembly:
    """Build the messages of a rendered template; blank text between two marks is dropped.

    Args:
        pieces: The result of `Markers.split`.
        history: The conversation so far.
        first: The role before the first role mark.
    """
    made = Assembly()
    role: Role = first
    content: list[Part] = []

    def close() -> None:
        if content:
            made.messages.append(Message(role=role, content=list(content)))
            content.clear()

    for piece in pieces:
        if isinstance(piece, RoleMark):
            close()
            role = piece.role
        elif isinstance(piece, HistoryMark):
            close()
            made.messages += [as_history(message) for message in history]
            made.has_history = True
            role = "model"
        elif isinstance(piece, Part):
            content.append(piece)
        elif piece.strip():
            content.append(Part(text=piece))
    close()
    return made


def as_history(message: Message) -> Message:
    """Return a copy of the message, marked as part of the conversation so far."""
    return Message(role=message.role, content=message.content, metadata={**(message.metadata or {}), **HISTORY})


HISTORY = {"purpose": "history"}


def insert_history(made: Assembly, history: Sequence[Message]) -> list[Message]:
    """Insert the conversation, unless a template has, before the last user message or else at the end."""
    messages = made.messages
    is_in = made.has_history or any((m.metadata or {}).get("purpose") == "history" for m in messages)
    if not history or is_in:
        return messages
    if messages and messages[-1].role == "user":
        return [*messages[:-1], *history, messages[-1]]
    return [*messages, *history]
