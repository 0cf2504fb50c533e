"""OpenAI's streams give the same answer however their bytes were cut, and half of one is never a whole."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genkit_rag._plugin_kit.openai_wire import ChatStream, chat_response
from genkit_rag.plugin_api import GenkitError, ModelResponse, OutputConfig
from genkit_rag.testing._models import WEATHER, ask
from genkit_rag_openai import OpenAI
from tests.fakes.byte_wire import CUTS, ByteWire, byte_wire, pieces_of

ASK = ask("hi", tools=[WEATHER])
PLAIN = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
ARGUMENTS = json.dumps({"city": "Lisboa, ação 👋"}, ensure_ascii=False)


def chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"id": "1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


@st.composite
def answers(draw: st.DrawFn) -> list[dict[str, Any]]:
    """The chunks of a whole answer: thoughts, text, calls in pieces, the reason, the usage."""
    found = [chunk(role="assistant", content="")]
    found += [chunk(reasoning_content=text) for text in draw(st.lists(PLAIN, max_size=2))]
    found += [chunk(content=text) for text in draw(st.lists(PLAIN, max_size=4))]
    for index in range(draw(st.integers(0, 2))):
        begun = {"index": index, "id": f"c{index}", "type": "function", "function": {"name": "weather"}}
        found.append(chunk(tool_calls=[begun]))
        for piece in pieces_of(ARGUMENTS.encode(), draw(st.lists(st.integers(0, 12), max_size=2))):
            text = piece.decode()
            found.append(chunk(tool_calls=[{"index": index, "function": {"arguments": text}}]))
    found.append(chunk(draw(st.sampled_from(["stop", "length", "content_filter", "tool_calls"]))))
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    return [*found, {"choices": [], "usage": usage}] if draw(st.booleans()) else found


@st.composite
def framed(draw: st.DrawFn) -> bytes:
    """A stream as servers may write it: up to and without `[DONE]`."""
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    raw = draw(st.sampled_from(["", "\ufeff"]))
    for item in draw(answers()):
        text = json.dumps(item, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, None, 1])))
        prefix = draw(st.sampled_from(["data: ", "data:"]))
        raw += draw(st.sampled_from(["", f": keep-alive{end}{end}", f"event: message{end}id: 7{end}", end]))
        raw += "".join(f"{prefix}{line}{end}" for line in text.split("\n")) + end
    return (raw + f"{draw(st.sampled_from(['data: ', 'data:']))}").encode()


@pytest.fixture(scope="module")
def wire() -> Iterator[ByteWire]:
    with byte_wire() as made:
        yield made


@pytest.fixture(scope="module")
def action() -> Any:
    return asyncio.run(OpenAI(base_url="http://127.0.0.1:1/v1").resolve("model", "openai/echo"))


def told(chunks: list[Any], response: Any) -> Any:
    if isinstance(response, GenkitError):
        return [c.to_wire() for c in chunks], str(response), response.response.to_wire()
    return [c.to_wire() for c in chunks], response.to_wire()


@settings(max_examples=400, deadline=None)
@given(raw=framed(), last=st.sampled_from([b"[DONE]\n\n", b"[DONE]\r\n\r\n", b"[DONE]\n", b"[DONE]"]), cuts=CUTS)
def test_any_cutting_of_the_bytes_gives_the_same_chunks_and_response(
    wire: ByteWire, action: Any, raw: bytes, last: bytes, cuts: list[int]
) -> None:
    whole = wire.ask(action, ASK, [raw + last])
    assert isinstance(whole[1], ModelResponse), whole[1]
    assert told(*wire.ask(action, ASK, pieces_of(raw + last, cuts))) == told(*whole)
    assert "".join(c.text for c in whole[0]) == whole[1].text


@settings(max_examples=400, deadline=None)
@given(raw=framed(), at=st.floats(0, 1), breaks=st.booleans(), cuts=CUTS)
def test_a_stream_that_is_cut_anywhere_is_an_error_with_what_had_come(
    wire: ByteWire, action: Any, raw: bytes, at: float, breaks: bool, cuts: list[int]
) -> None:
    full = raw + b"[DONE]"
    whole = wire.ask(action, ASK, [full])[1]
    cut = full[: int(at * (len(full) - 1))]
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
@given(raw=st.binary(max_size=300), cuts=CUTS)
def test_nonsense_is_an_error_with_a_hint_and_the_same_one_however_it_was_cut(
    wire: ByteWire, action: Any, raw: bytes, cuts: list[int]
) -> None:
    bytes_ = b"data: " + raw
    chunks, error = wire.ask(action, ASK, [bytes_])
    assert isinstance(error, GenkitError)
    assert error.hint
    assert told(*wire.ask(action, ASK, pieces_of(bytes_, cuts))) == told(chunks, error)


NAMES = [
    "choices",
    "delta",
    "message",
    "content",
    "tool_calls",
    "function",
    "arguments",
    "name",
    "id",
    "index",
    "usage",
    "prompt_tokens_details",
    "finish_reason",
    "reasoning",
    "reasoning_details",
    "refusal",
    "text",
]
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "x", "stop"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=12,
)


def refusal(stream: ChatStream, body: list[Any]) -> GenkitError | None:
    try:
        for item in body:
            stream.add(item)
        stream.response()
    except GenkitError as error:
        return error
    return None


@settings(max_examples=1500, deadline=None)
@given(
    body=st.lists(
        st.fixed_dictionaries(
            {"choices": st.lists(st.fixed_dictionaries({"delta": ODD}), max_size=1)}, optional={"usage": ODD}
        )
        | ODD,
        max_size=3,
    )
)
def test_json_of_any_other_shape_is_read_or_refused_with_a_hint(body: list[Any]) -> None:
    stream = ChatStream(ASK)
    error = refusal(stream, body)
    assert error is None or error.hint
    assert stream.partial().finish_reason == "unknown"


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"error": {"message": "no", "type": "server_error", "code": None}}, "UNAVAILABLE"),
        ({"error": {"message": "no", "type": "invalid_request_error"}}, "INVALID_ARGUMENT"),
        ({"error": {"message": "no", "code": 429}}, "RESOURCE_EXHAUSTED"),
        ({"error": {"message": "no", "code": "502"}}, "UNAVAILABLE"),
        ({"error": {"message": "no", "code": "rate_limit_exceeded"}}, "RESOURCE_EXHAUSTED"),
        ({"error": "no"}, "UNAVAILABLE"),
        ({"object": "error", "message": "no", "type": "BadRequestError", "code": 400}, "INVALID_ARGUMENT"),
        ({"message": "no"}, "UNAVAILABLE"),
        ({"choices": [{"index": 0, "delta": {}, "finish_reason": "error", "error": {"message": "no"}}]}, "UNAVAILABLE"),
    ],
)
def test_an_error_in_the_middle_of_a_stream_has_its_status(
    wire: ByteWire, action: Any, said: dict[str, Any], status: str
) -> None:
    raw = b"".join(b"data: " + json.dumps(item).encode() + b"\n\n" for item in (chunk(content="Some"), said))
    _, error = wire.ask(action, ASK, [raw + b"data: [DONE]\n\n"])
    assert isinstance(error, GenkitError)
    assert (error.status, error.response.text) == (status, "Some")
    assert "broke off: no" in error.message
    assert error.hint


def test_the_last_word_without_a_reason_is_no_end(wire: ByteWire, action: Any) -> None:
    raw = b"data: " + json.dumps(chunk(content="Some")).encode() + b"\n\ndata: [DONE]\n\n"
    _, error = wire.ask(action, ASK, [raw])
    assert isinstance(error, GenkitError)
    assert (error.status, error.response.text) == ("UNAVAILABLE", "Some")


@pytest.mark.parametrize("content_type", ["text/html", "application/json", "text/plain"])
def test_a_page_in_place_of_a_stream_is_an_error_with_a_hint(wire: ByteWire, action: Any, content_type: str) -> None:
    _, error = wire.ask(action, ASK, [b"<html>It works!</html>"], content_type=content_type)
    assert isinstance(error, GenkitError)
    assert error.status in ("INTERNAL", "UNAVAILABLE")
    assert error.hint


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('ab{}" \n', max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab}", max_size=3), inner, max_size=2),
    max_leaves=6,
)


@settings(max_examples=500, deadline=None)
@given(
    value=VALUES,
    cuts=st.lists(st.integers(0, 60), max_size=6),
    indent=st.sampled_from([None, 1]),
    around=st.sampled_from(["", " ", "\n", " \r\n"]),
)
def test_an_answer_that_had_to_be_wrapped_arrives_as_what_was_asked_for(
    value: Any, cuts: list[int], indent: int | None, around: str
) -> None:
    schema: dict[str, Any] = {"anyOf": [{}]}  # of no object, so that the server is asked for one around it
    request = ask("hi", output=OutputConfig(format="array", schema=schema, constrained=True))
    raw = around + json.dumps({"value": value}, indent=indent) + around
    stream = ChatStream(request)
    said = [
        part.text or "" for piece in pieces_of(raw.encode(), cuts) for part in stream.add(chunk(content=piece.decode()))
    ]
    said += [part.text or "" for part in stream.add(chunk("stop"))]
    assert json.loads(stream.response().text) == value
    assert "".join(said) == stream.response().text
    whole = {"choices": [{"message": {"content": raw}, "finish_reason": "stop"}]}
    assert json.loads(chat_response(request, whole).text) == value


@pytest.mark.parametrize("raw", ["[1, 2]", '"red"', "", '{"values": [1]}', '{"value" 1}', "Here you are: []", "{ x"])
def test_an_answer_that_was_not_wrapped_after_all_passes_as_it_is(raw: str) -> None:
    request = ask("hi", output=OutputConfig(format="array", schema={"type": "array"}, constrained=True))
    stream = ChatStream(request)
    for letter in raw:
        stream.add(chunk(content=letter))
    stream.add(chunk("stop"))
    assert stream.response().text == raw
