"""Middleware: code around a turn of the generate loop, a model call or a tool run."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from pydantic import ConfigDict

from genkit_rag._core.action import Action
from genkit_rag._core.context import ActionContext
from genkit_rag._core.errors import invalid
from genkit_rag._core.registry import Registry
from genkit_rag._documents.part import ToolRequest
from genkit_rag._generation.model import ModelAction, ModelRequest, ModelResponse

if TYPE_CHECKING:
    from genkit_rag._generation.tools.tool import ToolLike

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
    """What `wrap_model` sees; another `model` may be put in, and docs and output are then fitted to that one.

    Attributes:
        request: The request as it is at this place of the chain: docs and output are not fitted to the model yet.
        ctx: The caller's context, and where chunks go.
        turn: Which turn of the generation it is, from 0.
        model: Who will be asked.
        registry: Where names are looked up.
        fit: Gives the request as the model will get it, without calling it; None where nothing is left to be done.
    """

    request: ModelRequest
    ctx: ActionContext
    turn: int
    model: ModelAction
    registry: Registry
    fit: Callable[[ModelParams], ModelRequest] | None = None

    @property
    def sent(self) -> ModelRequest:
        """The request as the model will get it, unless an inner middleware changes it."""
        return self.request if self.fit is None else self.fit(self)


@dataclass(slots=True)
class ToolParams:
    """What `wrap_tool` sees: the model's wish (its input is not validated yet) and the tool that will run."""

    request: ToolRequest
    ctx: ActionContext
    turn: int
    tool: Action[Any, Any, Any]
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])


WireConfig = Mapping[str, Any] | None
"""The settings that a config may set, with their types."""


class Middleware:
    """Code around the steps of a generation: override the hooks you need, the others cost nothing.

    `generate(use=[a, b])` runs a outermost. One instance may serve many generations at once, so keep the state of one
    generation in local variables. To change something for the inner layers, pass on `dataclasses.replace(params, ...)`.

    Attributes:
        wire_config: The settings that a config may set by name, with their types; None for all that have a JSON
            Schema. See `define_middleware`.
    """

    wire_config: ClassVar[WireConfig] = None

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

    def tools(self) -> Sequence[ToolLike]:
        """Returns tools that the model may use in every generation with this middleware."""
        return ()


@dataclass(frozen=True)
class MiddlewareRef:
    """A registered middleware by its name, with JSON-compatible settings in wire names (camelCase)."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: str
    config: Any = None


ModelMiddlewareFn = Callable[..., Awaitable[ModelResponse]]
"""`async (request, ctx, next)`; `next()` goes on as it is, `next(request)` or `next(request, ctx)` with others."""

UseItem = Middleware | ModelMiddlewareFn | str | MiddlewareRef
"""A middleware, an async function around model calls, or the name of a registered one, alone or with a config."""

Use = Sequence[UseItem]


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


def as_middleware(item: Any) -> Middleware:
    """Returns the middleware that an object or a function is; raises INVALID_ARGUMENT for what is none."""
    if isinstance(item, Middleware):
        return item
    if isinstance(item, type) or not callable(item):
        hint = f"Pass an object: `use=[{item.__name__}()]`." if isinstance(item, type) else "Such as `use=[retry()]`."
        problem = "takes Middleware objects, async functions `(request, ctx, next)` and registered names"
        raise invalid("use", item, problem, hint=hint)
    fn: Any = item
    if not (inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(type(fn).__call__)):
        raise invalid("use", item, "takes async functions only", hint="Write `async def` before it.")
    return _FunctionMiddleware(fn)


def added_tools(use: Sequence[Middleware]) -> list[ToolLike]:
    """Returns the tools that the middleware bring, the outermost's first."""
    return [tool for item in use if overrides(item, "tools") for tool in item.tools()]


def attach_middleware(action: ModelAction, use: Sequence[Middleware | ModelMiddlewareFn]) -> ModelAction:
    """Returns the model action with middleware around itself, whoever calls it; only their `wrap_model` is used.

    Names are refused: a plugin has no registry yet when it makes its actions.
    """
    handler = action.handler

    async def call(params: ModelParams) -> ModelResponse:
        if params.model is action:
            return await handler(params.request, params.ctx)
        send = params.ctx.send_chunk if params.ctx.streaming else None
        return await params.model(params.request, context=params.ctx.context, on_chunk=send)

    first = chain([as_middleware(item) for item in use], "wrap_model", call)
    nobody = Registry()

    async def wrapped(request: ModelRequest, ctx: ActionContext) -> ModelResponse:
        return await first(ModelParams(request, ctx, 0, action, nobody))

    action.handler = wrapped
    return action


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
        return seen, replace(params, ctx=ActionContext(params.ctx.context, seen.send, params.ctx.metadata))

    def send(self, chunk: Any) -> None:
        """Hands the chunk on."""
        self.any = True
        self._send(chunk)
