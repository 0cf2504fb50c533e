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
"""The rest of the chain; a hook may call it never, once or several times, with the same or changed parameters."""


@dataclass(slots=True)
class GenerateParams:
    """The parameters of `wrap_generate`: the request of the turn, without augmentation, and its number from 0."""

    request: ModelRequest
    ctx: ActionContext
    turn: int


@dataclass(slots=True)
class ModelParams:
    """The parameters of `wrap_model`. If `model` is replaced, docs and output are fitted to the new model.

    Attributes:
        request: The request at this place of the chain, with docs and output not yet fitted to the model.
        ctx: The caller's context, which also receives the chunks.
        turn: The turn of the generation, from 0.
        model: The model to call.
        registry: The registry for names.
        fit: Returns the final request for the model; None when the request is final.
    """

    request: ModelRequest
    ctx: ActionContext
    turn: int
    model: ModelAction
    registry: Registry
    fit: Callable[[ModelParams], ModelRequest] | None = None

    @property
    def sent(self) -> ModelRequest:
        """The final request for the model, unless an inner middleware changes it."""
        return self.request if self.fit is None else self.fit(self)


@dataclass(slots=True)
class ToolParams:
    """The parameters of `wrap_tool`: the tool request, with input not validated yet, and the tool to run."""

    request: ToolRequest
    ctx: ActionContext
    turn: int
    tool: Action[Any, Any, Any]
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])


WireConfig = Mapping[str, Any] | None
"""The settings that a config may set, with their types."""


class Middleware:
    """Code around the steps of a generation. Override the hooks you need; the others have no cost.

    `generate(use=[a, b])` runs `a` outermost. One instance may serve many generations at once, so keep the state of one
    generation in local variables. To change parameters for the inner layers, pass `dataclasses.replace(params, ...)`
    to `next`.

    Attributes:
        wire_config: The settings that a config may set by name, with their types; None for all that have a JSON
            Schema. See `define_middleware`.
    """

    wire_config: ClassVar[WireConfig] = None

    async def wrap_generate(
        self, params: GenerateParams, next: Next[GenerateParams, ModelResponse], /
    ) -> ModelResponse:
        """Wrap a turn and all turns after it, so that turn 0 is the whole generation; return the final response."""
        return await next(params)

    async def wrap_model(self, params: ModelParams, next: Next[ModelParams, ModelResponse], /) -> ModelResponse:
        """Wrap one model call; return the model's response."""
        return await next(params)

    async def wrap_tool(self, params: ToolParams, next: Next[ToolParams, Any], /) -> Any:
        """Wrap one tool run, including the validation of its input; return the tool's output."""
        return await next(params)

    def tools(self) -> Sequence[ToolLike]:
        """Return tools that the model may use in every generation with this middleware."""
        return ()


@dataclass(frozen=True)
class MiddlewareRef:
    """A registered middleware by its name, with JSON-compatible settings in wire names (camelCase)."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: str
    config: Any = None


ModelMiddlewareFn = Callable[..., Awaitable[ModelResponse]]
"""`async (request, ctx, next)`; call `next()`, or `next(request)` or `next(request, ctx)` with changed values."""

UseItem = Middleware | ModelMiddlewareFn | str | MiddlewareRef
"""A middleware, an async function around model calls, or the name of a registered one, alone or with a config."""

Use = Sequence[UseItem]


class _FunctionMiddleware(Middleware):
    """A middleware whose `wrap_model` is a function."""

    def __init__(self, fn: ModelMiddlewareFn) -> None:
        self._fn = fn

    async def wrap_model(self, params: ModelParams, next: Next[ModelParams, ModelResponse], /) -> ModelResponse:
        def go_on(request: ModelRequest | None = None, ctx: ActionContext | None = None) -> Awaitable[ModelResponse]:
            if request is None and ctx is None:
                return next(params)
            return next(replace(params, request=request or params.request, ctx=ctx or params.ctx))

        return await self._fn(params.request, params.ctx, go_on)


def as_middleware(item: Any) -> Middleware:
    """Coerce an object or a function to `Middleware`; raise INVALID_ARGUMENT otherwise."""
    if isinstance(item, Middleware):
        return item
    if isinstance(item, type) or not callable(item):
        hint = (
            f"Pass an object: `use=[{item.__name__}()]`." if isinstance(item, type) else "For example `use=[retry()]`."
        )
        problem = "must contain Middleware objects, async functions `(request, ctx, next)` and registered names only"
        raise invalid("use", item, problem, hint=hint)
    fn: Any = item
    if not (inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(type(fn).__call__)):
        raise invalid("use", item, "must contain async functions only", hint="Define the function with `async def`.")
    return _FunctionMiddleware(fn)


def added_tools(use: Sequence[Middleware]) -> list[ToolLike]:
    """Return the tools of the middleware, those of the outermost first."""
    return [tool for item in use if overrides(item, "tools") for tool in item.tools()]


def attach_middleware(action: ModelAction, use: Sequence[Middleware | ModelMiddlewareFn]) -> ModelAction:
    """Add middleware to a model action in place, for all of its callers, and return it; only `wrap_model` is used.

    Names are not allowed, because a plugin has no registry yet when it creates its actions.
    """
    handler = action.handler

    async def call(params: ModelParams) -> ModelResponse:
        if params.model is action:
            return await handler(params.request, params.ctx)
        send = params.ctx.send_chunk if params.ctx.streaming else None
        return await params.model(params.request, context=params.ctx.context, on_chunk=send)

    first = chain([as_middleware(item) for item in use], "wrap_model", call)
    empty = Registry()

    async def wrapped(request: ModelRequest, ctx: ActionContext) -> ModelResponse:
        return await first(ModelParams(request, ctx, 0, action, empty))

    action.handler = wrapped
    return action


def chain(use: Sequence[Middleware], hook: str, innermost: Next[P, R]) -> Next[P, R]:
    """Wrap `innermost` in the overridden hooks of the middleware, the first of `use` outermost."""
    call = innermost
    for item in reversed(use):
        if overrides(item, hook):
            call = _bind(getattr(item, hook), call)
    return call


def overrides(item: Middleware, hook: str) -> bool:
    """Return whether the middleware overrides `hook`."""
    return getattr(type(item), hook) is not getattr(Middleware, hook)


def _bind(hook: Callable[[P, Next[P, R]], Awaitable[R]], following: Next[P, R]) -> Next[P, R]:
    return lambda params: hook(params, following)


class SentChunks:
    """Records whether chunks were sent to the caller, because a call that has streamed must not be repeated."""

    __slots__ = ("_send", "any")

    def __init__(self, ctx: ActionContext) -> None:
        self._send = ctx.send_chunk
        self.any = False

    @classmethod
    def watch(cls, params: ModelParams) -> tuple[SentChunks, ModelParams]:
        """Return the recorder and parameters that report to it; the same parameters without streaming."""
        seen = cls(params.ctx)
        if not params.ctx.streaming:
            return seen, params
        return seen, replace(params, ctx=ActionContext(params.ctx.context, seen.send, params.ctx.metadata))

    def send(self, chunk: Any) -> None:
        """Record and pass on a chunk."""
        self.any = True
        self._send(chunk)
