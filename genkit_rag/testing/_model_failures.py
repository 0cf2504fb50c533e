"""The part of the models' contract that is about answers that do not come, or not as they should."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from genkit_rag._ai.genkit import Genkit
from genkit_rag._core.errors import GenkitError, Status
from genkit_rag._generation.model import ModelResponse, ModelResponseChunk
from genkit_rag.testing._model_requests import ModelUnderTest, ask, both_ways, run


class ModelFailureContract:
    """Every failure has a status and a hint, and nothing that broke passes as whole; see `ModelContract`."""

    @pytest.mark.parametrize("status", ["UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL"])
    async def test_an_answer_that_breaks_off_is_an_error_with_what_had_come(
        self, model: ModelUnderTest, status: Status
    ) -> None:
        if status not in model.broken:
            pytest.skip(f"no answer of this provider breaks off with {status}")
        chunks: list[ModelResponseChunk] = []
        with pytest.raises(GenkitError) as caught:
            await model.broken[status](ask("Say hello."), on_chunk=chunks.append)
        assert caught.value.status == status
        assert caught.value.hint
        partial = cast(ModelResponse, caught.value.response)
        assert partial.text
        assert partial.text == "".join(chunk.text for chunk in chunks)
        assert partial.finish_reason == "unknown"

    @both_ways
    async def test_an_empty_answer_fails_the_generation(self, model: ModelUnderTest, streamed: bool) -> None:
        if model.empty is None:
            pytest.skip("this provider always says something")
        response = await run(model.empty, ask("Say hello."), streamed)
        assert response.message is None
        assert response.finish_message
        async with Genkit() as ai:
            with pytest.raises(GenkitError) as caught:
                await ai.generate("Say hello.", model=model.empty)
        assert caught.value.status == "FAILED_PRECONDITION"
        assert response.finish_message in caught.value.message

    async def test_a_cancelled_answer_leaves_the_model_usable(self, model: ModelUnderTest) -> None:
        begun = asyncio.Event()
        request = ask("Count from one to one hundred.")
        running = asyncio.ensure_future(model.action(request, on_chunk=lambda _: begun.set()))
        waiting = asyncio.ensure_future(begun.wait())
        await asyncio.wait([running, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not running.done():
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
        assert (await model.action(ask("Say hello."))).text.strip()

    async def test_leaving_a_stream_early_leaves_the_model_usable(self, model: ModelUnderTest) -> None:
        stream = model.action.stream(ask("Count from one to one hundred."))
        chunks = stream.stream
        async for _ in chunks:
            break
        await chunks.aclose()  # type: ignore[attr-defined]
        with pytest.raises(asyncio.CancelledError):
            await stream.response
        assert (await model.action(ask("Say hello."))).text.strip()

    async def test_what_a_listener_raises_reaches_the_caller(self, model: ModelUnderTest) -> None:
        def fail(chunk: object) -> None:
            raise LookupError("listener")

        with pytest.raises(LookupError, match="listener"):
            await model.action(ask("Say hello."), on_chunk=fail)
        assert (await model.action(ask("Say hello."))).text.strip()

    async def test_a_model_that_is_not_there_is_not_found(self, model: ModelUnderTest) -> None:
        if model.unknown is None:
            pytest.skip("this provider has no names to get wrong")
        with pytest.raises(GenkitError) as caught:
            await model.unknown(ask("Say hello."))
        assert caught.value.status == "NOT_FOUND"
        assert model.unknown.name.partition("/")[2] in str(caught.value)
        assert caught.value.hint

    @both_ways
    async def test_a_provider_that_is_not_there_is_unavailable(self, model: ModelUnderTest, streamed: bool) -> None:
        if model.unreachable is None:
            pytest.skip("this provider is always there")
        with pytest.raises(GenkitError) as caught:
            await run(model.unreachable, ask("Say hello."), streamed)
        assert caught.value.status == "UNAVAILABLE"
        assert "127.0.0.1" in caught.value.message
        assert caught.value.hint

    @both_ways
    async def test_a_wrong_key_is_said_without_saying_the_key(self, model: ModelUnderTest, streamed: bool) -> None:
        if model.wrong_key is None:
            pytest.skip("this provider takes no key")
        with pytest.raises(GenkitError) as caught:
            await run(model.wrong_key, ask("Say hello."), streamed)
        error = caught.value
        assert error.status == "UNAUTHENTICATED"
        assert error.hint
        assert model.key not in f"{error}{error!r}{error.details}{error.__cause__!r}"
