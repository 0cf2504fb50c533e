"""From a rendered text to messages: roles, history, sections and media.

What a helper such as `{{role "system"}}` stands for is kept beside the text; in the text there is a mark that holds a
random number drawn for this one rendering. No value can contain a mark, so no value can begin a message.
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
    """From here on another role speaks."""

    role: Role


@dataclass(frozen=True, slots=True)
class HistoryMark:
    """Here the conversation so far is put in."""


Mark = RoleMark | HistoryMark | Part
_FENCE = "\ue000"
ROLES: tuple[Role, ...] = get_args(Role)


class Markers:
    """The marks of one rendering."""

    def __init__(self) -> None:
        # Digits only: a helper that changes the case of a block's text leaves them alone.
        self._token = str(secrets.randbits(128))
        self._marks: list[Mark] = []

    def put(self, mark: Mark) -> str:
        """Returns the text that stands for a mark."""
        self._marks.append(mark)
        return f"{_FENCE}{self._token}:{len(self._marks) - 1}{_FENCE}"

    def split(self, text: str) -> list[str | Mark]:
        """Returns the text between the marks, and the marks, in order."""
        first, *rest = text.split(f"{_FENCE}{self._token}:")
        pieces: list[str | Mark] = [first]
        for piece in rest:
            number, _, after = piece.partition(_FENCE)
            pieces += [self._marks[int(number)], after]
        return pieces

    def role(self, args: list[Any], _options: Any) -> str:
        """`{{role "system"}}`."""
        name = str(args[0]) if args else ""
        if name not in ROLES:
            raise invalid("role", name, f"must be one of {', '.join(ROLES)}", hint='Write {{role "user"}}.')
        return self.put(RoleMark(name))

    def history(self, _args: list[Any], _options: Any) -> str:
        """`{{history}}`."""
        return self.put(HistoryMark())

    def section(self, args: list[Any], _options: Any) -> str:
        """`{{section "context"}}`: a pending part that is replaced later on."""
        if not args or not str(args[0]):
            raise invalid("section", None, "needs a name", hint='Write {{section "context"}}.')
        return self.put(Part(metadata={"purpose": str(args[0]), "pending": True}))

    def media(self, _args: list[Any], options: Any) -> str:
        """`{{media url=image contentType="image/png"}}`; nothing when there is no URL."""
        url, content_type = options.hash_value("url"), options.hash_value("contentType")
        if not url:
            return ""
        return self.put(Part(media=Media(url=str(url), content_type=str(content_type) if content_type else None)))


@dataclass(slots=True)
class Assembly:
    """Messages on their way to a request; `has_history` when a template has put the conversation in."""

    messages: list[Message] = field(default_factory=list[Message])
    has_history: bool = False


def assemble(pieces: Iterable[str | Mark], history: Sequence[Message], first: Role = "user") -> Assembly:
    """Returns the messages of a rendered template; blank text between two marks is nothing.

    Args:
        pieces: From `Markers.split`.
        history: The conversation so far.
        first: Who speaks before the first role mark.
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
    """Returns the message, marked as one of the conversation so far."""
    return Message(role=message.role, content=message.content, metadata={**(message.metadata or {}), **HISTORY})


HISTORY = {"purpose": "history"}


def insert_history(made: Assembly, history: Sequence[Message]) -> list[Message]:
    """Returns the messages with the conversation before a last user message, else at the end, unless it is in there."""
    messages = made.messages
    is_in = made.has_history or any((m.metadata or {}).get("purpose") == "history" for m in messages)
    if not history or is_in:
        return messages
    if messages and messages[-1].role == "user":
        return [*messages[:-1], *history, messages[-1]]
    return [*messages, *history]
