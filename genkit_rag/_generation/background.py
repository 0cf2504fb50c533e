"""Background models: a call starts the work and returns an operation; two more actions check and cancel it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from genkit_rag._core.action import Action, ActionKind, Handler, adapt
from genkit_rag._core.context import ActionContext
from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._core.registry import Registry
from genkit_rag._core.schema import parse, validation_error
from genkit_rag._generation.model import ModelInfo, ModelRequest, ModelResponse, ModelSupports
from genkit_rag._generation.operation import Operation

StartAction = Action[ModelRequest, Operation, None]
OperationAction = Action[Operation, Operation, None]
OperationLike = Operation | Mapping[str, Any]
"""An operation, or its JSON as it was kept somewhere."""

POLL_SECONDS = 5.0
"""How often `wait_for_operation` asks: the jobs take minutes, and providers count requests."""


@dataclass(frozen=True, slots=True)
class BackgroundModel:
    """The actions of one background model; a plugin returns all of them from `init`.

    Attributes:
        start: `/background-model/<name>`.
        check: `/check-operation/<name>/check`.
        cancel: `/cancel-operation/<name>/cancel`, or None where the work cannot be cancelled.
    """

    start: StartAction
    check: OperationAction
    cancel: OperationAction | None

    @property
    def actions(self) -> list[Action[Any, Any, Any]]:
        """All of them."""
        return [self.start, self.check] if self.cancel is None else [self.start, self.check, self.cancel]


def background_model(
    name: str,
    start: Callable[..., Any],
    check: Callable[..., Any],
    cancel: Callable[..., Any] | None = None,
    *,
    info: ModelInfo | None = None,
) -> BackgroundModel:
    """Create the actions of a background model.

    Args:
        name: `<plugin>/<model>`.
        start: `(request)` or `(request, ctx)`, sync or async; gives the `Operation` that it has started.
        check: `(operation)` or `(operation, ctx)`; gives the operation as it stands now.
        cancel: The same, after asking the provider to stop.
        info: Label and abilities; `long_running` is added.
    """
    shown = info or ModelInfo(label=name)
    supports = (shown.supports or ModelSupports()).model_copy(update={"long_running": True})
    shown = shown.model_copy(update={"supports": supports})
    key = f"/{ActionKind.BACKGROUND_MODEL}/{name}"
    started: StartAction = Action(
        ActionKind.BACKGROUND_MODEL,
        name,
        _named(adapt(start), key),
        input_type=ModelRequest,
        output_type=Operation,
        description=shown.label,
        metadata={"type": ActionKind.BACKGROUND_MODEL.value, "model": shown.to_wire()},
    )
    checked = _operation_action(ActionKind.CHECK_OPERATION, f"{name}/check", check, key)
    if cancel is None:
        return BackgroundModel(started, checked, None)
    return BackgroundModel(
        started, checked, _operation_action(ActionKind.CANCEL_OPERATION, f"{name}/cancel", cancel, key)
    )


def _operation_action(kind: ActionKind, name: str, fn: Callable[..., Any], key: str) -> OperationAction:
    return Action(
        kind, name, _named(adapt(fn), key), input_type=Operation, output_type=Operation, metadata={"type": kind.value}
    )


def _named(handler: Handler[Any, Any], key: str) -> Handler[Any, Operation]:
    """Wrap a handler so that its operation has the key of the action that started it, and typed output."""

    async def run(value: Any, ctx: ActionContext) -> Operation:
        operation: Any = await handler(value, ctx)
        if not isinstance(operation, Operation):
            raise GenkitError(
                "INTERNAL",
                f"`{key}` gave {operation!r:.100}, not an Operation.",
                hint="Its start, check and cancel functions return `Operation(id=...)`.",
            )
        output = operation.output
        if isinstance(output, Mapping):
            output = parse(ModelResponse, output, f"The output of the operation {operation.id!r}")
        changes = {"action": key} if output is operation.output else {"action": key, "output": output}
        return operation.model_copy(update=changes)

    return run


async def check_operation(registry: Registry, operation: OperationLike) -> Operation:
    """Return the current state of an operation; see `Operations.check_operation`."""
    known = _operation(operation)
    name = await _started_by(registry, known)
    action: OperationAction = await registry.get(ActionKind.CHECK_OPERATION, f"{name}/check")
    return await action(known)


async def cancel_operation(registry: Registry, operation: OperationLike) -> Operation:
    """Request the end of an operation; see `Operations.cancel_operation`."""
    known = _operation(operation)
    name = await _started_by(registry, known)
    action: OperationAction | None = await registry.resolve(ActionKind.CANCEL_OPERATION, f"{name}/cancel")
    if action is None:
        raise GenkitError(
            "UNIMPLEMENTED",
            f"`{known.action}` has no way to cancel an operation.",
            hint="Let it end: `check_operation` says when.",
            details={"action": known.action, "id": known.id},
        )
    return await action(known)


async def wait_for_operation(
    registry: Registry, operation: OperationLike, *, poll_seconds: float = POLL_SECONDS, timeout: float | None = None
) -> Operation:
    """Wait until an operation has ended; see `Operations.wait_for_operation`."""
    for argument, seconds in (("poll_seconds", poll_seconds), ("timeout", timeout)):
        if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
            raise invalid(argument, seconds, "must be a number of seconds above 0")
    known = _operation(operation)
    limit = asyncio.timeout(timeout)
    try:
        async with limit:
            while not known.done:
                known = await check_operation(registry, known)
                if not known.done:
                    await asyncio.sleep(poll_seconds)
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise GenkitError(
            "DEADLINE_EXCEEDED",
            f"The operation {known.id!r} has not ended within {timeout:g} seconds.",
            hint="It goes on: wait again with `error.details['operation']`, or cancel it.",
            details={"operation": known.to_wire()},
            cause=error,
        ) from error
    return known


def _operation(raw: OperationLike) -> Operation:
    if isinstance(raw, Operation):
        return raw
    try:
        return Operation.model_validate(raw)
    except ValidationError as error:
        raise validation_error(error, "`operation`") from error


async def _started_by(registry: Registry, operation: Operation) -> str:
    """Return the name of the background model that started the operation."""
    if not operation.action:
        raise invalid(
            "operation",
            operation.to_wire(),
            "does not say which action has started it",
            hint="Pass the operation that `generate` returned, or its `to_wire()`.",
        )
    prefix = f"/{ActionKind.BACKGROUND_MODEL}/"
    name = operation.action.removeprefix(prefix)
    if not name or not operation.action.startswith(prefix):
        raise invalid("operation.action", operation.action, f"must be `{prefix}<name>`")
    await registry.get(ActionKind.BACKGROUND_MODEL, name)
    return name
