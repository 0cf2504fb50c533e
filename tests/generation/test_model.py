"""Model requests and responses."""

from __future__ import annotations

import pytest

from genkit_rag.plugin_api import (
    ActionContext,
    GenerationConfig,
    GenkitError,
    Message,
    ModelInfo,
    ModelRequest,
    ModelResponse,
    ModelSupports,
    Part,
    model_action,
    model_info,
)


async def echo(request: ModelRequest, ctx: ActionContext) -> ModelResponse:
    return ModelResponse(message=Message.model(request.messages[-1].text), finish_reason="stop", request=request)


def test_a_config_is_typed_whatever_it_was_given_as() -> None:
    wanted = GenerationConfig(temperature=0.5, top_k=3)
    for config in (wanted, {"temperature": 0.5, "topK": 3}, {"temperature": 0.5, "top_k": 3}):
        found = ModelRequest(messages=[], config=config).typed_config()
        assert (found.temperature, found.top_k) == (0.5, 3)
    assert ModelRequest(messages=[]).typed_config() == GenerationConfig()
    assert ModelRequest(messages=[], config={"own": 1}).typed_config().model_extra == {"own": 1}


def test_a_key_is_not_shown() -> None:
    assert "sk-1" not in repr(GenerationConfig(api_key="sk-1"))


def test_a_response_reads_its_message() -> None:
    message = Message(role="model", content=[Part(reasoning="hm"), Part(text="a"), Part(text="b")])
    request = ModelRequest(messages=[Message.user("q")])
    response = ModelResponse(message=message, finish_reason="stop", request=request)
    assert (response.text, response.reasoning) == ("ab", "hm")
    assert response.messages == [Message.user("q"), message]
    empty = ModelResponse(finish_reason="blocked")
    assert (empty.text, empty.messages, empty.tool_requests, empty.media, empty.citations) == ("", [], [], [], [])


def test_output_is_the_data_part_or_the_text_as_json() -> None:
    assert ModelResponse(message=Message.model([Part(data={"a": 1}), "x"])).output == {"a": 1}
    assert ModelResponse(message=Message.model('{"a": 1}')).output == {"a": 1}
    with pytest.raises(GenkitError, match=r"not JSON.*output_schema="):
        _ = ModelResponse(message=Message.model("fine")).output


async def test_a_model_action_takes_and_gives_json() -> None:
    info = ModelInfo(label="Echo", supports=ModelSupports(system_role=True))
    action = model_action("fake/echo", echo, info=info)
    assert model_info(action) == info
    assert action.metadata["model"]["supports"] == {"systemRole": True}
    wire = {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}
    assert await action.run_json(wire) == {
        "message": {"role": "model", "content": [{"text": "hi"}]},
        "finishReason": "stop",
        "request": wire,
    }
    with pytest.raises(GenkitError, match=r"\$\.messages\[0\]\.role"):
        await action.run_json({"messages": [{"role": "robot", "content": []}]})
