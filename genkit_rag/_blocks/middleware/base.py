"""Middleware: code around a turn of the generate loop, a model call or a tool run."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from genkit_rag._blocks.model import ModelAction, ModelRequest, ModelResponse
from genkit_rag._blocks.part import ToolRequest
from genkit_rag._core.action import Action
from genkit_rag._core.context import ActionContext
from genkit_rag._core.errors import invalid
from genkit_rag._core.registry import Registry

P = TypeVar("P")
R = TypeVar("R")
Next = Callable[[P], Awaitable[R]]
"""What a hook awaits to go on; it may do so never, once or several times, with changed parameters or not."""


@dataclass(slots=True)
class GenerateParams:
    """What `wrap_generate` sees: the turn's request (without augmentation) and which turn it is, from 0."""

    request: ModelRequest
    ctx: ActionContext
    turn: int


@dataclass(slots=True)
class ModelParams:
    """What `wrap_model` sees; another `model` may be put in, and docs and output are then fitted to that one."""

    request: ModelRequest
    ctx: ActionContext
    turn: int
    model: ModelAction
    registry: Registry


@dataclass(slots=True)
class ToolParams:
    """What `wrap_tool` sees: the model's wish (its input is not validated yet) and the tool that will run."""

    request: ToolRequest
    ctx: ActionContext
    turn: int
    tool: Action[Any, Any, Any]
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])


class Middleware:
    """Code around the steps of a generation: override the hooks you need, the others cost nothing.

    `generate(use=[a, b])` runs a outermost. One instance may serve many generations at once, so keep the state of one
    generation in local variables. To change something for the inner layers, pass on `dataclasses.replace(params, ...)`.
    """

    async def wrap_generate(
        self, params: GenerateParams, next: Next[GenerateParams, ModelResponse], /
    ) -> ModelResponse:
        """Returns the final response; wraps a turn and every turn after it, so turn 0 is the whole generation."""
        return await next(params)

    async def wrap_model(self, params: ModelParams, next: Next[ModelParams, ModelResponse], /) -> ModelResponse:
        """Returns the model's response; wraps one model call."""
        return await next(params)

    async def wrap_tool(self, params: ToolParams, next: Next[ToolParams, Any], /) -> Any:
        """Returns the tool's output; wraps one tool run, validation of the input included."""
        return await next(params)


ModelMiddlewareFn = Callable[..., Awaitable[ModelResponse]]
"""`async (request, ctx, next)`; `next()` goes on as it is, `next(request)` or `next(request, ctx)` with others."""

Use = Sequence[Middleware | ModelMiddlewareFn]


class _FunctionMiddleware(Middleware):
    """A plain function as `wrap_model`."""

    def __init__(self, fn: ModelMiddlewareFn) -> None:
        self._fn = fn

    async def wrap_model(self, params: ModelParams, next: Next[ModelParams, ModelResponse], /) -> ModelResponse:
        def go_on(request: ModelRequest | None = None, ctx: ActionContext | None = None) -> Awaitable[ModelResponse]:
            if request is None and ctx is None:
                return next(params)
            return next(replace(params, request=request or params.request, ctx=ctx or params.ctx))

        return await self._fn(params.request, params.ctx, go_on)


def to_middleware(use: Use) -> list[Middleware]:
    """Returns middleware objects; raises INVALID_ARGUMENT for what is none."""
    return [_to_middleware(item) for item in use]


def _to_middleware(item: Any) -> Middleware:
    if isinstance(item, Middleware):
        return item
    if isinstance(item, type) or not callable(item):
        hint = f"Pass an object: `use=[{item.__name__}()]`." if isinstance(item, type) else None
        raise invalid("use", item, "takes Middleware objects and async functions `(request, ctx, next)`", hint=hint)
    fn: Any = item
    if not (inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(type(fn).__call__)):
        raise invalid("use", item, "takes async functions only", hint="Write `async def` before it.")
    return _FunctionMiddleware(fn)


def chain(use: Sequence[Middleware], hook: str, innermost: Next[P, R]) -> Next[P, R]:
    """Returns `innermost` wrapped in the hooks that are overridden, the first of `use` outermost."""
    call = innermost
    for item in reversed(use):
        if overrides(item, hook):
            call = _bind(getattr(item, hook), call)
    return call


def overrides(item: Middleware, hook: str) -> bool:
    """Returns whether the middleware does something in that hook."""
    return getattr(type(item), hook) is not getattr(Middleware, hook)


def _bind(hook: Callable[[P, Next[P, R]], Awaitable[R]], following: Next[P, R]) -> Next[P, R]:
    return lambda params: hook(params, following)


class SentChunks:
    """Tells whether chunks went out to the caller: a call that streamed must not be made a second time."""

    __slots__ = ("_send", "any")

    def __init__(self, ctx: ActionContext) -> None:
        self._send = ctx.send_chunk
        self.any = False

    @classmethod
    def watch(cls, params: ModelParams) -> tuple[SentChunks, ModelParams]:
        """Returns the watcher and parameters that report to it; the same parameters when nobody listens."""
        seen = cls(params.ctx)
        if not params.ctx.streaming:
            return seen, params
        return seen, replace(params, ctx=ActionContext(params.ctx.context, seen.send))

    def send(self, chunk: Any) -> None:
        """Hands the chunk on."""
        self.any = True
        self._send(chunk)
