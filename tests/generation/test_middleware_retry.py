import asyncio
import time
from typing import Any

import pytest

from genkit_rag._core.context import ActionContext
from genkit_rag._core.errors import GenkitError
from genkit_rag._core.registry import Registry
from genkit_rag._documents.part import Part
from genkit_rag._generation.generate import GenerateOptions, generate
from genkit_rag._generation.middleware import Retry, retry
from genkit_rag._generation.model import ModelRequest, ModelResponse, ModelResponseChunk
from genkit_rag.testing._scripted_model import ScriptedModel


def unavailable(after: float | None = None) -> GenkitError:
    return GenkitError("UNAVAILABLE", "Not now.", retry_after=after)


class Play:
    """Runs a script under a Retry whose pauses are noted instead of waited for."""

    def __init__(self, *answers: Any, random: float = 0.0, **settings: Any) -> None:
        self.pauses: list[float] = []
        self.model = ScriptedModel("test/scripted", answers)
        self.retry = Retry(**settings, sleep=self.sleep, uniform=lambda: random)

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def run(self, on_chunk: Any = None) -> ModelResponse:
        options = GenerateOptions(model=self.model.action, prompt="hi", use=[self.retry])
        return await generate(Registry(), options, on_chunk=on_chunk)

    async def fails(self, on_chunk: Any = None) -> GenkitError:
        with pytest.raises(GenkitError) as caught:
            await self.run(on_chunk)
        assert caught.value.response is not None
        return caught.value

    @property
    def calls(self) -> int:
        return len(self.model.requests)


async def test_a_success_is_not_repeated() -> None:
    play = Play("ok")
    assert (await play.run()).text == "ok"
    assert (play.calls, play.pauses) == (1, [])


@pytest.mark.parametrize("status", ["UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "INTERNAL"])
async def test_a_passing_error_is_retried(status: Any) -> None:
    play = Play(GenkitError(status, "x"), "ok")
    assert (await play.run()).text == "ok"
    assert play.calls == 2


@pytest.mark.parametrize(
    "status",
    ["INVALID_ARGUMENT", "UNAUTHENTICATED", "PERMISSION_DENIED", "NOT_FOUND", "FAILED_PRECONDITION", "CANCELLED"],
)
async def test_a_lasting_error_is_not_retried(status: Any) -> None:
    play = Play(GenkitError(status, "x"), "ok")
    assert (await play.fails()).status == status
    assert play.calls == 1


async def test_an_error_without_a_status_counts_as_internal() -> None:
    play = Play(ConnectionError("reset"), "ok")
    assert (await play.run()).text == "ok"
    strict = Play(ConnectionError("reset"), "ok", statuses=["UNAVAILABLE"])
    assert (await strict.fails()).status == "INTERNAL"
    assert strict.calls == 1


@pytest.mark.parametrize("max_retries", [0, 1, 3])
async def test_it_gives_up_with_the_last_error(max_retries: int) -> None:
    play = Play(*[GenkitError("UNAVAILABLE", f"no {n}") for n in range(9)], max_retries=max_retries)
    assert f"no {max_retries}" in (await play.fails()).message
    assert play.calls == max_retries + 1


async def test_on_error_hears_of_every_failure_that_is_retried() -> None:
    heard: list[tuple[str, int]] = []
    play = Play(
        unavailable(), ValueError("odd"), "ok", on_error=lambda error, attempt: heard.append((str(error), attempt))
    )
    await play.run()
    assert heard == [("UNAVAILABLE: Not now.", 1), ("odd", 2)]


async def test_pauses_grow_by_the_factor_up_to_the_longest() -> None:
    play = Play(*[unavailable()] * 6, max_retries=5, initial_delay_ms=100, backoff_factor=3, max_delay_ms=2000)
    await play.fails()
    assert play.pauses == pytest.approx([0.1, 0.3, 0.9, 2.0, 2.0])


async def test_the_first_pause_is_a_second_by_default() -> None:
    play = Play(*[unavailable()] * 4)
    await play.fails()
    assert play.pauses == [1.0, 2.0, 4.0]


async def test_jitter_takes_up_to_half_away() -> None:
    for random, pause in ((0.0, 1.0), (0.5, 0.75), (0.999, 0.5005)):
        play = Play(unavailable(), "ok", random=random)
        await play.run()
        assert play.pauses == [pytest.approx(pause)]
    exact = Play(unavailable(), "ok", random=0.9, no_jitter=True)
    await exact.run()
    assert exact.pauses == [1.0]


async def test_a_thousand_retries_do_not_overflow() -> None:
    play = Play(*[unavailable()] * 1101, max_retries=1100, backoff_factor=10.0)
    await play.fails()
    assert len(play.pauses) == 1100
    assert max(play.pauses) == 60


@pytest.mark.parametrize(
    ("after", "pause"), [(5.0, 5.0), (0.2, 1.0), (1e6, 60.0), (-3.0, 1.0), (0.0, 1.0), (float("nan"), 1.0)]
)
async def test_retry_after_is_waited_for_within_the_longest_pause(after: float, pause: float) -> None:
    play = Play(unavailable(after), "ok", no_jitter=True)
    await play.run()
    assert play.pauses == [pause]


async def test_a_call_that_streamed_to_the_caller_is_not_made_again() -> None:
    def partly(request: ModelRequest, ctx: ActionContext) -> Any:
        ctx.send_chunk(ModelResponseChunk(content=[Part(text="half")]))
        return unavailable_now()

    def unavailable_now() -> Any:
        raise unavailable()

    chunks: list[ModelResponseChunk] = []
    play = Play(partly, "ok")
    await play.fails(on_chunk=chunks.append)
    assert (play.calls, [chunk.text for chunk in chunks]) == (1, ["half"])
    silent = Play(partly, "ok")
    assert (await silent.run()).text == "ok"
    before_the_first = Play(unavailable(), "ok")
    assert (await before_the_first.run(on_chunk=chunks.append)).text == "ok"


@pytest.mark.parametrize("where", ["model", "pause"])
async def test_cancellation_passes_straight_through(where: str) -> None:
    reached = asyncio.Event()

    async def hang(*args: Any) -> Any:
        reached.set()
        await asyncio.sleep(60)

    model = ScriptedModel("test/scripted", [hang if where == "model" else unavailable(), "never"])
    use = [Retry() if where == "model" else Retry(sleep=hang)]
    task = asyncio.create_task(generate(Registry(), GenerateOptions(model=model.action, prompt="x", use=use)))
    await reached.wait()
    started = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - started < 10
    assert len(model.requests) == 1


def test_settings_that_make_no_sense_are_refused() -> None:
    for wrong in ({"max_retries": -1}, {"initial_delay_ms": -5}, {"backoff_factor": float("nan")}):
        with pytest.raises(GenkitError) as caught:
            retry(**wrong)
        assert next(iter(wrong)) in caught.value.message


def test_the_function_and_the_class_are_one() -> None:
    assert retry(max_retries=5) == Retry(max_retries=5)
