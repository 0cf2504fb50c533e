"""What the generate loop costs: a turn, a tool trip, parallel tools, streaming, ten thousand at once."""

from __future__ import annotations

import asyncio
import gc
import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
CONCURRENT = 10_000
ROUNDS = 3


def _answer(*parts: Part) -> ModelResponse:
    return ModelResponse(message=Message(role="model", content=list(parts)), finish_reason="stop")


def _ai() -> Genkit:
    ai = Genkit(model="bench/model")

    async def model(request: ModelRequest, ctx: ActionContext) -> ModelResponse:
        if ctx.streaming:
            for i in range(CHUNKS):
                ctx.send_chunk(ModelResponseChunk(content=[Part(text=f"tok{i} ")]))
        if request.messages[-1].role == "user" and request.tools:
            calls = [ToolRequest(name=t.name, input={"x": i}, ref=str(i)) for i, t in enumerate(request.tools)]
            return _answer(*(Part(tool_request=call) for call in calls))
        return _answer(Part(text="final answer"))

    async def echo(request: ModelRequest, ctx: ActionContext) -> ModelResponse:
        await asyncio.sleep(0)
        return _answer(Part(text=request.messages[-1].text))

    ai.define_model("bench/model", model)
    ai.define_model("bench/echo", echo)

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
    return ai


async def _turns(report: Report, ai: Genkit) -> None:
    async def turn(_: Any) -> None:
        await ai.generate("hi")

    async def trip(_: Any) -> None:
        await ai.generate("hi", tools=["add"])

    for name, call, bar in (("generate, one turn", turn, 150), ("generate with one tool trip", trip, 400)):
        cost = min([(await timed(call, range(300))).cpu for _ in range(5)])
        report.add(f"{name}, CPU", f"{cost:.0f} us", f"< {bar} us", holds=cost < bar)
        with _recording():
            cost = min([(await timed(call, range(300))).cpu for _ in range(5)])
        report.add(f"{name}, traced, CPU", f"{cost:.0f} us")


@contextmanager
def _recording() -> Iterator[None]:
    """Records spans without exporting them: what is measured is ours, not an exporter."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    provider = TracerProvider()
    real = trace.get_tracer_provider, trace.get_tracer
    trace.get_tracer_provider = lambda: provider
    trace.get_tracer = lambda *args, **more: provider.get_tracer("bench")
    try:
        yield
    finally:
        trace.get_tracer_provider, trace.get_tracer = real


async def _parallel_tools(report: Report, ai: Genkit) -> None:
    for kind, name in (("slow", "async"), ("sync", "sync")):
        laps = []
        for _ in range(5):
            start = time.perf_counter()
            await ai.generate("hi", tools=[f"{kind}{i}" for i in range(8)])
            laps.append(time.perf_counter() - start)
        wall = statistics.median(laps) * 1e3
        report.add(f"8 {name} tools of 50 ms each", f"{wall:.1f} ms", "< 65 ms", holds=wall < 65)


async def _chunks(report: Report, ai: Genkit) -> None:
    async def per_chunk(*, accumulated: bool) -> float:
        rates = []
        for _ in range(15):
            start, n, length = time.process_time(), 0, 0
            async for chunk in ai.generate_stream("hi").stream:
                n += 1
                length += len(chunk.accumulated_text) if accumulated else 0
            rates.append((time.process_time() - start) / n * 1e6)
        return min(rates)

    cost = await per_chunk(accumulated=False)
    report.add("streaming, a chunk, CPU (made, sent and read)", f"{cost:.1f} us", "<= 5 us", holds=cost <= 5)
    global CHUNKS
    usual = CHUNKS
    short = await per_chunk(accumulated=True)
    CHUNKS = usual * 8
    long = await per_chunk(accumulated=True)
    CHUNKS = usual
    report.add(f"the same with `accumulated_text` of each, {usual:,} chunks", f"{short:.1f} us")
    holds = long < 2 * short
    report.add(f"the same, {usual * 8:,} chunks", f"{long:.1f} us", "< 2 x, so linear", holds=holds)


async def _many(report: Report, ai: Genkit) -> None:
    sizes, errors, start = [], 0, time.process_time()
    for _ in range(ROUNDS):
        calls = [ai.generate(str(n), model="bench/echo") for n in range(CONCURRENT)]
        found = await asyncio.gather(*calls, return_exceptions=True)
        errors += sum(isinstance(one, BaseException) or one.text != str(n) for n, one in enumerate(found))
        del calls, found
        gc.collect()
        sizes.append(_resident_mb())
    cost = (time.process_time() - start) / ROUNDS / CONCURRENT * 1e6
    name = f"{CONCURRENT:,} generates at once"
    report.add(f"{name}, CPU each", f"{cost:.0f} us")
    report.add(f"{name}, errors or wrong answers", str(errors), "0", holds=errors == 0)
    shown = ", ".join(f"{size:.0f}" for size in sizes)
    report.add(
        f"{name}, RSS after each round", f"{shown} MB", "third within 5 % of second", holds=sizes[2] <= 1.05 * sizes[1]
    )


def _resident_mb() -> float:
    import psutil

    return float(psutil.Process(os.getpid()).memory_info().rss) / 1e6


async def run(report: Report) -> None:
    ai = _ai()
    await _turns(report, ai)
    await _parallel_tools(report, ai)
    await _chunks(report, ai)
    await _many(report, ai)


if __name__ == "__main__":
    alone = Report("The generate loop")
    asyncio.run(run(alone))
    sys.exit(1 if alone.show() else 0)
