"""The types of decorators that are called with options first, so that what they decorate keeps its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar, overload

from genkit_rag._core.action import Action
from genkit_rag._core.context import ActionContext
from genkit_rag._generation.tools.tool import Tool

In = TypeVar("In")
Out = TypeVar("Out")


class FlowDecorator(Protocol):
    """Makes a flow of a function."""

    @overload
    def __call__(self, fn: Callable[[In], Awaitable[Out]], /) -> Action[In, Out, Any]: ...
    @overload
    def __call__(self, fn: Callable[[In, ActionContext], Awaitable[Out]], /) -> Action[In, Out, Any]: ...
    @overload
    def __call__(self, fn: Callable[[], Awaitable[Out]], /) -> Action[None, Out, Any]: ...
    @overload
    def __call__(self, fn: Callable[..., Any], /) -> Action[Any, Any, Any]: ...


class ToolDecorator(Protocol):
    """Makes a tool of a function."""

    @overload
    def __call__(self, fn: Callable[..., Awaitable[Out]], /) -> Tool[Out]: ...
    @overload
    def __call__(self, fn: Callable[..., Out], /) -> Tool[Out]: ...
