"""`ai.run`: a named piece of work inside of a flow, with a span of its own."""

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
        """Returns what the function returns, and shows the call as a step of the flow in traces.

        A function that is not async runs in a worker thread, so a step is also the way to call blocking code. The
        context of the flow is that of the step (`current_context()`). It works outside of a flow, too: the step is
        then the root of its trace. What the function raises is raised here as it is.

        Args:
            name: What the span is called.
            fn: Sync or async.
            *args: Its arguments; with one alone that is the span's input, with more the list of them.
            **kwargs: Its arguments by name; the span's input is an object when there are any.
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
    """Returns the arguments as a span shows them."""
    if kwargs:
        return {**{str(number): value for number, value in enumerate(args)}, **kwargs}
    return args[0] if len(args) == 1 else list(args) or None
