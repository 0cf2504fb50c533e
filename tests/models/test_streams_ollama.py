"""Ollama's streams give the same answer however their bytes were cut, and half of one is never a whole."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genkit_rag.plugin_api import GenkitError, ModelResponse, split_lines
from genkit_rag.testing._models import WEATHER, ask
from genkit_rag_ollama import Ollama
from genkit_rag_ollama._wire import ChatStream
from tests.fakes.byte_wire import CUTS, ByteWire, byte_wire, pieces_of

ASK = ask("hi", tools=[WEATHER])
PLAIN = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


def line(**message: Any) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": "", **message}, "done": False}


@st.composite
def framed(draw: st.DrawFn) -> bytes:
    """A whole stream as servers may write it, without the end of its last line."""
    found = [line(thinking=text) for text in draw(st.lists(PLAIN, max_size=2))]
    found += [line(content=text) for text in draw(st.lists(PLAIN, max_size=4))]
    calls = [{"function": {"name": "weather", "arguments": {"city": "ação"}}}] * draw(st.integers(0, 2))
    found += [line(tool_calls=calls)] if calls else []
    found.append({**line(), "done": True, "done_reason": draw(st.sampled_from(["stop", "length", "load"]))})
    ends = st.sampled_from(["\n", "\r\n", "\n\n", " \n"])
    texts = [json.dumps(item, ensure_ascii=draw(st.booleans())) + draw(ends) for item in found]
    return "".join(texts).rstrip().encode()


@pytest.fixture(scope="module")
def wire() -> Iterator[ByteWire]:
    with byte_wire() as made:
        yield made


@pytest.fixture(scope="module")
def action() -> Any:
    return asyncio.run(Ollama("http://127.0.0.1:1").resolve("model", "ollama/echo"))


def told(chunks: list[Any], response: Any) -> Any:
    if isinstance(response, GenkitError):
        return [c.to_wire() for c in chunks], str(response), response.response.to_wire()
    return [c.to_wire() for c in chunks], response.to_wire()


@settings(max_examples=300, deadline=None)
@given(raw=framed(), last=st.sampled_from([b"", b"\n", b"\r\n", b"\n\n"]), cuts=CUTS)
def test_any_cutting_of_the_bytes_gives_the_same_chunks_and_response(
    wire: ByteWire, action: Any, raw: bytes, last: bytes, cuts: list[int]
) -> None:
    whole = wire.ask(action, ASK, [raw + last])
    assert isinstance(whole[1], ModelResponse), whole[1]
    assert told(*wire.ask(action, ASK, pieces_of(raw + last, cuts))) == told(*whole)
    assert "".join(c.text for c in whole[0]) == whole[1].text


@settings(max_examples=300, deadline=None)
@given(raw=framed(), at=st.floats(0, 1), breaks=st.booleans(), cuts=CUTS)
def test_a_stream_that_is_cut_anywhere_is_an_error_with_what_had_come(
    wire: ByteWire, action: Any, raw: bytes, at: float, breaks: bool, cuts: list[int]
) -> None:
    whole = wire.ask(action, ASK, [raw])[1]
    cut = raw[: int(at * (len(raw) - 1))]
    chunks, error = wire.ask(action, ASK, pieces_of(cut, cuts), breaks=breaks)
    assert isinstance(error, GenkitError)
    assert error.status == "UNAVAILABLE"
    assert error.hint
    partial = error.response
    assert partial.finish_reason == "unknown"
    assert partial.text == "".join(c.text for c in chunks)
    assert isinstance(whole, ModelResponse)
    assert whole.text.startswith(partial.text)
    assert not partial.tool_requests


@settings(max_examples=200, deadline=None)
@given(raw=st.binary(max_size=200), cuts=CUTS)
def test_nonsense_is_an_error_with_a_hint_and_the_same_one_however_it_was_cut(
    wire: ByteWire, action: Any, raw: bytes, cuts: list[int]
) -> None:
    chunks, error = wire.ask(action, ASK, [raw])
    assert isinstance(error, GenkitError)
    assert error.hint
    assert told(*wire.ask(action, ASK, pieces_of(raw, cuts))) == told(chunks, error)


NAMES = ["message", "content", "thinking", "tool_calls", "function", "arguments", "name", "id", "done", "done_reason"]
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "x", "stop"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=12,
)


LINE = st.fixed_dictionaries({"message": ODD}, optional={"done": ODD, "eval_count": ODD})


def refusal(stream: ChatStream, body: list[Any]) -> GenkitError | None:
    try:
        for item in body:
            stream.add(item)
        stream.response()
    except GenkitError as error:
        return error
    return None


@settings(max_examples=1000, deadline=None)
@given(body=st.lists(LINE | ODD, max_size=3))
def test_json_of_any_other_shape_is_read_or_refused_with_a_hint(body: list[Any]) -> None:
    stream = ChatStream(ASK)
    error = refusal(stream, body)
    assert error is None or error.hint
    assert stream.partial().finish_reason == "unknown"


@pytest.mark.parametrize("said", [{"error": "no"}, {"error": {"message": "no"}}])
def test_an_error_in_the_middle_of_a_stream_keeps_what_had_come(wire: ByteWire, action: Any, said: Any) -> None:
    raw = b"".join(json.dumps(item).encode() + b"\n" for item in (line(content="Some"), said))
    _, error = wire.ask(action, ASK, [raw])
    assert isinstance(error, GenkitError)
    assert (error.status, error.response.text) == ("UNAVAILABLE", "Some")
    assert "broke off: no" in error.message
    assert error.hint


@pytest.mark.parametrize("size", [101, 5000])
@pytest.mark.parametrize("step", [1, 60, 5001])
def test_a_line_beyond_the_limit_is_refused_however_it_was_cut(size: int, step: int) -> None:
    raw = b'{"a": 1}\n' + b"x" * size + b"\n"

    async def source() -> Any:
        for piece in pieces_of(raw, range(0, len(raw), step)):
            yield piece

    async def lines() -> list[bytes]:
        return [found async for found in split_lines(source(), max_bytes=100)]

    with pytest.raises(GenkitError) as caught:
        asyncio.run(lines())
    assert caught.value.status == "RESOURCE_EXHAUSTED"
    assert caught.value.hint
