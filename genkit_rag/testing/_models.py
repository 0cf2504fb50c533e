"""The contract that every model plugin keeps: subclass `ModelContract` and give it a model."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from genkit_rag._blocks.model import ModelAction, ModelRequest, ModelResponse, OutputConfig, ToolDefinition
from genkit_rag._blocks.part import Message, Part, ToolResponse
from genkit_rag._core.errors import GenkitError
from genkit_rag._core.schema import check_json

WEATHER = ToolDefinition(
    name="weather",
    description="Says how the weather is in a city.",
    input_schema={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
CITY_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 30}, "large": {"type": "boolean"}},
    "required": ["city", "large"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class ModelUnderTest:
    """A model and what can be asked of it; what is None or False is not tested.

    Attributes:
        action: The model.
        tools: It calls tools when it must.
        json_schema: It holds its answer to a JSON Schema.
        unknown: A model that the provider does not have.
        unreachable: A model of a provider that is not there.
        wrong_key: A model that is asked with a wrong API key.
        key: That key.
    """

    action: ModelAction
    tools: bool = False
    json_schema: bool = False
    unknown: ModelAction | None = None
    unreachable: ModelAction | None = None
    wrong_key: ModelAction | None = None
    key: str = ""


def ask(*messages: Message | str, **fields: Any) -> ModelRequest:
    """Returns a request for a short answer; a string is a user message."""
    said = [Message.user(message) if isinstance(message, str) else message for message in messages]
    fields.setdefault("config", {"temperature": 0, "max_output_tokens": 48})
    return ModelRequest(messages=said, **fields)


class ModelContract:
    """The tests. Override the fixture `model`, which gives a `ModelUnderTest`."""

    @pytest.fixture
    def model(self) -> ModelUnderTest:
        """Returns the model to test."""
        raise NotImplementedError("Override the fixture `model`.")

    async def test_it_answers_with_text_and_says_why_it_stopped(self, model: ModelUnderTest) -> None:
        response = await model.action(ask("Say hello."))
        assert response.message is not None
        assert response.message.role == "model"
        assert response.text.strip()
        assert response.finish_reason in ("stop", "length")

    async def test_streamed_chunks_add_up_to_the_answer(self, model: ModelUnderTest) -> None:
        stream = model.action.stream(ask("Count from one to five."))
        chunks = [chunk async for chunk in stream.stream]
        response = await stream.response
        assert len(chunks) > 1
        assert "".join(chunk.text for chunk in chunks) == response.text
        assert {(chunk.role, chunk.index) for chunk in chunks} == {("model", 0)}
        assert response.finish_reason in ("stop", "length")

    @pytest.mark.parametrize("streamed", [False, True])
    async def test_usage_counts_the_tokens(self, model: ModelUnderTest, streamed: bool) -> None:
        usage = (await _run(model.action, ask("Say hello."), streamed)).usage
        assert usage is not None
        assert usage.input_tokens
        assert usage.output_tokens
        assert usage.input_tokens > 0
        assert usage.output_tokens > 0

    @pytest.mark.parametrize("streamed", [False, True])
    async def test_an_answer_that_is_cut_at_the_limit_says_so(self, model: ModelUnderTest, streamed: bool) -> None:
        request = ask("Tell me a long story about the sea.", config={"temperature": 0, "max_output_tokens": 3})
        response = await _run(model.action, request, streamed)
        assert response.finish_reason == "length"
        assert response.usage is not None
        assert response.usage.output_tokens == 3

    async def test_it_takes_a_conversation_with_a_system_message(self, model: ModelUnderTest) -> None:
        request = ask(Message.system("Be brief."), "My name is Ana.", Message.model("Hello Ana."), "What is my name?")
        assert (await model.action(request)).text.strip()

    async def test_it_takes_and_gives_json(self, model: ModelUnderTest) -> None:
        wire = ask("Say hello.").to_wire()
        answer = await model.action.run_json(wire)
        assert answer["message"]["role"] == "model"
        assert ModelResponse.model_validate(answer).text.strip()

    async def test_concurrent_calls_do_not_mix(self, model: ModelUnderTest) -> None:
        requests = [ask(f"Repeat: {word}") for word in ("apple", "stone", "river")]
        alone = [(await model.action(request)).text for request in requests]
        together = await asyncio.gather(*(model.action(request) for request in requests))
        assert [response.text for response in together] == alone

    async def test_leaving_a_stream_early_leaves_the_model_usable(self, model: ModelUnderTest) -> None:
        stream = model.action.stream(ask("Count from one to one hundred."))
        chunks = stream.stream
        async for _ in chunks:
            break
        await chunks.aclose()  # type: ignore[attr-defined]
        with pytest.raises(asyncio.CancelledError):
            await stream.response
        assert (await model.action(ask("Say hello."))).text.strip()

    @pytest.mark.parametrize("streamed", [False, True])
    async def test_a_tool_is_asked_for_and_its_result_is_used(self, model: ModelUnderTest, streamed: bool) -> None:
        if not model.tools:
            pytest.skip("this model has no tools")
        question = Message.user("How is the weather in Lisbon? Use the tool.")
        response = await _run(model.action, ask(question, tools=[WEATHER], tool_choice="required"), streamed)
        assert response.message is not None
        [part] = response.tool_requests
        call = part.tool_request
        assert call is not None
        assert call.name == "weather"
        assert isinstance(call.input["city"], str)
        result = Part(tool_response=ToolResponse(name="weather", ref=call.ref, output={"sky": "clear"}))
        talk = [question, response.message, Message(role="tool", content=[result])]
        final = await _run(model.action, ask(*talk, tools=[WEATHER]), streamed)
        assert final.text.strip()

    @pytest.mark.parametrize("streamed", [False, True])
    async def test_a_json_schema_is_kept(self, model: ModelUnderTest, streamed: bool) -> None:
        if not model.json_schema:
            pytest.skip("this model is not held to schemas")
        output = OutputConfig(format="json", schema=CITY_SCHEMA, constrained=True)
        response = await _run(model.action, ask("Name a city as JSON.", output=output), streamed)
        check_json(CITY_SCHEMA, response.output, "The answer")

    async def test_a_model_that_is_not_there_is_not_found(self, model: ModelUnderTest) -> None:
        if model.unknown is None:
            pytest.skip("this provider has no names to get wrong")
        with pytest.raises(GenkitError) as caught:
            await model.unknown(ask("Say hello."))
        assert caught.value.status == "NOT_FOUND"
        assert model.unknown.name.partition("/")[2] in str(caught.value)
        assert caught.value.hint

    @pytest.mark.parametrize("streamed", [False, True])
    async def test_a_provider_that_is_not_there_is_unavailable(self, model: ModelUnderTest, streamed: bool) -> None:
        if model.unreachable is None:
            pytest.skip("this provider is always there")
        with pytest.raises(GenkitError) as caught:
            await _run(model.unreachable, ask("Say hello."), streamed)
        assert caught.value.status == "UNAVAILABLE"
        assert "127.0.0.1" in caught.value.message
        assert caught.value.hint

    @pytest.mark.parametrize("streamed", [False, True])
    async def test_a_wrong_key_is_said_without_saying_the_key(self, model: ModelUnderTest, streamed: bool) -> None:
        if model.wrong_key is None:
            pytest.skip("this provider takes no key")
        with pytest.raises(GenkitError) as caught:
            await _run(model.wrong_key, ask("Say hello."), streamed)
        error = caught.value
        assert error.status == "UNAUTHENTICATED"
        assert error.hint
        assert model.key not in f"{error}{error!r}{error.details}{error.__cause__!r}"


async def _run(action: ModelAction, request: ModelRequest, streamed: bool) -> ModelResponse:
    if not streamed:
        return await action(request)
    return await action(request, on_chunk=lambda chunk: None)
