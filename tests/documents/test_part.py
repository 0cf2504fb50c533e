"""Parts and messages."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from genkit_rag.plugin_api import Media, Message, Part, ToolRequest, to_parts


def test_content_is_text_a_part_or_a_list_of_both() -> None:
    part = Part(text="b")
    assert to_parts("a") == [Part(text="a")]
    assert to_parts(part) == [part]
    assert to_parts(["a", part]) == [Part(text="a"), part]
    assert to_parts([]) == []


def test_a_message_knows_its_role_text_and_tool_requests() -> None:
    call = Part(tool_request=ToolRequest(name="weather", input={"city": "Porto"}))
    message = Message.model(["Let me ", call, "see."])
    assert (message.role, message.text, message.tool_requests) == ("model", "Let me see.", [call])
    assert (Message.user("a").role, Message.system("a").role) == ("user", "system")


def test_an_unknown_field_or_role_is_refused() -> None:
    with pytest.raises(ValidationError):
        Part.model_validate({"txt": "a"})
    with pytest.raises(ValidationError):
        Message.model_validate({"role": "assistant", "content": []})


def test_a_tools_null_survives_the_wire() -> None:
    call = Part(tool_request=ToolRequest(name="x", input={"a": None, "b": [None]}))
    assert call.to_wire() == {"toolRequest": {"name": "x", "input": {"a": None, "b": [None]}}}
    assert Part.model_validate(call.to_wire()) == call


def test_a_part_holds_one_thing_and_data_may_stand_beside_it() -> None:
    with pytest.raises(ValidationError, match="`text` and `media`"):
        Part(text="a", media=Media(url="data:,x"))
    both = Part(text="a", data={"shown": "a"}, custom={"own": 1}, metadata={"m": 1})
    assert both.to_wire() == {"text": "a", "data": {"shown": "a"}, "custom": {"own": 1}, "metadata": {"m": 1}}
    assert Part(text="a", media=None).to_wire() == {"text": "a"}
    assert Part().to_wire() == {}


@pytest.mark.parametrize("value", [None, False, 0, "", [], {"a": None}])
def test_any_json_is_data(value: object) -> None:
    part = Part(data=value)
    assert part.is_data
    assert Part.model_validate(part.to_wire()).data == value
    assert part.to_wire() == {"data": value}
    assert not Part(text="a", data=value).is_data
    assert not Part(text="a").is_data
    assert not Part().is_data
