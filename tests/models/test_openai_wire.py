"""OpenAI's chat format: what servers send in their several ways becomes one response."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genkit_rag._blocks.openai_wire import ChatStream, chat_body, chat_response, error_text, tool_arguments, tool_input
from genkit_rag.plugin_api import GenkitError, Media, Message, Part, ToolDefinition, ToolRequest, ToolResponse
from genkit_rag.testing._models import WEATHER, ask

ASK = ask("How is it?", tools=[WEATHER])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def delta(**fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields}]}


def call(index: int | None, ref: str | None, name: str | None, arguments: Any) -> dict[str, Any]:
    piece: dict[str, Any] = {"function": {"arguments": arguments}}
    if index is not None:
        piece["index"] = index
    if ref is not None:
        piece["id"] = ref
    if name is not None:
        piece["function"]["name"] = name
    return piece


def requests(*deltas: list[dict[str, Any]]) -> list[tuple[str | None, str, Any]]:
    stream = ChatStream(ASK)
    for calls in deltas:
        stream.add(delta(tool_calls=calls))
    found = [part.tool_request for part in stream.response().tool_requests]
    return [(request.ref, request.name, request.input) for request in found if request]


@given(city=st.text(max_size=20), cuts=st.lists(st.integers(0, 60), max_size=5))
def test_arguments_in_any_pieces_are_the_same_call(city: str, cuts: list[int]) -> None:
    raw = json.dumps({"city": city})
    marks = sorted({cut for cut in cuts if cut < len(raw)})
    pieces = [raw[start:stop] for start, stop in zip([0, *marks], [*marks, len(raw)], strict=True)]
    begun = [call(0, "a", "weather", "")]
    assert requests(begun, *([call(0, None, None, piece)] for piece in pieces)) == [("a", "weather", {"city": city})]


@pytest.mark.parametrize(
    "deltas",
    [
        pytest.param([[call(0, "a", "f", '{"x"'), call(1, "b", "g", "{")], [call(1, None, None, "}"),
                     call(0, None, None, ":1}")]], id="interleaved by index"),
        pytest.param([[call(0, "a", "f", '{"x":1}')], [call(0, "b", "g", "{}")]], id="every call has index 0"),
        pytest.param([[call(None, "a", "f", '{"x"')], [call(None, None, None, ":1}")], [call(None, "b", "g", "{}")]],
                     id="no index"),
        pytest.param([[call(None, "a", "f", {"x": 1}), call(None, "b", "g", {})]], id="arguments as data"),
        pytest.param([[call(0, "a", "f", '{"x":1}')], [call(1, "b", "g", None)]], id="no arguments"),
        pytest.param([[call(0, "a", "f", '{"x"')], [call(0, "a", "f", ":1}")], [call(1, "b", "g", "")]],
                     id="names repeated"),
    ],
)  # fmt: skip
def test_the_ways_of_servers_to_stream_two_calls(deltas: list[list[dict[str, Any]]]) -> None:
    assert requests(*deltas) == [("a", "f", {"x": 1}), ("b", "g", {})]


def test_calls_of_one_id_or_none_stay_two_calls() -> None:
    same = requests([call(None, "a", "f", "{}"), call(None, "a", "f", "{}")])
    assert [name for _, name, _ in same] == ["f", "f"]
    none = requests([call(None, None, "f", "{}"), call(None, None, "f", "{}")])
    assert [ref for ref, _, _ in none] == ["call_0", "call_1"]


@pytest.mark.parametrize("raw", ['{"a": NaN}', "{'a': 1}", '{"a": 1} and more', "[" * 100_000])
def test_arguments_that_are_not_json_stay_text(raw: str) -> None:
    assert tool_input(raw, "weather", frozenset()) == raw


@given(value=JSON)
def test_a_plain_value_survives_the_way_out_and_back(value: Any) -> None:
    wrapped = frozenset({"f"})
    assert tool_input(tool_arguments(ToolRequest(name="f", input=value), wrapped), "f", wrapped) == value


def test_definitions_of_a_plain_tool_stay_where_references_find_them() -> None:
    schema = {"$ref": "#/$defs/Day", "$defs": {"Day": {"enum": ["mon"]}}}
    body = chat_body("m", ask("hi", tools=[ToolDefinition(name="f", input_schema=schema)], tool_choice="auto"))
    parameters = body["tools"][0]["function"]["parameters"]
    assert parameters["$defs"] == schema["$defs"]
    assert parameters["properties"] == {"value": {"$ref": "#/$defs/Day"}}
    assert body["tool_choice"] == "auto"


def test_a_tool_without_a_schema_takes_an_empty_object() -> None:
    body = chat_body("m", ask("hi", tools=[ToolDefinition(name="f")]))
    assert body["tools"][0]["function"]["parameters"] == {"type": "object", "properties": {}}


def test_the_config_cannot_replace_the_messages() -> None:
    body = chat_body("m", ask("hi", config={"messages": [], "model": "other", "min_p": 0.1}))
    assert body["messages"] == [{"role": "user", "content": "hi"}]
    assert (body["model"], body["min_p"]) == ("m", 0.1)


def test_results_of_tools_are_text() -> None:
    results = [
        Part(tool_response=ToolResponse(name="f", ref="a", output="plain")),
        Part(tool_response=ToolResponse(name="f", ref="b", output={"é": [1]})),
        Part(tool_response=ToolResponse(name="f", ref="c", output=None)),
        Part(tool_response=ToolResponse(name="f", ref="d", content=[{"text": "one"}, Part(data={"n": 2})])),
    ]
    messages = chat_body("m", ask(Message(role="tool", content=results)))["messages"]
    assert [message["content"] for message in messages] == ["plain", '{"é": [1]}', "null", 'one\n{"n": 2}']
    assert [message["tool_call_id"] for message in messages] == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    "message",
    [
        Message.model(Part(media=Media(url="data:image/png;base64,AAAA"))),
        Message(role="tool", content=[Part(tool_response=ToolResponse(
            name="f", content=[{"media": {"url": "data:image/png;base64,AAAA"}}]))]),
        Message.user(Part(tool_response=ToolResponse(name="f", output=1))),
        Message.user(Part(media=Media(url="https://example.org/a.wav", content_type="audio/wav"))),
    ],
)  # fmt: skip
def test_what_the_format_cannot_say_is_refused(message: Message) -> None:
    with pytest.raises(GenkitError, match="messages") as caught:
        chat_body("m", ask(message))
    assert caught.value.status == "INVALID_ARGUMENT"
    assert caught.value.hint


def test_sound_and_papers_are_sent_as_data() -> None:
    sound = Media(url="data:audio/mpeg;base64,BBBB")
    paper = Media(url="data:application/pdf;base64,CCCC")
    [message] = chat_body("m", ask(Message.user([Part(media=sound), Part(media=paper)])))["messages"]
    assert message["content"] == [
        {"type": "input_audio", "input_audio": {"data": "BBBB", "format": "mp3"}},
        {"type": "file", "file": {"filename": "document.pdf", "file_data": paper.url}},
    ]


def test_reasoning_of_earlier_answers_is_not_sent_again() -> None:
    said = Message.model([Part(reasoning="Hm."), Part(text="Hello.")])
    assert chat_body("m", ask(said))["messages"] == [{"role": "assistant", "content": "Hello."}]


@pytest.mark.parametrize(
    ("reason", "finish", "note"),
    [("stop", "stop", None), ("length", "length", None), ("tool_calls", "stop", None),
     ("content_filter", "blocked", None), ("eos", "other", "eos"), (None, "unknown", None)],
)  # fmt: skip
def test_why_the_model_stopped(reason: str | None, finish: str, note: str | None) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": reason}
    response = chat_response(ASK, {"choices": [choice]})
    assert (response.finish_reason, response.finish_message) == (finish, note)


def test_text_in_pieces_is_text() -> None:
    content = [{"type": "thinking"}, {"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert chat_response(ASK, {"choices": [{"message": {"content": content}, "finish_reason": "stop"}]}).text == "ab"


@pytest.mark.parametrize("payload", [{}, {"choices": []}, {"choices": None}, [], "x", None, 1])
def test_an_answer_that_is_none_is_an_error(payload: Any) -> None:
    with pytest.raises(GenkitError) as caught:
        chat_response(ASK, payload)
    assert caught.value.status == "INTERNAL"


@pytest.mark.parametrize(
    ("payload", "text"),
    [({"error": {"message": "a"}}, "a"), ({"error": "b"}, "b"), ({"message": "c"}, "c"), ({"detail": "d"}, "d"),
     ({"error": {}}, None), ([], None), ("  ", None), ({"error": None, "detail": "e"}, "e")],
)  # fmt: skip
def test_the_message_is_found_wherever_servers_put_it(payload: Any, text: str | None) -> None:
    assert error_text(payload) == text
