"""Runs of actions in another process: the request, and the messages of failures."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from genkit_rag._cli.apps.connect import Described, no_action
from genkit_rag._core.errors import GenkitError

Wait = Annotated[bool, typer.Option("--wait", help="Wait until an app runs, instead of failing.")]


@dataclass(frozen=True, slots=True)
class Request:
    """The action to run, and its input.

    Attributes:
        action: A flow's name or an action's key.
        input: The input as it was given.
        context: The context of the action.
        stream: Whether to stream chunks.
    """

    action: str
    input: Any
    context: dict[str, Any] | None = None
    stream: bool = False


async def pieces(
    events: AsyncGenerator[dict[str, Any]], key: str, request: Request, actions: Described
) -> AsyncGenerator[dict[str, Any]]:
    """Yield the events of a run; NOT_FOUND suggests similar names before it begins."""
    try:
        async for event in events:
            yield event
    except GenkitError as error:
        if error.status == "NOT_FOUND" and key not in actions:
            raise no_action(request.action, actions) from error
        raise


def failed(key: str, error: Any, trace_id: str) -> GenkitError:
    """Create the error of a failed action, with its status and its trace."""
    from genkit_rag._server.runtimes import failure

    found = failure(error, 500, trace_id)
    hint = f"See what happened: genkit-rag trace show {trace_id[:8]}" if trace_id else "See the app's log."
    return GenkitError(
        found.status, f"`{key}` failed with {found.status}: {found.message}", hint=hint, details=found.details
    )
