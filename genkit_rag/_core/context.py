"""What a running action knows about its caller: the context (auth and the like) and where chunks go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

EMPTY: Mapping[str, Any] = {}

_current: ContextVar[Mapping[str, Any]] = ContextVar("genkit_rag_context", default=EMPTY)


class ActionContext:
    """The second argument of a handler: `context` (never sent to a model) and `send_chunk` for streaming."""

    __slots__ = ("_send", "context")

    def __init__(self, context: Mapping[str, Any], send: Callable[[Any], None] | None = None) -> None:
        self.context = context
        self._send = send

    @property
    def streaming(self) -> bool:
        """True when somebody listens for chunks."""
        return self._send is not None

    def send_chunk(self, chunk: Any) -> None:
        """Hands one chunk to the listener; without a listener it does nothing."""
        if self._send is not None:
            self._send(chunk)


def current_context() -> Mapping[str, Any]:
    """Returns the context of the action that is running; an empty mapping outside of any."""
    return _current.get()


def context_variable() -> ContextVar[Mapping[str, Any]]:
    """Returns the variable itself; for the action runner, which sets and resets it."""
    return _current
