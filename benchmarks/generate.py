"""What the generate loop costs: one tool trip, parallel tools, streaming."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import Any

from benchmarks.workload import Report, timed
from genkit_rag import Genkit, Message, Part
from genkit_rag.plugin_api import (
    ActionContext,
    ModelRequest,
    ModelResponse,
    ModelResponseChunk,
    ToolRequest,
)

CHUNKS = 2000


def _answer(*parts: Part) -> ModelResponse:
    return ModelResponse(message=Message(role="model", content=list(parts)), finish_reason="stop")


async def run(report: Report) -> None:
    ai = Genkit(model="bench/model")

    async def model(request: ModelRequest, ctx: ActionContext) -> ModelResponse:
        if ctx.streaming:
            for i in range(CHUNKS):
                ctx.send_chunk(ModelResponseChunk(content=[Part(text=f"tok{i} ")]))
        if request.messages[-1].role == "user" and request.tools:
            calls = [ToolRequest(name=t.name, input={"x": i}, ref=str(i)) for i, t in enumerate(request.tools)]
            return _answer(*(Part(tool_request=call) for call in calls))
        return _answer(Part(text="final answer"))

    ai.define_model("bench/model", model)

    @ai.tool
    async def add(x: int) -> int:
        return x + 1

    for i in range(8):

        async def slow(x: int) -> int:
            await asyncio.sleep(0.05)
            return x

        def slow_sync(x: int) -> int:
            time.sleep(0.05)
            return x

        ai.define_tool(slow, name=f"slow{i}")
        ai.define_tool(slow_sync, name=f"sync{i}")

    async def trip(_: Any) -> None:
        await ai.generate("hi", tools=["add"])

    costs = [(await timed(trip, range(300))).cpu for _ in range(5)]
    cost = min(costs)
    report.add("generate with one tool trip, CPU", f"{cost:.0f} us", "< 400 us", holds=cost < 400)
    for kind in ("slow", "sync"):
        laps = []
        for _ in range(5):
            start = time.perf_counter()
            await ai.generate("hi", tools=[f"{kind}{i}" for i in range(8)])
            laps.append(time.perf_counter() - start)
        wall = statistics.median(laps) * 1e3
        name = "async" if kind == "slow" else "sync"
        report.add(f"8 {name} tools of 50 ms each", f"{wall:.1f} ms", "< 65 ms", holds=wall < 65)

    rates = []
    for _ in range(15):
        start, n = time.process_time(), 0
        async for _chunk in ai.generate_stream("hi").stream:
            n += 1
        rates.append((time.process_time() - start) / n * 1e6)
    per_chunk = min(rates)
    report.add("streaming, a chunk, CPU (made, sent and read)", f"{per_chunk:.1f} us", "<= 5 us", holds=per_chunk <= 5)
