"""The llama.cpp plugin: a real small model in this process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from genkit_rag.plugin_api import (
    GenkitError,
    Media,
    Message,
    ModelResponseChunk,
    OutputConfig,
    Part,
    model_info,
    weights_path,
)
from genkit_rag.testing._models import WEATHER, ModelContract, ModelUnderTest, ask
from genkit_rag_llama_cpp import LlamaCpp

MODEL = "smollm2-135m"


def _weights() -> Path | None:
    try:
        return weights_path(MODEL, "SmolLM2-135M-Instruct.Q4_1.gguf")
    except GenkitError:
        return None


needs_weights = [
    pytest.mark.weights,
    pytest.mark.skipif(_weights() is None, reason=f"needs the weights: genkit-rag models pull {MODEL}"),
]


@pytest.fixture
async def plugin() -> AsyncIterator[LlamaCpp]:
    made = LlamaCpp(n_ctx=1024)
    yield made
    await made.close()


class TestLlamaCpp(ModelContract):
    pytestmark = needs_weights

    @pytest.fixture
    async def model(self, plugin: LlamaCpp) -> ModelUnderTest:  # type: ignore[override]
        action = await plugin.resolve("model", f"llama-cpp/{MODEL}")
        assert action is not None
        return ModelUnderTest(action=action, json_schema=True)

    async def test_the_same_request_gives_the_same_answer(self, model: ModelUnderTest) -> None:
        request = ask("Name three colours.", config={"max_output_tokens": 20})
        assert (await model.action(request)).text == (await model.action(request)).text

    async def test_a_prompt_that_does_not_fit_names_both_numbers_and_the_fix(self, model: ModelUnderTest) -> None:
        with pytest.raises(GenkitError) as caught:
            await model.action(ask("word " * 1500))
        assert caught.value.status == "INVALID_ARGUMENT"
        assert caught.value.details["prompt_tokens"] > 1500
        assert caught.value.details["n_ctx"] == 1024
        assert str(caught.value.details["prompt_tokens"]) in caught.value.message
        assert "1024" in caught.value.message
        assert "n_ctx" in str(caught.value.hint)
        assert (await model.action(ask("Say hello."))).text.strip()

    async def test_the_event_loop_stays_free_while_it_loads_and_answers(self, model: ModelUnderTest) -> None:
        turns = 0
        running = asyncio.ensure_future(model.action(ask("Tell me about rivers.")))
        while not running.done():
            turns += 1
            await asyncio.sleep(0.01)
        assert (await running).text
        assert turns > 5

    async def test_a_cancelled_answer_frees_the_model_for_the_next(self, model: ModelUnderTest) -> None:
        begun = asyncio.Event()
        chunks: list[object] = []

        def take(chunk: object) -> None:
            chunks.append(chunk)
            begun.set()

        endless = ask("Write a very long story.", config={"max_output_tokens": 900})
        running = asyncio.ensure_future(model.action(endless, on_chunk=take))
        await begun.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert (await model.action(ask("Say hello."))).text.strip()
        assert len(chunks) < 800

    async def test_whoever_waits_can_be_cancelled(self, model: ModelUnderTest) -> None:
        first = asyncio.ensure_future(model.action(ask("Tell me about rivers.")))
        second = asyncio.ensure_future(model.action(ask("Tell me about seas.")))
        await asyncio.sleep(0)
        second.cancel()
        assert (await first).text.strip()
        assert second.cancelled()

    async def test_an_answer_is_the_same_after_closing(self, plugin: LlamaCpp, model: ModelUnderTest) -> None:
        before = (await model.action(ask("Say hello."))).text
        await plugin.close()
        await plugin.close()
        assert (await model.action(ask("Say hello."))).text == before

    async def test_closing_ends_an_answer_with_an_error(self, plugin: LlamaCpp, model: ModelUnderTest) -> None:
        begun = asyncio.Event()
        chunks: list[ModelResponseChunk] = []

        def take(chunk: ModelResponseChunk) -> None:
            chunks.append(chunk)
            begun.set()

        endless = ask("Write a very long story.", config={"max_output_tokens": 900})
        running = asyncio.ensure_future(model.action(endless, on_chunk=take))
        await begun.wait()
        await plugin.close()
        with pytest.raises(GenkitError, match="was closed while it answered") as caught:
            await running
        assert caught.value.status == "CANCELLED"
        assert caught.value.response.text == "".join(chunk.text for chunk in chunks) != ""
        assert caught.value.response.finish_reason == "unknown"

    async def test_a_schema_that_is_none_is_refused_by_name(self, model: ModelUnderTest) -> None:
        output = OutputConfig(format="json", schema={"type": "no such type"}, constrained=True)
        with pytest.raises(GenkitError, match="no such type") as caught:
            await model.action(ask("Say hello.", output=output))
        assert caught.value.status == "INVALID_ARGUMENT"

    async def test_an_enum_is_kept(self, model: ModelUnderTest) -> None:
        output = OutputConfig(format="enum", schema={"type": "string", "enum": ["red", "blue"]}, constrained=True)
        assert (await model.action(ask("Which colour has the sky?", output=output))).output in ("red", "blue")

    async def test_characters_of_several_tokens_arrive_whole(self, model: ModelUnderTest) -> None:
        said = "ação 👋🏽 né"
        output = OutputConfig(format="enum", schema={"type": "string", "enum": [said]}, constrained=True)
        chunks: list[ModelResponseChunk] = []
        response = await model.action(ask("Say it.", output=output), on_chunk=chunks.append)
        assert response.output == said
        assert "".join(chunk.text for chunk in chunks) == response.text

    async def test_media_is_refused(self, model: ModelUnderTest) -> None:
        picture = Part(media=Media(url="data:image/png;base64,AAAA"))
        with pytest.raises(GenkitError) as caught:
            await model.action(ask(Message.user([Part(text="What is it?"), picture])))
        assert caught.value.status == "INVALID_ARGUMENT"

    async def test_a_file_by_path_answers(self) -> None:
        plugin = LlamaCpp(models={"mine": str(_weights())}, n_ctx=512)
        action = await plugin.resolve("model", "llama-cpp/mine")
        assert action is not None
        assert (await action(ask("Say hello."))).text.strip()
        await plugin.close()


async def test_tools_are_refused_and_declared_missing(plugin: LlamaCpp) -> None:
    action = await plugin.resolve("model", f"llama-cpp/{MODEL}")
    assert action is not None
    supports = model_info(action).supports
    assert supports is not None
    assert supports.tools is False
    with pytest.raises(GenkitError, match="has no tools") as caught:
        await action(ask("How is the weather?", tools=[WEATHER]))
    assert caught.value.status == "UNIMPLEMENTED"


async def test_missing_weights_say_which_command_fetches_them(
    plugin: LlamaCpp, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GENKIT_RAG_CACHE", str(tmp_path))
    action = await plugin.resolve("model", f"llama-cpp/{MODEL}")
    assert action is not None
    with pytest.raises(GenkitError, match=f"genkit-rag models pull {MODEL}") as caught:
        await action(ask("Say hello."))
    assert caught.value.status == "FAILED_PRECONDITION"


@pytest.mark.parametrize(("content", "status"), [(None, "NOT_FOUND"), (b"GGUF but not really", "FAILED_PRECONDITION")])
async def test_a_file_that_is_no_model_is_named(tmp_path: Path, content: bytes | None, status: str) -> None:
    path = tmp_path / "model.gguf"
    if content is not None:
        path.write_bytes(content)
    plugin = LlamaCpp(models={"mine": path})
    action = await plugin.resolve("model", "llama-cpp/mine")
    assert action is not None
    with pytest.raises(GenkitError, match=r"model\.gguf") as caught:
        await action(ask("Say hello."))
    assert caught.value.status == status
    assert caught.value.hint
    await plugin.close()


async def test_only_named_models_are_there(plugin: LlamaCpp) -> None:
    assert await plugin.resolve("model", "llama-cpp/gpt-17") is None
    assert await plugin.resolve("embedder", f"llama-cpp/{MODEL}") is None
    assert [action.name for action in await plugin.init()] == [f"llama-cpp/{MODEL}"]


async def test_nothing_is_loaded_and_no_thread_is_started_before_the_first_request() -> None:
    before = threading.active_count()
    plugin = LlamaCpp(models={"mine": "/nowhere/model.gguf"})
    await plugin.init()
    assert threading.active_count() == before
