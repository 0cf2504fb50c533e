"""What a running action knows about its caller: the context (auth and the like) and where chunks go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, NoReturn

EMPTY: Mapping[str, Any] = {}

_current: ContextVar[Mapping[str, Any]] = ContextVar("genkit_rag_context", default=EMPTY)


class Interrupt(Exception):
    """Raised in a tool to stop the generation and ask somebody; the caller finds it in `response.interrupts`.

    Args:
        metadata: What whoever is asked should know, as JSON-compatible data.
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
        """True when somebody listens for chunks."""
        return self._send is not None

    def send_chunk(self, chunk: Any) -> None:
        """Hands one chunk to the listener; without a listener it does nothing."""
        if self._send is not None:
            self._send(chunk)

    @property
    def resumed(self) -> Any:
        """What whoever restarted this tool after an interrupt said: True or an object; None in a first run."""
        return self.metadata.get("resumed")

    @property
    def original_input(self) -> Any:
        """The model's input of a tool that was restarted with another one; None otherwise."""
        return self.metadata.get("replacedInput")

    def interrupt(self, metadata: Mapping[str, Any] | None = None) -> NoReturn:
        """Stops this tool and the generation to ask somebody; raises `Interrupt`."""
        raise Interrupt(metadata)


def current_context() -> Mapping[str, Any]:
    """Returns the context of the action that is running; an empty mapping outside of any."""
    return _current.get()


def context_variable() -> ContextVar[Mapping[str, Any]]:
    """Returns the variable itself; for the action runner, which sets and resets it."""
    return _current
