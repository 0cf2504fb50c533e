"""Many generations at once: each gets its own answer, and nothing of them stays."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from genkit_rag import (
    ActionContext,
    Genkit,
    Message,
    ModelRequest,
    ModelResponse,
    ModelResponseChunk,
    Part,
    ToolRequest,
    current_context,
)

MANY = 10_000


def echo_ai() -> Genkit:
    """A model that asks the tool `double` for a number, where it has the tool, and says what it was told."""
    ai = Genkit(model="test/echo")

    async def echo(request: ModelRequest, ctx: ActionContext) -> ModelResponse:
        await asyncio.sleep(0)
        last = request.messages[-1]
        ctx.send_chunk(ModelResponseChunk(content=[Part(text=last.text)]))
        if request.tools and last.role == "user":
            wish = ToolRequest(name="double", input={"n": int(last.text)}, ref=last.text)
            return ModelResponse(message=Message.model([Part(tool_request=wish)]))
        outputs = [part.tool_response.output for part in last.content if part.tool_response]
        return ModelResponse(message=Message.model(str(outputs[0]) if outputs else last.text), finish_reason="stop")

    ai.define_model("test/echo", echo)
    return ai


async def double(n: int, ctx: ActionContext) -> int:
    await asyncio.sleep(0)
    assert current_context() == ctx.context == {"user": n}
    return 2 * n


async def all_at_once(ai: Genkit, count: int, **options: Any) -> list[ModelResponse]:
    return await asyncio.gather(*(ai.generate(str(n), context={"user": n}, **options) for n in range(count)))


async def test_each_of_many_generations_at_once_has_its_own_answer() -> None:
    responses = await all_at_once(echo_ai(), MANY)
    assert [response.text for response in responses] == [str(n) for n in range(MANY)]
    assert [response.messages[0].text for response in responses] == [str(n) for n in range(MANY)]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_each_of_many_tool_trips_at_once_has_its_own_context_and_tool() -> None:
    ai = echo_ai()
    before = await ai.registry.list_actions()
    responses = await all_at_once(ai, MANY // 10, tools=[double])
    assert [response.text for response in responses] == [str(2 * n) for n in range(MANY // 10)]
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert await ai.registry.list_actions() == before


async def test_each_of_many_streams_at_once_gets_its_own_chunks() -> None:
    ai = echo_ai()

    async def read(n: int) -> list[tuple[str | None, str]]:
        stream = ai.generate_stream(str(n), tools=[double], context={"user": n})
        return [(chunk.role, chunk.text) async for chunk in stream.stream]

    read_ones = await asyncio.gather(*(read(n) for n in range(MANY // 10)))
    assert read_ones == [[("model", str(n)), ("tool", ""), ("model", "")] for n in range(MANY // 10)]
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("tools", [(), (double,)], ids=["plain", "with a tool"])
async def test_no_object_stays_after_a_round_of_generations(tools: Any) -> None:
    ai = echo_ai()
    counts: list[int] = []
    for _ in range(4):
        await all_at_once(ai, 200, tools=tools)
        gc.collect()
        counts.append(len(gc.get_objects()))
    assert counts[3] - counts[1] < 200  # not one object for each two generations


async def test_generations_that_are_cancelled_among_others_leave_nothing() -> None:
    ai = echo_ai()
    tasks = [asyncio.ensure_future(ai.generate(str(n), tools=[double], context={"user": n})) for n in range(400)]
    cancelled: set[int] = set()
    for n, task in enumerate(tasks):
        if n % 3 == 0 and task.cancel():  # the first ones are through by the time that it is the last ones' turn
            cancelled.add(n)
        if n % 40 == 0:
            await asyncio.sleep(0)
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert len(cancelled) > 20
    for n, found in enumerate(done):
        if n in cancelled:
            assert isinstance(found, asyncio.CancelledError)
        else:
            assert isinstance(found, ModelResponse)
            assert found.text == str(2 * n)
    assert asyncio.all_tasks() == {asyncio.current_task()}
