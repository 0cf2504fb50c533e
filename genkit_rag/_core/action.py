"""The action: a named, typed, traced async function, callable in process or with wire data."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar, cast

from genkit_rag._core import schema, tracing
from genkit_rag._core.context import EMPTY, ActionContext, context_variable
from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._core.threads import run_in_thread

In = TypeVar("In")
Out = TypeVar("Out")
Chunk = TypeVar("Chunk")


class ActionKind(StrEnum):
    """The kinds of actions, by Genkit's wire names."""

    MODEL = "model"
    EMBEDDER = "embedder"
    INDEXER = "indexer"
    RETRIEVER = "retriever"
    RERANKER = "reranker"
    TOOL = "tool"
    TOOL_V2 = "tool.v2"
    FLOW = "flow"
    PROMPT = "prompt"
    EXECUTABLE_PROMPT = "executable-prompt"
    EVALUATOR = "evaluator"
    AGENT = "agent"
    AGENT_SNAPSHOT = "agent-snapshot"
    AGENT_ABORT = "agent-abort"
    BACKGROUND_MODEL = "background-model"
    CHECK_OPERATION = "check-operation"
    CANCEL_OPERATION = "cancel-operation"
    RESOURCE = "resource"
    UTIL = "util"
    CUSTOM = "custom"


_KINDS = frozenset(kind.value for kind in ActionKind)


@dataclass(frozen=True, slots=True)
class ActionMetadata:
    """The properties of an action for listings, available before the action is loaded."""

    kind: str
    name: str
    description: str | None = None
    metadata: Mapping[str, Any] | None = None

    @property
    def key(self) -> str:
        """`/<kind>/<name>`."""
        return f"/{self.kind}/{self.name}"


Handler = Callable[[In, ActionContext], Awaitable[Out]]
_NOTHING: Any = None  # what an action without input is called with
_context = context_variable()


class Action(Generic[In, Out, Chunk]):
    """A named, typed function of one input. `await action(input)` gives the output.

    Args:
        kind: One of `ActionKind`.
        name: Unique within its kind; a plugin's actions are called `<plugin>/<name>`.
        handler: `async (input, ctx) -> output`; see `adapt` for friendlier signatures.
        input_type: A type or JSON Schema that wire input is validated against; None takes anything.
        output_type: A type or JSON Schema, for the listing.
        chunk_type: A type, for the listing.
        description: One sentence for people and models.
        metadata: What Genkit's tools show; JSON-compatible.
        telemetry: Gives the `gen_ai.*` attributes of a recorded run.
    """

    __slots__ = (
        "chunk_type",
        "description",
        "handler",
        "input_type",
        "key",
        "kind",
        "metadata",
        "name",
        "output_type",
        "telemetry",
    )

    def __init__(  # noqa: PLR0913 - the one record of what an action is
        self,
        kind: str,
        name: str,
        handler: Handler[In, Out],
        *,
        input_type: Any = None,
        output_type: Any = None,
        chunk_type: Any = None,
        description: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        telemetry: tracing.Telemetry | None = None,
    ) -> None:
        if kind not in _KINDS:
            raise invalid("kind", kind, f"must be one of {', '.join(ActionKind)}")
        if not name or name.startswith("/") or name.endswith("/") or any(ord(c) < 33 for c in name):
            raise invalid("name", name, "must be a non-empty name without spaces and outer slashes")
        self.kind = str(kind)
        self.name = name
        self.key = f"/{self.kind}/{name}"
        self.handler = handler
        self.input_type = input_type
        self.output_type = output_type
        self.chunk_type = chunk_type
        self.description = description
        self.metadata: dict[str, Any] = dict(metadata or {})
        self.telemetry = telemetry

    def __repr__(self) -> str:
        return f"<Action {self.key}>"

    @property
    def input_schema(self) -> dict[str, Any] | None:
        """The JSON Schema of the input; None means anything."""
        return schema.json_schema(self.input_type)

    @property
    def output_schema(self) -> dict[str, Any] | None:
        """The JSON Schema of the output; None means anything."""
        return schema.json_schema(self.output_type, mode="serialization")

    async def __call__(
        self,
        value: In = _NOTHING,
        *,
        context: Mapping[str, Any] | None = None,
        on_chunk: Callable[[Chunk], None] | None = None,
        metadata: Mapping[str, Any] = EMPTY,
    ) -> Out:
        """Call the action with a typed input, which is passed unchanged, and return the output.

        Args:
            value: The input.
            context: Facts about the caller (auth and the like); the running action's by default.
            on_chunk: Called with every chunk that the handler sends.
            metadata: Facts about this run, for `ctx.metadata`.
        """
        tracer = tracing.tracer()
        if context is None:
            ctx = ActionContext(_context.get(), on_chunk, metadata)
            if tracer is None:
                return await self.handler(value, ctx)
            return await tracing.traced(tracer, self, value, self.handler(value, ctx))
        token = _context.set(context)
        try:
            ctx = ActionContext(context, on_chunk, metadata)
            if tracer is None:
                return await self.handler(value, ctx)
            return await tracing.traced(tracer, self, value, self.handler(value, ctx))
        finally:
            _context.reset(token)

    def stream(self, value: In = _NOTHING, *, context: Mapping[str, Any] | None = None) -> ActionStream[Chunk, Out]:
        """Call the action as a stream: `.stream` iterates over chunks, `.response` awaits the output."""
        return ActionStream(lambda send: self(value, context=context, on_chunk=send))

    async def run_json(
        self,
        raw: Any,
        *,
        context: Mapping[str, Any] | None = None,
        on_chunk: Callable[[Any], None] | None = None,
    ) -> Any:
        """Call the action with JSON-compatible input and return JSON-compatible output.

        Raises INVALID_ARGUMENT, naming the JSON path, when `raw` does not match the input type.
        """
        value = schema.parse(self.input_type, raw, f"The input of `{self.key}`")
        send = None if on_chunk is None else (lambda chunk: on_chunk(schema.dump(chunk)))
        return schema.dump(await self(value, context=context, on_chunk=send))


