"""The part of the models' contract that is about tools."""

from __future__ import annotations

import pytest

from genkit_rag._ai.genkit import Genkit
from genkit_rag._core.errors import GenkitError
from genkit_rag._documents.part import Message, Part, ToolResponse
from genkit_rag._generation.model import ModelAction, ModelRequest, ModelResponse, model_info
from genkit_rag.testing._model_requests import QUESTION, WEATHER, ModelUnderTest, ask, both_ways, run


class ModelToolContract:
    """Tool calls: the model calls tools, uses their results, or rejects the request; see `ModelContract`."""

    @both_ways
    async def test_a_tool_is_asked_for_and_its_result_is_used(self, model: ModelUnderTest, streamed: bool) -> None:
        _skip_without_tools(model)
        question = Message.user(QUESTION)
        choice = "required" if model.tool_choice else None
        response = await run(model.action, ask(question, tools=[WEATHER], tool_choice=choice), streamed)
        assert response.message is not None
        assert response.finish_reason == "stop"
        [part] = response.tool_requests
        call = part.tool_request
        assert call is not None
        assert call.name == "weather"
        assert call.ref
        assert isinstance(call.input["city"], str)
        result = Part(tool_response=ToolResponse(name="weather", ref=call.ref, output={"sky": "clear"}))
        talk = [question, response.message, Message(role="tool", content=[result])]
        final = await run(model.action, ask(*talk, tools=[WEATHER]), streamed)
        assert final.text.strip()

    @both_ways
    async def test_generate_runs_the_tools_of_this_model(self, model: ModelUnderTest, streamed: bool) -> None:
        _skip_without_tools(model)
        response, cities = await _generate_with_weather(model.action, streamed)
        assert len(cities) == 1
        assert response.text.strip()
        assert [message.role for message in response.messages] == ["user", "model", "tool", "model"]
        assert response.usage is not None
        assert response.usage.output_tokens

    @both_ways
    async def test_several_calls_at_once_get_a_result_each(self, model: ModelUnderTest, streamed: bool) -> None:
        if model.several_calls is None:
            pytest.skip("this model calls one tool at a time")
        response, cities = await _generate_with_weather(model.several_calls, streamed)
        asked, answered = response.messages[1:3]
        refs = [part.tool_request.ref for part in asked.content if part.tool_request]
        assert len(refs) == len(set(refs)) == len(cities) > 1
        assert [part.tool_response.ref for part in answered.content if part.tool_response] == refs

    @both_ways
    async def test_tools_that_may_not_be_called_are_not(self, model: ModelUnderTest, streamed: bool) -> None:
        response = await run(model.action, ask(QUESTION, tools=[WEATHER], tool_choice="none"), streamed)
        assert not response.tool_requests
        assert response.text.strip()

    @both_ways
    async def test_a_tool_that_must_be_called_is_or_the_request_is_refused(
        self, model: ModelUnderTest, streamed: bool
    ) -> None:
        request = ask("Say hello.", tools=[WEATHER], tool_choice="required")
        if model.tool_choice:
            assert (await run(model.action, request, streamed)).tool_requests
        else:
            await _refused(model, request, streamed)

    @both_ways
    async def test_a_model_without_tools_refuses_them(self, model: ModelUnderTest, streamed: bool) -> None:
        if model.tools:
            pytest.skip("this model has tools")
        await _refused(model, ask(QUESTION, tools=[WEATHER]), streamed)


def _skip_without_tools(model: ModelUnderTest) -> None:
    if not model.tools:
        pytest.skip("this model has no tools")


async def _refused(model: ModelUnderTest, request: ModelRequest, streamed: bool) -> None:
    if model_info(model.action).supports is None:
        pytest.skip("this model says nothing of what it can do")
    with pytest.raises(GenkitError) as caught:
        await run(model.action, request, streamed)
    assert caught.value.status in ("INVALID_ARGUMENT", "UNIMPLEMENTED")
    assert caught.value.hint


async def _generate_with_weather(model: ModelAction, streamed: bool) -> tuple[ModelResponse, list[str]]:
    cities: list[str] = []

    def weather(city: str) -> dict[str, str]:
        """Says how the weather is in a city."""
        cities.append(city)
        return {"sky": "clear"}

    async with Genkit() as ai:
        if not streamed:
            return await ai.generate(QUESTION, model=model, tools=[weather], config={"temperature": 0}), cities
        stream = ai.generate_stream(QUESTION, model=model, tools=[weather], config={"temperature": 0})
        roles = [chunk.role async for chunk in stream.stream]
        assert "tool" in roles
        return await stream.response, cities
