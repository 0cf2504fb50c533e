"""Cancels a tool round trip at each of its await points in turn."""

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any

import pytest

from genkit_rag._core.context import current_context
from genkit_rag._core.errors import GenkitError
from genkit_rag._core.registry import Registry
from genkit_rag._documents.part import ToolRequest
from genkit_rag._generation.generate import GenerateOptions, generate
from genkit_rag._generation.middleware import Middleware, Retry
from genkit_rag.testing._scripted_model import ScriptedModel


class CancelAtStep(Coroutine[Any, Any, Any]):
    """Drives a coroutine and throws CancelledError into it when it suspends for the n-th time."""

    def __init__(self, inner: Coroutine[Any, Any, Any], step: int) -> None:
        self.inner = inner
        self.left = step
        self.thrown = False

    def send(self, value: Any) -> Any:
        if self.left == 0 and not self.thrown:
            self.thrown = True
            return self.inner.throw(asyncio.CancelledError())
        self.left -= 1
        return self.inner.send(value)

    def throw(self, *error: Any) -> Any:
        return self.inner.throw(*error)

    def close(self) -> None:
        self.inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        raise NotImplementedError


class Tracker:
    def __init__(self) -> None:
        self.open = 0

    async def __aenter__(self) -> None:
        self.open += 1

    async def __aexit__(self, *error: object) -> None:
        self.open -= 1


def round_trip(held: Tracker, **more: Any) -> GenerateOptions:
    async def work(n: int) -> int:
        async with held:
            for _ in range(n):
                await asyncio.sleep(0)
        return n

    async def first(request: Any) -> Any:
        async with held:
            await asyncio.sleep(0)
        return [ToolRequest(name="work", input={"n": n}) for n in (2, 4)]

    async def last(request: Any) -> str:
        async with held:
            await asyncio.sleep(0)
        return "done"

    model = ScriptedModel("test/scripted", [GenkitError("UNAVAILABLE", "Not yet."), first, last])
    use: list[Middleware] = [Retry(no_jitter=True, initial_delay_ms=0)]
    return GenerateOptions(model=model.action, prompt="hi", tools=[work], use=use, **more)


@pytest.mark.parametrize("tool_errors", ["raise", "return"])
async def test_cancellation_at_every_await_point_comes_out_and_leaves_nothing_open(tool_errors: Any) -> None:
    reached = 0
    for step in range(200):
        held = Tracker()
        before = asyncio.all_tasks()
        call = CancelAtStep(
            generate(Registry(), round_trip(held, tool_errors=tool_errors), context={"user": "ada"}), step
        )
        task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(call)
        try:
            response = await task
        except asyncio.CancelledError:
            reached += 1
            assert call.thrown
        else:
            assert not call.thrown
            assert response.text == "done"
            break
        finally:
            assert held.open == 0
            assert asyncio.all_tasks() <= before
            assert current_context() == {}
    else:
        pytest.fail("the round trip never ended")
    assert reached >= 5


async def test_cancelling_the_task_cancels_running_tools_within_the_same_moment() -> None:
    started, cleaned = asyncio.Event(), 0

    async def hang() -> None:
        nonlocal cleaned
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            cleaned += 1

    model = ScriptedModel("test/scripted", [[ToolRequest(name="hang")] * 3])
    options = GenerateOptions(model=model.action, prompt="hi", tools=[hang], tool_errors="return")
    task = asyncio.create_task(generate(Registry(), options))
    await started.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned == 3


async def test_a_tool_that_answers_cancellation_with_an_error_does_not_hide_it() -> None:
    started = asyncio.Event()

    async def stubborn() -> None:
        started.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise ValueError("not now") from None

    model = ScriptedModel("test/scripted", [[ToolRequest(name="stubborn")] * 2])
    task = asyncio.create_task(generate(Registry(), GenerateOptions(model=model.action, prompt="x", tools=[stubborn])))
    await started.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
