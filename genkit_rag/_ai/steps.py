"""`ai.run`: a named step of a flow with its own span."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, TypeVar, cast, overload

from genkit_rag._core import tracing
from genkit_rag._core.errors import invalid
from genkit_rag._core.threads import run_in_thread

P = ParamSpec("P")
T = TypeVar("T")


class Steps:
    """The part of `Genkit` that runs steps."""

    @overload
    async def run(self, name: str, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    async def run(self, name: str, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    async def run(self, name: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run a function as a named step of a flow, visible in traces, and return its result.

        A sync function runs in a worker thread, so a step is also the way to call blocking code. The step inherits the
        context of the flow (`current_context()`). Outside of a flow the step is the root of its trace. Exceptions are
        raised unchanged.

        Args:
            name: The name of the span.
            fn: Sync or async.
            *args: The arguments; the input of the span is a single argument itself, or the list of several.
            **kwargs: The arguments by name; with any, the input of the span is an object.
        """
        given: Any = name
        if not isinstance(given, str) or not given:
            raise invalid("name", given, "must be a name for the step", hint="Write ai.run('rank', rank, documents).")
        if not callable(fn):
            raise invalid("fn", fn, "must be a function", hint="Pass the function itself, then its arguments.")
        tracer = tracing.tracer()
        if tracer is None:
            return await _call(fn, args, kwargs)
        return await tracing.traced(tracer, tracing.Step(name), _shown(args, kwargs), _call(fn, args, kwargs))


async def _call(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None)):  # noqa: B004
        return await cast(Callable[..., Awaitable[Any]], fn)(*args, **kwargs)
    result = await run_in_thread(fn, *args, **kwargs)
    return await result if inspect.isawaitable(result) else result


def _shown(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the arguments in the form that a span shows."""
    if kwargs:
        return {**{str(number): value for number, value in enumerate(args)}, **kwargs}
    return args[0] if len(args) == 1 else list(args) or None
