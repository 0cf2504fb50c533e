from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genkit_rag import Document, Genkit, GenkitError
from genkit_rag.plugin_api import EmbedderAction, EmbedRequest, RateLimiter, TokenBucket
from genkit_rag_openai import OpenAI
from genkit_rag_wrapped import Wrapped, WrappedConfig
from genkit_rag_wrapped._retry import call_with_retries
from tests.embedders.test_wrapped import Words, embed, wrapped
from tests.fakes.openai_api import FakeOpenAI
from tests.fakes.serving import serve


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Every pause that is slept, at once instead."""
    slept: list[float] = []
    sleep = asyncio.sleep

    async def at_once(seconds: float) -> None:
        if seconds:
            slept.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", at_once)
    return slept


# ---- pace


@given(st.integers(1, 100), st.lists(st.floats(0, 30), min_size=1, max_size=120))
def test_in_no_minute_there_are_more_calls_than_that(per_minute: int, gaps: list[float]) -> None:
    clock = Clock()
    pace = TokenBucket(per_minute, clock=clock)
    starts: list[float] = []
    for gap in gaps:
        clock.now += gap
        starts.append(clock.now + pace.reserve())
    assert starts == sorted(starts)  # whoever comes first goes first
    for begin in starts:
        assert len([start for start in starts if begin <= start < begin + 59.999]) <= per_minute


@given(st.integers(1000, 100_000), st.lists(st.tuples(st.floats(0, 5), st.integers(1, 2000)), max_size=80))
def test_tokens_exceed_their_bound_by_one_call_at_most(per_minute: int, calls: list[tuple[float, int]]) -> None:
    clock = Clock()
    pace = TokenBucket(per_minute, clock=clock)
    starts: list[tuple[float, int]] = []
    for gap, tokens in calls:
        clock.now += gap
        starts.append((clock.now + pace.reserve(tokens), tokens))
    for begin, _ in starts:
        inside = [tokens for start, tokens in starts if begin <= start < begin + 59.999]
        assert sum(inside[:-1]) <= per_minute


def test_a_pause_gives_a_burst_and_no_more() -> None:
    clock = Clock()
    pace = TokenBucket(65, clock=clock)  # one a second
    assert [round(pace.reserve(), 6) for _ in range(8)] == [0, 0, 0, 0, 0, 0, 1, 2]
    clock.now = 1000
    assert [round(pace.reserve(), 6) for _ in range(7)] == [0, 0, 0, 0, 0, 0, 1]


def test_a_hold_keeps_everybody_back() -> None:
    clock = Clock()
    pace = TokenBucket(60_000, clock=clock)
    pace.hold(30)
    assert pace.reserve() == pytest.approx(30)
    clock.now = 31
    assert pace.reserve() == 0


async def test_the_tighter_of_two_limits_counts(pauses: list[float]) -> None:
    limits = RateLimiter(requests=6_000_000, tokens=6500)
    for _ in range(3):
        await limits.wait(1000)
    assert [round(pause) for pause in pauses] == [5, 15]  # 10 s for a thousand, 5 s of them at once


# ---- retries


def failing(*errors: Exception) -> Any:
    left = list(errors)
    made: list[int] = []

    async def call() -> str:
        made.append(1)
        if left:
            raise left.pop(0)
        return "done"

    call.made = made  # type: ignore[attr-defined]
    return call


@pytest.mark.parametrize(
    ("status", "details", "made"),
    [
        ("UNAVAILABLE", {}, 2),
        ("RESOURCE_EXHAUSTED", {}, 2),
        ("DEADLINE_EXCEEDED", {}, 2),
        ("INTERNAL", {"http_status": 500}, 2),
        ("INTERNAL", {}, 1),
        ("INVALID_ARGUMENT", {"http_status": 422}, 1),
        ("UNAUTHENTICATED", {}, 1),
        ("PERMISSION_DENIED", {}, 1),
        ("NOT_FOUND", {}, 1),
        ("FAILED_PRECONDITION", {}, 1),
    ],
)
async def test_only_what_may_pass_is_tried_again(
    status: Any, details: dict[str, Any], made: int, pauses: list[float]
) -> None:
    call = failing(GenkitError(status, "no", details=details))
    if made == 1:
        with pytest.raises(GenkitError):
            await call_with_retries(call, retries=3, seconds=60)
    else:
        assert await call_with_retries(call, retries=3, seconds=60) == "done"
    assert len(call.made) == made


async def test_retries_end_with_the_last_error(pauses: list[float]) -> None:
    call = failing(*(GenkitError("UNAVAILABLE", f"error {i}") for i in range(9)))
    with pytest.raises(GenkitError, match="error 3"):
        await call_with_retries(call, retries=3, seconds=1000)
    assert len(call.made) == 4
    assert all(0 <= pause <= 2**i for i, pause in enumerate(pauses))


async def test_the_pause_is_what_the_other_side_says_and_a_little(pauses: list[float]) -> None:
    call = failing(GenkitError("RESOURCE_EXHAUSTED", "later", retry_after=7))
    assert await call_with_retries(call, retries=1, seconds=60) == "done"
    assert 7 <= pauses[0] <= 8


@pytest.mark.parametrize("retry_after", [61.0, 1e6])
async def test_a_pause_beyond_the_budget_is_not_begun(retry_after: float, pauses: list[float]) -> None:
    call = failing(GenkitError("RESOURCE_EXHAUSTED", "tomorrow", retry_after=retry_after))
    with pytest.raises(GenkitError, match="tomorrow") as caught:
        await call_with_retries(call, retries=5, seconds=60)
    assert caught.value.retry_after == retry_after
    assert pauses == []


async def test_a_defect_is_not_tried_again(pauses: list[float]) -> None:
    call = failing(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await call_with_retries(call, retries=5, seconds=60)
    assert len(call.made) == 1


async def test_a_wrapped_embedder_gets_over_a_passing_failure(pauses: list[float]) -> None:
    inner = Words()
    inner.errors = [GenkitError("RESOURCE_EXHAUSTED", "busy", retry_after=3), GenkitError("UNAVAILABLE", "away")]
    action = await wrapped(inner, WrappedConfig("inner/words", requests_per_minute=60))
    assert (await embed(action, "cat")).shape == (1, 16)
    assert len(inner.calls) == 3
    assert max(pauses) >= 3
    inner.errors = [GenkitError("UNAVAILABLE", "away")]
    with pytest.raises(GenkitError, match="away"):
        await embed(await wrapped(inner, WrappedConfig("inner/words", retries=0)), "cat")


# ---- over a real connection


@pytest.mark.network
async def test_a_429_of_a_real_server_is_waited_for(pauses: list[float]) -> None:
    fake, refusals = FakeOpenAI(), 2

    async def busy_first(scope: Any, receive: Any, send: Any) -> None:
        nonlocal refusals
        if scope["path"].endswith("/embeddings") and refusals:
            refusals -= 1
            await send(
                {
                    "type": "http.response.start",
                    "status": 429,
                    "headers": [(b"content-type", b"application/json"), (b"retry-after", b"0.25")],
                }
            )
            await send({"type": "http.response.body", "body": b'{"error": {"message": "Rate limit reached"}}'})
            return
        await fake.app(scope, receive, send)

    with serve(busy_first) as url:
        wraps = {"small": WrappedConfig("openai/text-embedding-3-small", dimensions=4)}
        async with Genkit(plugins=[OpenAI(base_url=f"{url}/v1"), Wrapped(wraps)]) as ai:
            action = await ai.registry.get("embedder", "wrapped/small")
            assert isinstance(action, EmbedderAction)
            response = await action(EmbedRequest(input=[Document("one"), Document("two")]))
            assert response.vectors.shape == (2, 4)
            assert action.fingerprint(4).model == "text-embedding-3-small"
    assert [body.get("dimensions") for body in fake.requests] == [4]
    assert len([pause for pause in pauses if pause >= 0.25]) == 2
