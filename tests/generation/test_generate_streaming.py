import asyncio
from typing import Any

import pytest

from genkit_rag._core.context import ActionContext
from genkit_rag._core.errors import GenkitError
from genkit_rag._core.registry import Registry
from genkit_rag._documents.part import Part, ToolRequest
from genkit_rag._generation.generate import GenerateOptions, generate, generate_stream
from genkit_rag._generation.model import ModelRequest, ModelResponseChunk
from genkit_rag.testing._scripted_model import ScriptedModel


def shown(chunks: list[ModelResponseChunk]) -> list[tuple[Any, Any, str]]:
    return [(chunk.role, chunk.index, chunk.text) for chunk in chunks]


def say() -> str:
    return "tool"


def options(*answers: Any, **more: Any) -> GenerateOptions:
    return GenerateOptions(model=ScriptedModel("test/scripted", answers).action, prompt="hi", tools=[say], **more)


async def test_the_index_grows_when_the_role_changes_and_tool_messages_are_streamed() -> None:
    chunks: list[ModelResponseChunk] = []
    opts = options(["let me see", ToolRequest(name="say")], "it is so")
    await generate(Registry(), opts, on_chunk=chunks.append)
    assert shown(chunks) == [
        ("model", 0, "let"),
        ("model", 0, " me"),
        ("model", 0, " see"),
        ("tool", 1, ""),
        ("model", 2, "it"),
        ("model", 2, " is"),
        ("model", 2, " so"),
    ]
    assert chunks[3].content[0].tool_response is not None
    assert chunks[3].content[0].tool_response.output == "tool"


async def test_a_stream_gives_chunks_and_the_response() -> None:
    stream = generate_stream(Registry(), options("one two"))
    assert [chunk.text async for chunk in stream.stream] == ["one", " two"]
    assert (await stream.response).text == "one two"


async def test_an_error_comes_out_of_both_ends_with_the_conversation() -> None:
    stream = generate_stream(Registry(), options([ToolRequest(name="say")], GenkitError("UNAVAILABLE", "Gone.")))
    with pytest.raises(GenkitError, match="Gone"):
        [chunk async for chunk in stream.stream]
    with pytest.raises(GenkitError) as caught:
        await stream.response
    assert [m.role for m in caught.value.response.messages] == ["user", "model", "tool"]


async def test_a_chunk_object_that_is_sent_in_two_turns_is_not_changed_afterwards() -> None:
    shared = ModelResponseChunk(content=[Part(text="…")])

    def answer(request: ModelRequest, ctx: ActionContext) -> Any:
        ctx.send_chunk(shared)
        return [ToolRequest(name="say")] if len(request.messages) == 1 else [Part(data=1)]

    chunks: list[ModelResponseChunk] = []
    await generate(Registry(), options(answer, answer), on_chunk=chunks.append)
    assert [chunk.index for chunk in chunks] == [0, 1, 2]


async def test_nobody_listens_and_nothing_is_sent() -> None:
    seen: list[bool] = []

    def answer(request: ModelRequest, ctx: ActionContext) -> str:
        seen.append(ctx.streaming)
        return "ok"

    await generate(Registry(), options(answer))
    await generate(Registry(), options(answer), on_chunk=lambda chunk: None)
    assert seen == [False, True]


async def test_a_middleware_may_change_chunks_on_their_way() -> None:
    async def shout(request: ModelRequest, ctx: ActionContext, next: Any) -> Any:
        def send(chunk: ModelResponseChunk) -> None:
            ctx.send_chunk(ModelResponseChunk(content=[Part(text=chunk.text.upper())]))

        return await next(request, ActionContext(ctx.context, send))

    chunks: list[ModelResponseChunk] = []
    await generate(Registry(), options("one two", use=[shout]), on_chunk=chunks.append)
    assert shown(chunks) == [("model", 0, "ONE"), ("model", 0, " TWO")]


async def test_leaving_the_stream_early_cancels_the_model() -> None:
    ended = asyncio.Event()

    async def answer(request: ModelRequest, ctx: ActionContext) -> Any:
        try:
            ctx.send_chunk(ModelResponseChunk(content=[Part(text="first")]))
            await asyncio.sleep(60)
        finally:
            ended.set()

    stream = generate_stream(Registry(), options(answer)).stream
    async for _ in stream:
        break
    await stream.aclose()  # type: ignore[attr-defined]
    await asyncio.wait_for(ended.wait(), 5)


async def test_chunks_know_the_text_so_far_in_any_order_of_reading() -> None:
    chunks: list[ModelResponseChunk] = []
    await generate(Registry(), options("one two three"), on_chunk=chunks.append)
    assert [chunk.accumulated_text for chunk in chunks] == ["one", "one two", "one two three"]
    assert [chunk.previous_text for chunk in chunks] == ["", "one", "one two"]
    assert [chunk.accumulated_text for chunk in reversed(chunks)] == ["one two three", "one two", "one"]
    alone = ModelResponseChunk(content=[Part(text="alone")])
    assert (alone.previous_text, alone.accumulated_text) == ("", "alone")
