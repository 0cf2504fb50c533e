"""OpenAI's chat format: what servers send in their several ways becomes one response."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from genkit_rag._core.schema import check_json
from genkit_rag._plugin_kit.http_errors import error_text
from genkit_rag._plugin_kit.openai_wire import (
    ChatStream,
    chat_body,
    chat_response,
    tool_arguments,
    tool_input,
    wrapped_tools,
)
from genkit_rag.plugin_api import (
    GenkitError,
    Media,
    Message,
    OutputConfig,
    Part,
    Resource,
    ToolDefinition,
    ToolRequest,
    ToolResponse,
)
from genkit_rag.testing._models import WEATHER, ask
from tests.fakes.openai_api import check_strict
from tests.fakes.samples import sample

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
        pytest.param(
            [
                [call(0, "a", "f", '{"x"'), call(1, "b", "g", "{")],
                [call(1, None, None, "}"), call(0, None, None, ":1}")],
            ],
            id="interleaved by index",
        ),
        pytest.param([[call(0, "a", "f", '{"x":1}')], [call(0, "b", "g", "{}")]], id="every call has index 0"),
        pytest.param(
            [[call(None, "a", "f", '{"x"')], [call(None, None, None, ":1}")], [call(None, "b", "g", "{}")]],
            id="no index",
        ),
        pytest.param([[call(None, "a", "f", {"x": 1}), call(None, "b", "g", {})]], id="arguments as data"),
        pytest.param([[call(0, "a", "f", '{"x":1}')], [call(1, "b", "g", None)]], id="no arguments"),
        pytest.param(
            [[call(0, "a", "f", '{"x"')], [call(0, "a", "f", ":1}")], [call(1, "b", "g", "")]], id="names repeated"
        ),
    ],
)
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


def test_broken_arguments_of_a_tool_of_one_string_do_not_pass_for_that_string() -> None:
    plain = ToolDefinition(name="weather", input_schema={"type": "string"})
    given = tool_input('{"value": "Lisb', "weather", wrapped_tools(ask("hi", tools=[plain])))
    with pytest.raises(GenkitError):
        check_json(plain.input_schema or {}, given, "The input")


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


def test_media_from_a_tool_follow_the_results_as_a_users_message() -> None:
    picture = {"media": {"url": "data:image/png;base64,AAAA"}}
    results = [
        Part(tool_response=ToolResponse(name="f", ref="a", content=[{"text": "A map"}, picture])),
        Part(tool_response=ToolResponse(name="g", ref="b", output={"error": "no"})),
    ]
    messages = chat_body("m", ask(Message(role="tool", content=results)))["messages"]
    assert messages[:2] == [
        {"role": "tool", "tool_call_id": "a", "content": "A map"},
        {"role": "tool", "tool_call_id": "b", "content": '{"error": "no"}'},
    ]
    assert messages[2]["role"] == "user"
    assert "f" in messages[2]["content"][0]["text"]
    assert messages[2]["content"][1:] == [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]


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
        Message(
            role="tool", content=[Part(tool_response=ToolResponse(name="f", content=[{"resource": {"uri": "a:b"}}]))]
        ),
        Message(role="tool", content=[Part(text="no result")]),
        Message.user(Part(custom={"a": 1})),
        Message.user(Part(resource=Resource(uri="a:b"))),
        Message.user(Part(tool_response=ToolResponse(name="f", output=1))),
        Message.user(Part(media=Media(url="https://example.org/a.wav", content_type="audio/wav"))),
    ],
)
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


def test_what_a_provider_wants_back_goes_back_while_tools_run_and_not_later() -> None:
    details = [{"type": "reasoning.encrypted", "data": "x"}]
    signed = {**call(0, "a", "weather", '{"city": "x"}'), "extra_content": {"google": {"thought_signature": "s"}}}
    stream = ChatStream(ASK)
    for piece in (
        {"reasoning": "Let me "},
        {"reasoning": "see.", "reasoning_details": details},
        {"tool_calls": [signed]},
    ):
        stream.add(delta(**piece))
    answer = Message.model_validate(json.loads(json.dumps(stream.response().message.to_wire())))  # type: ignore[union-attr]
    result = Message(role="tool", content=[Part(tool_response=ToolResponse(name="weather", ref="a", output=1))])
    sent = chat_body("m", ask("hi", answer, result, tools=[WEATHER]))["messages"][1]
    assert (sent["reasoning"], sent["reasoning_details"]) == ("Let me see.", details)
    assert sent["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "s"}}
    later = chat_body("m", ask("hi", answer, result, Message.model("One."), "and?", tools=[WEATHER]))["messages"][1]
    assert "reasoning" not in later
    assert "reasoning_details" not in later


def test_json_without_a_schema_is_spoken_of() -> None:
    output = OutputConfig(format="json")
    silent = chat_body("m", ask("A city, please.", output=output))["messages"]
    assert "JSON" in silent[0]["content"]
    assert len(chat_body("m", ask("A city as JSON.", output=output))["messages"]) == 1


def test_a_whole_answer_is_asked_for_whatever_the_config_says() -> None:
    assert "stream" not in chat_body("m", ask("hi", config={"stream": True, "stream_options": {}}))


@pytest.mark.parametrize(
    "payload",
    [
        {"choices": []},
        {"choices": None},
        {"choices": [{"message": {"content": ""}, "finish_reason": "stop"}]},
        {"choices": [{"message": {"content": None}, "finish_reason": "length"}]},
    ],
)
def test_an_answer_of_nothing_is_no_message_and_says_so(payload: Any) -> None:
    response = chat_response(ASK, payload)
    assert response.message is None
    assert response.finish_message
    assert response.raw == payload
    assert ("max_output_tokens" in response.finish_message) is (response.finish_reason == "length")


# ---- schemas


def sent_schema(schema: dict[str, Any], form: str = "json") -> dict[str, Any]:
    output = OutputConfig(format=form, schema=schema, constrained=True)
    found: dict[str, Any] = chat_body("m", ask("hi", output=output))["response_format"]["json_schema"]
    return found


class Address(BaseModel):
    street: str = Field(description="With the number.")
    flat: int | None = None


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int = 0
    home: Address = Field(description="Where.")
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    friends: list[Person] = []


def test_a_types_schema_is_said_under_the_strict_rules() -> None:
    sent = sent_schema(Person.model_json_schema())
    assert sent["strict"] is True
    check_strict(sent["schema"])
    value = {"name": "A", "age": 1, "home": {"street": "B", "flat": None}, "pet": {"kind": "cat"}, "friends": []}
    check_json(sent["schema"], {"value": value}, "It")  # its root is a reference, which is no object there
    assert Person.model_validate(value).age == 1
    for wrong in ({**value, "more": 1}, {key: value[key] for key in value if key != "age"}):
        with pytest.raises(GenkitError):
            check_json(sent["schema"], {"value": wrong}, "It")


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"mail": {"type": "string"}}},
        {"type": "object", "additionalProperties": {"type": "integer"}},
        {"type": "object", "properties": {"a": {"allOf": [{"type": "string"}]}}, "required": ["a"]},
        {"type": "object"},
    ],
)
def test_a_schema_that_strictness_would_change_is_said_as_it_is(schema: dict[str, Any]) -> None:
    assert sent_schema(schema) == {"name": "output", "schema": schema}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {"$ref": "#/$defs/D"}, "$defs": {"D": {"enum": ["x"]}}},
        {"type": "string", "enum": ["a", "b"]},
        {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        {"type": "array", "items": {"anyOf": [{"type": "integer"}, {"$ref": "#"}]}},
    ],
)
def test_a_root_that_is_no_object_is_put_into_one(schema: dict[str, Any]) -> None:
    sent = sent_schema(schema, "array")
    assert sent["strict"] is True
    check_strict(sent["schema"])
    value = sample(sent["schema"])
    check_json(sent["schema"], value, "It")
    check_json(schema, value["value"], "It")
    if "$ref" in json.dumps(schema.get("items", {}).get("anyOf", [])):
        check_json(sent["schema"], {"value": [1, [2]]}, "It")
        with pytest.raises(GenkitError):
            check_json(sent["schema"], {"value": [1, {"value": []}]}, "It")


@pytest.mark.parametrize(
    ("reason", "finish", "note"),
    [
        ("stop", "stop", None),
        ("length", "length", None),
        ("tool_calls", "stop", None),
        ("content_filter", "blocked", None),
        ("eos", "stop", None),
        ("model_length", "length", None),
        ("made_up", "other", "made_up"),
        (None, "unknown", None),
    ],
)
def test_why_the_model_stopped(reason: str | None, finish: str, note: str | None) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": reason}
    response = chat_response(ASK, {"choices": [choice]})
    assert (response.finish_reason, response.finish_message) == (finish, note)


def test_text_in_pieces_is_text() -> None:
    content = [{"type": "thinking"}, {"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert chat_response(ASK, {"choices": [{"message": {"content": content}, "finish_reason": "stop"}]}).text == "ab"


@pytest.mark.parametrize("payload", [{}, [], "x", None, 1, {"choices": "x"}, {"choices": [1]}, {"id": "a"}])
def test_an_answer_that_is_none_is_an_error(payload: Any) -> None:
    with pytest.raises(GenkitError) as caught:
        chat_response(ASK, payload)
    assert caught.value.status == "INTERNAL"


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        ({"error": {"message": "a"}}, "a"),
        ({"error": "b"}, "b"),
        ({"message": "c"}, "c"),
        ({"detail": "d"}, "d"),
        ({"error": {}}, None),
        ([], None),
        ("  ", None),
        ({"error": None, "detail": "e"}, "e"),
    ],
)
def test_the_message_is_found_wherever_servers_put_it(payload: Any, text: str | None) -> None:
    assert error_text(payload) == text
