"""Runs one function over many items, a few at a time, in the order of the items."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar, cast

A = TypeVar("A")
B = TypeVar("B")

CONCURRENCY = 4
"""The default number of concurrent rows."""


async def bounded_map(fn: Callable[[A], Awaitable[B]], items: Sequence[A], concurrency: int) -> list[B]:
    """Apply `fn` to each item with bounded concurrency, in order; the first exception cancels the others."""
    results: list[Any] = [None] * len(items)
    pending = iter(enumerate(items))

    async def work() -> None:
        for number, item in pending:
            results[number] = await fn(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(items))):
                group.create_task(work())
    except BaseExceptionGroup as many:
        raise many.exceptions[0] from None
    return cast("list[B]", results)
