"""The context of a running action: facts about the caller (such as authentication) and the target of stream chunks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, NoReturn

EMPTY: Mapping[str, Any] = {}

_current: ContextVar[Mapping[str, Any]] = ContextVar("genkit_rag_context", default=EMPTY)


class Interrupt(Exception):
    """Raised in a tool to stop the generation and ask a person; the caller finds it in `response.interrupts`.

    Args:
        metadata: JSON-compatible data for the person who decides.
    """

    def __init__(self, metadata: Mapping[str, Any] | None = None) -> None:
        super().__init__("the tool asks before it goes on")
        self.metadata = dict(metadata) if metadata else None


class ActionContext:
    """The second argument of a handler: `context` (never sent to a model) and `send_chunk` for streaming.

    Attributes:
        context: Facts about the caller: auth and the like.
        metadata: Facts about this run; a tool has the metadata of the model's request here.
    """

    __slots__ = ("_send", "context", "metadata")

    def __init__(
        self,
        context: Mapping[str, Any],
        send: Callable[[Any], None] | None = None,
        metadata: Mapping[str, Any] = EMPTY,
    ) -> None:
        self.context = context
        self._send = send
        self.metadata = metadata

    @property
    def streaming(self) -> bool:
        """Whether the caller consumes a stream."""
        return self._send is not None

    def send_chunk(self, chunk: Any) -> None:
        """Hands one chunk to the listener; without a listener it does nothing."""
        if self._send is not None:
            self._send(chunk)

    @property
    def resumed(self) -> Any:
        """The value given when this tool was restarted after an interrupt: True or an object; None in a first run."""
        return self.metadata.get("resumed")

    @property
    def original_input(self) -> Any:
        """The model's input of a tool that was restarted with another one; None otherwise."""
        return self.metadata.get("replacedInput")

    def interrupt(self, metadata: Mapping[str, Any] | None = None) -> NoReturn:
        """Stop this tool and the generation to ask a person; raises `Interrupt`."""
        raise Interrupt(metadata)


def current_context() -> Mapping[str, Any]:
    """Return the context of the running action; an empty mapping outside of actions."""
    return _current.get()


def context_variable() -> ContextVar[Mapping[str, Any]]:
    """Return the context variable itself, which the action runner sets and resets."""
    return _current