class ActionStream(Generic[Chunk, Out]):
    """A running call: iterate `.stream` for chunks, await `.response` for the output.

    The call starts immediately and continues without a consumer. Leaving the iteration early cancels the call. Both
    ends raise the error of the call.
    """

    def __init__(self, start: Callable[[Callable[[Chunk], None]], Awaitable[Out]]) -> None:
        self._chunks: deque[Chunk] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._task: asyncio.Task[Out] = asyncio.ensure_future(self._run(start))
        self._task.add_done_callback(self._done)

    async def _run(self, start: Callable[[Callable[[Chunk], None]], Awaitable[Out]]) -> Out:
        return await start(self._send)

    def _send(self, chunk: Chunk) -> None:
        self._chunks.append(chunk)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _done(self, task: asyncio.Task[Out]) -> None:
        if not task.cancelled():
            task.exception()  # marks it as seen: whoever iterates or awaits gets it, nobody else must
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @property
    def stream(self) -> AsyncIterator[Chunk]:
        """The chunks in order; ends with the call and raises its error."""
        return self._iterate()

    async def _iterate(self) -> AsyncIterator[Chunk]:
        chunks, task = self._chunks, self._task
        try:
            while True:
                while chunks:
                    yield chunks.popleft()
                if task.done():
                    break
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter
        finally:
            if not task.done():
                task.cancel()
        task.result()

    def __aiter__(self) -> AsyncIterator[Chunk]:
        return self._iterate()

    @property
    def response(self) -> Awaitable[Out]:
        """The output, when the call has ended."""
        return asyncio.shield(self._task)


def adapt(fn: Callable[..., Any], fields: Sequence[str] | None = None) -> Handler[Any, Any]:
    """Adapt a function with optional parameters to `async (input, ctx)`.

    With `fields`, the attributes of the input with these names become the leading arguments, so that a retriever may be
    `(query)`, `(query, options)` or `(query, options, ctx)`; without, the leading argument is the input itself. A
    parameter named `ctx` or annotated `ActionContext` receives the context at any position; other parameters keep their
    defaults. Sync functions run in a worker thread.
    """
    is_async = inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004
    plan, by_name = _plan(fn, fields)
    whole = fields is None

    def arguments(value: Any, ctx: ActionContext) -> list[Any]:
        return [ctx if name is _CTX else value if whole else getattr(value, cast(str, name)) for name in plan]

    if is_async:
        if plan == [_INPUT, _CTX] and not by_name:
            return cast(Handler[Any, Any], fn)

        async def call(value: Any, ctx: ActionContext) -> Any:
            return await fn(*arguments(value, ctx), **dict.fromkeys(by_name, ctx))
    else:

        async def call(value: Any, ctx: ActionContext) -> Any:
            ctx = _from_thread(ctx)
            result = await run_in_thread(fn, *arguments(value, ctx), **dict.fromkeys(by_name, ctx))
            return await result if inspect.isawaitable(result) else result

    return functools.wraps(fn)(call) if hasattr(fn, "__name__") else call


_CTX = object()
_INPUT = "value"


def _from_thread(ctx: ActionContext) -> ActionContext:
    """Return a context that delivers chunks in the event loop, since listeners may not be thread-safe."""
    if not ctx.streaming:
        return ctx
    loop = asyncio.get_running_loop()
    send = lambda chunk: cast(None, loop.call_soon_threadsafe(ctx.send_chunk, chunk))  # noqa: E731
    return ActionContext(ctx.context, send, ctx.metadata)


def _plan(fn: Callable[..., Any], fields: Sequence[str] | None) -> tuple[list[Any], list[str]]:
    """Return the field name or context marker of each positional argument, and the keyword names of the context."""
    annotations = schema.hints(fn)
    names = list(fields) if fields is not None else [_INPUT]
    plan: list[Any] = []
    by_name: list[str] = []
    gap = False  # behind a parameter that keeps its default arguments go by name
    for parameter in inspect.signature(fn).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        if parameter.kind is parameter.VAR_POSITIONAL:
            plan += [*names, _CTX]
            names, gap = [], True
        elif parameter.name == "ctx" or annotations.get(parameter.name) is ActionContext:
            if gap or parameter.kind is parameter.KEYWORD_ONLY:
                by_name.append(parameter.name)
            else:
                plan.append(_CTX)
        elif names and parameter.kind is not parameter.KEYWORD_ONLY:
            plan.append(names.pop(0))
        elif parameter.default is not parameter.empty:
            gap = True
        elif _CTX not in plan and parameter.kind is not parameter.KEYWORD_ONLY:
            plan.append(_CTX)
        else:
            raise GenkitError(
                "INVALID_ARGUMENT",
                f"The handler `{getattr(fn, '__name__', fn)}` takes more arguments than there are.",
                hint=f"It may take ({', '.join([*(fields or ['input']), 'ctx'])}), or fewer from the left.",
            )
    return plan, by_name


def input_type_of(fn: Callable[..., Any]) -> Any:
    """Return the annotation of the first parameter that is not the context; None if it has none."""
    annotations = schema.hints(fn)
    for parameter in inspect.signature(fn).parameters.values():
        if parameter.name == "ctx" or annotations.get(parameter.name) is ActionContext:
            continue
        return annotations.get(parameter.name)
    return None
