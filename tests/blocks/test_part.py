"""Parts and messages."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from genkit_rag.plugin_api import Message, Part, ToolRequest, to_parts


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
