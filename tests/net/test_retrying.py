"""The retry loop and its backoff."""

from __future__ import annotations

import asyncio

import pytest

from genkit_rag._net.retrying import Backoff, retry_call


class Flaky:
    """Fails `failures` times, then returns the number of calls."""

    def __init__(self, failures: int, error: type[BaseException] = ConnectionError) -> None:
        self.calls = 0
        self._failures = failures
        self._error = error

    async def __call__(self) -> int:
        self.calls += 1
        if self.calls <= self._failures:
            raise self._error(f"failure {self.calls}")
        return self.calls


async def test_it_returns_the_first_success_and_sleeps_between_attempts() -> None:
    slept: list[float] = []
    asked: list[tuple[int, str]] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    def pause(retry: int, error: Exception) -> float:
        asked.append((retry, str(error)))
        return 10.0 + retry

    assert await retry_call(Flaky(2), pause, retries=2, sleep=sleep) == 3
    assert slept == [10.0, 11.0]
    assert asked == [(0, "failure 1"), (1, "failure 2")]


@pytest.mark.parametrize("retries", [0, 1, 3])
async def test_it_raises_the_last_error_after_the_retries(retries: int) -> None:
    call = Flaky(9)
    with pytest.raises(ConnectionError, match=f"failure {retries + 1}"):
        await retry_call(call, lambda _retry, _error: 0.0, retries=retries)
    assert call.calls == retries + 1


async def test_no_pause_means_no_retry() -> None:
    call = Flaky(9)
    with pytest.raises(ConnectionError, match="failure 1"):
        await retry_call(call, lambda _retry, _error: None, retries=5)
    assert call.calls == 1


@pytest.mark.parametrize("error", [asyncio.CancelledError, KeyboardInterrupt])
async def test_cancellation_and_exits_are_not_retried(error: type[BaseException]) -> None:
    call = Flaky(9, error)
    with pytest.raises(error):
        await retry_call(call, lambda _retry, _error: 0.0, retries=5)
    assert call.calls == 1


def test_pauses_grow_up_to_the_longest() -> None:
    backoff = Backoff(1.0, 60.0, factor=3.0)
    assert [backoff.pause(retry) for retry in (0, 1, 2, 3, 4, 10_000)] == [1.0, 3.0, 9.0, 27.0, 60.0, 60.0]


@pytest.mark.parametrize(("jitter", "lowest"), [(0.5, 1.0), (1.0, 0.0)])
def test_jitter_subtracts_up_to_its_share(jitter: float, lowest: float) -> None:
    assert Backoff(2.0, 60.0, jitter=jitter, uniform=lambda: 0.0).pause(0) == 2.0
    assert Backoff(2.0, 60.0, jitter=jitter, uniform=lambda: 1.0).pause(0) == pytest.approx(lowest)
