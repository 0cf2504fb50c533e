"""Calls of models wait for their turn."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genkit_rag import Genkit, GenkitError, Message, ModelResponse
from genkit_rag.middleware import rate_limit, retry
from genkit_rag.plugin_api import TokenBucket, Usage
from genkit_rag.testing import ScriptedModel


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Every pause that is slept, at once instead."""
    slept: list[float] = []
    sleep = asyncio.sleep
    thread = threading.get_ident()

    async def at_once(seconds: float) -> None:
        if threading.get_ident() != thread:  # a server of another test module, in its own thread
            return await sleep(seconds)
        if seconds:
            slept.append(round(seconds))
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", at_once)
    return slept


async def run(model: ScriptedModel, *use: Any, prompt: str = "hi", **more: Any) -> ModelResponse:
    return await Genkit().generate(prompt, model=model.action, use=use, **more)


def spent(tokens: float | None) -> ModelResponse:
    return ModelResponse(message=Message.model("ok"), finish_reason="stop", usage=Usage(total_tokens=tokens))


async def test_requests_beyond_the_bound_wait_and_none_is_refused(pauses: list[float]) -> None:
    made = rate_limit(requests_per_minute=6.5)  # one in ten seconds
    model = ScriptedModel("test/model", ["ok"] * 4)
    for _ in range(4):
        assert (await run(model, made)).text == "ok"
    assert pauses == [5, 15, 25]


async def test_the_bound_is_one_for_all_generations_and_models(pauses: list[float]) -> None:
    made = rate_limit(requests_per_minute=6.5)
    await asyncio.gather(*(run(ScriptedModel(f"test/{n}", ["ok"]), made) for n in range(3)))
    assert sorted(pauses) == [5, 15]


async def test_tokens_are_estimated_first_and_counted_in_the_end(pauses: list[float]) -> None:
    made = rate_limit(tokens_per_minute=6500)  # a hundred a second
    model = ScriptedModel("test/model", [spent(3000), spent(None), spent(None), spent(0), "ok"])
    question = "x" * 4000  # a thousand tokens
    await run(model, made, prompt=question)
    await run(model, made, prompt=question)
    assert pauses == [25]  # thirty seconds' worth, five of which may be spent at once
    await run(model, made, prompt=question, config={"max_output_tokens": 500})
    assert pauses == [25, 35]
    await run(model, made, prompt=question)
    await run(model, made)
    assert pauses == [25, 35, 50, 50]  # the fourth call gave back what it had not used


async def test_documents_cost_tokens_too(pauses: list[float]) -> None:
    made = rate_limit(tokens_per_minute=6500)
    model = ScriptedModel("test/model", ["ok"] * 2, supports={"context": True})
    for _ in range(2):
        await run(model, made, docs=["x" * 4000])
    assert pauses == [5]


async def test_no_more_calls_run_at_a_time_than_that() -> None:
    busy = most = 0

    async def work(_: Any) -> str:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await asyncio.sleep(0.005)
        busy -= 1
        return "ok"

    made = rate_limit(max_concurrent=3)
    model = ScriptedModel("test/model", [work] * 12)
    await asyncio.gather(*(run(model, made) for _ in range(12)))
    assert most == 3


@pytest.mark.parametrize("bounds", [{"max_concurrent": 5}, {"requests_per_minute": 60_000}, {"tokens_per_minute": 1e9}])
async def test_a_server_that_asks_for_a_pause_gets_it_from_everybody(pauses: list[float], bounds: Any) -> None:
    made = rate_limit(**bounds)
    model = ScriptedModel("test/model", [GenkitError("RESOURCE_EXHAUSTED", "Slow down.", retry_after=20), "ok", "ok"])
    with pytest.raises(GenkitError, match="Slow down"):
        await run(model, made)
    await run(model, made)
    await run(model, made)
    assert pauses == [20, 20]


async def test_a_pause_of_hours_is_not_waited_for(pauses: list[float]) -> None:
    made = rate_limit(max_concurrent=1)
    model = ScriptedModel("test/model", [GenkitError("RESOURCE_EXHAUSTED", "Tomorrow.", retry_after=1e6), "ok"])
    with pytest.raises(GenkitError, match="Tomorrow"):
        await run(model, made)
    await run(model, made)
    assert pauses == [60]


async def test_every_attempt_of_a_retry_outside_of_it_is_counted(pauses: list[float]) -> None:
    made = rate_limit(requests_per_minute=6.5)
    model = ScriptedModel("test/model", [GenkitError("UNAVAILABLE", "Not now."), "ok"])
    await run(model, retry(initial_delay_ms=0), made)
    assert pauses == [5]


async def test_a_call_that_is_cancelled_while_it_waits_leaves_its_place() -> None:
    started, gate = asyncio.Event(), asyncio.Event()

    async def hold(_: Any) -> str:
        started.set()
        await gate.wait()
        return "ok"

    made = rate_limit(max_concurrent=1)
    model = ScriptedModel("test/model", [hold, "second"])
    first = asyncio.create_task(run(model, made))
    await started.wait()
    waiting = asyncio.create_task(run(model, made))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.set()
    assert (await first).text == "ok"
    assert (await asyncio.wait_for(run(model, made), 5)).text == "second"


@given(st.floats(0, 1000), st.floats(0, 1000), st.floats(0, 100))
def test_what_is_counted_in_the_end_holds_back_as_if_it_had_been_known(guess: float, true: float, later: float) -> None:
    now = [0.0]
    known, guessed = (TokenBucket(60, clock=lambda: now[0]) for _ in range(2))
    known.reserve(true)
    guessed.reserve(guess)
    now[0] += later
    guessed.correct(true - guess)
    assert guessed.reserve() == pytest.approx(known.reserve(), abs=1e-6)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({}, "requests"),
        ({"requests_per_minute": 0}, "requests"),
        ({"max_concurrent": 0.5}, "max_concurrent"),
        ({"max_concurrent": 0}, "max_concurrent"),
        ({"max_concurrent": 2.5}, "max_concurrent"),
        ({"tokens_per_minute": -1}, "tokens"),
        ({"tokens_per_minute": float("nan")}, "tokens"),
        ({"requests_per_minute": float("inf")}, "requests"),
    ],
)
def test_wrong_bounds_are_refused(wrong: Any, named: str) -> None:
    with pytest.raises(GenkitError, match=named):
        rate_limit(**wrong)
