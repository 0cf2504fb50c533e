"""What holds for every middleware: it does its work and nothing else, whatever the generation is like."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from genkit_rag import Genkit, GenkitError, ModelResponse
from genkit_rag.middleware import (
    Middleware,
    augment_with_context,
    cache,
    download_request_media,
    fallback,
    rate_limit,
    redact,
    retry,
    simulate_constrained_generation,
    simulate_system_prompt,
    tool_approval,
    validate_support,
)
from genkit_rag.plugin_api import ToolRequest, Usage
from genkit_rag.testing import ScriptedModel

MADE: dict[str, Callable[[Genkit], Middleware]] = {
    "retry": lambda ai: retry(initial_delay_ms=0),
    "fallback": lambda ai: fallback(ai.registry, models=["test/other"]),
    "augment_with_context": lambda ai: augment_with_context(),
    "simulate_system_prompt": lambda ai: simulate_system_prompt(),
    "simulate_constrained_generation": lambda ai: simulate_constrained_generation(),
    "validate_support": lambda ai: validate_support(),
    "download_request_media": lambda ai: download_request_media(),
    "tool_approval": lambda ai: tool_approval(["double"]),
    "cache": lambda ai: cache(),
    "rate_limit": lambda ai: rate_limit(requests_per_minute=1e9, tokens_per_minute=1e12, max_concurrent=2),
    "redact": lambda ai: redact(),
}


def double(n: int) -> int:
    return 2 * n


ASK = [ToolRequest(name="double", input={"n": 1}, ref="a")]
SAYS = Usage(input_tokens=3, output_tokens=4, total_tokens=7)


@pytest.fixture(params=MADE)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class World:
    """A model with a script, and a middleware."""

    def __init__(self, name: str, *answers: Any) -> None:
        self.ai = Genkit()
        self.model = ScriptedModel("test/model", answers)
        self.ai.registry.register(self.model.action)
        self.ai.registry.register(ScriptedModel("test/other", []).action)
        self.made = MADE[name](self.ai)

    async def run(self, prompt: str = "hi", use: list[Any] | None = None, **more: Any) -> ModelResponse:
        return await self.ai.generate(prompt, model="test/model", use=[self.made] if use is None else use, **more)


async def test_an_answer_is_as_it_would_be_without_it(name: str) -> None:
    plain, wrapped = World(name, ASK, "It is 2."), World(name, ASK, "It is 2.")
    wanted = await plain.run(use=[], tools=[double], config={"temperature": 0})
    got = await wrapped.run(tools=[double], config={"temperature": 0})
    assert got.text == "It is 2."
    assert got.model_copy(update={"latency_ms": None}) == wanted.model_copy(update={"latency_ms": None})
    assert wrapped.model.requests == plain.model.requests


async def test_streaming_gives_the_same_chunks_in_order(name: str) -> None:
    plain, wrapped = World(name, ASK, "one two three"), World(name, ASK, "one two three")
    wanted: list[Any] = []
    got: list[Any] = []
    await plain.run(use=[], tools=[double], on_chunk=wanted.append)
    response = await wrapped.run(tools=[double], on_chunk=got.append)
    assert response.text == "one two three"
    assert [(c.role, c.index, c.content) for c in got] == [(c.role, c.index, c.content) for c in wanted]


async def test_an_error_of_the_model_passes_with_the_conversation_so_far(name: str) -> None:
    world = World(name, ASK, GenkitError("PERMISSION_DENIED", "No."))
    with pytest.raises(GenkitError, match=r"No\.") as caught:
        await world.run(tools=[double])
    assert caught.value.status == "PERMISSION_DENIED"
    assert [message.role for message in caught.value.response.messages] == ["user", "model", "tool"]


async def test_a_defect_of_the_model_passes_as_its_cause(name: str) -> None:
    world = World(name, *[ZeroDivisionError("oops")] * 4)
    if name == "fallback":
        world.ai.registry.register(ScriptedModel("test/broken", [ZeroDivisionError("oops")]).action)
        world.made = fallback(world.ai.registry, models=["test/broken"])
    with pytest.raises(GenkitError) as caught:
        await world.run()
    assert caught.value.status == "INTERNAL"
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


async def test_a_cancelled_call_is_cancelled_at_once_and_the_next_one_works(name: str) -> None:
    started = asyncio.Event()

    async def hang(_: Any) -> str:
        started.set()
        await asyncio.Event().wait()
        return "never"

    world = World(name, hang, "back again")
    running = asyncio.create_task(world.run())
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await world.run()).text == "back again"


async def test_one_object_serves_many_generations_at_once(name: str) -> None:
    async def echo(request: Any) -> str:
        await asyncio.sleep(0)
        return f"re: {request.messages[-1].text}"

    world = World(name, *[echo] * 20)
    responses = await asyncio.gather(*(world.run(f"question {n}") for n in range(20)))
    assert [response.text for response in responses] == [f"re: question {n}" for n in range(20)]


def test_one_object_serves_two_event_loops(name: str) -> None:
    world = World(name, *[lambda request: f"re: {request.messages[-1].text}"] * 6)

    async def three(first: int) -> list[str]:
        responses = await asyncio.gather(*(world.run(f"question {first + n}") for n in range(3)))
        return [response.text for response in responses]

    assert asyncio.run(three(0)) == [f"re: question {n}" for n in range(3)]
    assert asyncio.run(three(3)) == [f"re: question {n}" for n in range(3, 6)]


async def test_the_first_in_the_list_is_outermost(name: str) -> None:
    log: list[str] = []

    def note(word: str) -> Any:
        async def noted(request: Any, ctx: Any, next: Any) -> Any:
            log.append(word)
            response = await next()
            log.append(f"{word} done")
            return response

        return noted

    world = World(name, "hello")
    await world.run(use=[note("outer"), world.made, note("inner")])
    assert log == ["outer", "inner", "inner done", "outer done"]


async def test_it_is_known_by_its_name(name: str) -> None:
    world = World(name, "hello")
    config = {
        "fallback": {"models": ["test/other"]},
        "tool_approval": {"allowedTools": []},
        "rate_limit": {"maxConcurrent": 3},
    }
    from genkit_rag.middleware import MiddlewareRef

    response = await world.run(use=[MiddlewareRef(name, config.get(name))])
    assert response.text == "hello"
    listed = world.ai.list_middleware()[name]
    assert listed["name"] == name
    assert listed["description"].endswith(".")
