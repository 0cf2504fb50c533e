"""The contract that every model plugin keeps: subclass `ModelContract` and give it a model."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from genkit_rag._ai.genkit import Genkit
from genkit_rag._core.schema import check_json
from genkit_rag._documents.part import Message
from genkit_rag._generation.model import ModelResponse, OutputConfig, model_info
from genkit_rag.testing._model_failures import ModelFailureContract
from genkit_rag.testing._model_requests import (
    CITY_SCHEMA,
    COLOUR_SCHEMA,
    COLOURS_SCHEMA,
    WEATHER,
    ModelUnderTest,
    ask,
    both_ways,
    run,
)
from genkit_rag.testing._model_tools import ModelToolContract

__all__ = ["CITY_SCHEMA", "WEATHER", "ModelContract", "ModelUnderTest", "ask"]

SCHEMAS = [("json", CITY_SCHEMA), ("array", COLOURS_SCHEMA), ("enum", COLOUR_SCHEMA)]


class ModelContract(ModelToolContract, ModelFailureContract):
    """The tests. Override the fixture `model`, which gives a `ModelUnderTest`."""

    @pytest.fixture
    def model(self) -> ModelUnderTest:
        """Return the model to test."""
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

    async def test_an_answer_is_the_same_streamed_and_whole(self, model: ModelUnderTest) -> None:
        request = ask("Count from one to five.")
        whole, streamed = await run(model.action, request, False), await run(model.action, request, True)
        assert (streamed.text, streamed.reasoning) == (whole.text, whole.reasoning)
        assert (streamed.finish_reason, streamed.finish_message) == (whole.finish_reason, whole.finish_message)

    @both_ways
    async def test_usage_counts_the_tokens(self, model: ModelUnderTest, streamed: bool) -> None:
        usage = (await run(model.action, ask("Say hello."), streamed)).usage
        assert usage is not None
        assert usage.input_tokens
        assert usage.output_tokens
        assert usage.input_tokens > 0
        assert usage.output_tokens > 0

    @both_ways
    async def test_an_answer_that_is_cut_at_the_limit_says_so(self, model: ModelUnderTest, streamed: bool) -> None:
        request = ask("Tell me a long story about the sea.", config={"temperature": 0, "max_output_tokens": 3})
        response = await run(model.action, request, streamed)
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

    async def test_it_says_truly_what_it_can_do(self, model: ModelUnderTest) -> None:
        can = model_info(model.action).supports
        if can is None:
            pytest.skip("this model says nothing of what it can do")
        assert can.tools is not (not model.tools)
        assert bool(can.tool_choice) is model.tool_choice
        assert (can.constrained in ("all", "no-tools")) is model.json_schema

    @both_ways
    @pytest.mark.parametrize(("form", "schema"), SCHEMAS, ids=[form for form, _ in SCHEMAS])
    async def test_a_json_schema_is_kept(
        self, model: ModelUnderTest, form: str, schema: dict[str, Any], streamed: bool
    ) -> None:
        if not model.json_schema:
            pytest.skip("this model is not held to schemas")
        output = OutputConfig(format=form, schema=schema, constrained=True)
        response = await run(model.action, ask("Name something, as JSON.", output=output), streamed)
        check_json(schema, json.loads(response.text), "The answer")
        assert response.finish_reason == "stop"

    @pytest.mark.parametrize(("form", "schema"), SCHEMAS, ids=[form for form, _ in SCHEMAS])
    async def test_generate_gives_the_output_in_its_form(
        self, model: ModelUnderTest, form: str, schema: dict[str, Any]
    ) -> None:
        if not model.json_schema:
            pytest.skip("this model is not held to schemas")
        async with Genkit() as ai:
            response = await ai.generate(
                "Name something, as JSON.",
                model=model.action,
                output_format=form,
                output_schema=schema,
                config={"temperature": 0, "max_output_tokens": 48},
            )
        check_json(schema, response.output, "The answer")
