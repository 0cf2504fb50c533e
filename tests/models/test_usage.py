"""What went to a model and came back is counted by us, but for tokens, which only the provider knows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genkit_rag import Genkit
from genkit_rag.plugin_api import Media, Message, ModelRequest, ModelResponse, Part, ToolRequest, ToolResponse, Usage
from genkit_rag.testing import ScriptedModel

COUNTS = st.none() | st.integers(0, 50).map(float)
USAGES = st.builds(Usage, input_tokens=COUNTS, output_tokens=COUNTS, thoughts_tokens=COUNTS, input_characters=COUNTS)
PICTURE = Part(media=Media(url="data:image/png;base64,AAAA"))
SOUND = Part(media=Media(url="https://example.org/a", content_type="audio/wav"))
FILM = Part(media=Media(url="https://example.org/b", content_type="video/mp4"))


async def used(answers: list[Any], prompt: Any, **options: Any) -> Usage:
    model = ScriptedModel("mine/model", answers)
    async with Genkit() as ai:
        response = await ai.generate(prompt, model=model.action, **options)
    assert response.usage is not None
    return response.usage


async def test_characters_are_those_of_text_and_media_are_counted_by_kind() -> None:
    prompt = [Part(text="olá 👋"), PICTURE, PICTURE, SOUND, FILM, Part(data={"not": "text"})]
    usage = await used([Message.model([Part(text="Yes."), Part(reasoning="Hm."), PICTURE])], prompt)
    assert usage.to_wire() == {
        "inputCharacters": 5,
        "outputCharacters": 4,
        "inputImages": 2,
        "outputImages": 1,
        "inputAudioFiles": 1,
        "inputVideos": 1,
    }


async def test_calls_of_tools_and_their_results_are_no_characters() -> None:
    def weather(city: str) -> str:
        """Says how the weather is."""
        return f"clear in {city}"

    call = ToolRequest(name="weather", input={"city": "Lisbon"}, ref="a")
    usage = await used([call, "Clear."], "Weather?", tools=[weather])
    assert usage.input_characters == 2 * len("Weather?")  # it was sent in both turns
    assert usage.output_characters == len("Clear.")
    assert usage.input_tokens is None


async def test_what_the_model_counted_itself_stands() -> None:
    said = Usage(input_tokens=7, output_tokens=2, input_characters=99, cached_content_tokens=3)
    usage = await used([ModelResponse(message=Message.model("Hi"), finish_reason="stop", usage=said)], "Hello")
    assert usage.to_wire() == {
        "inputTokens": 7,
        "outputTokens": 2,
        "inputCharacters": 99,
        "cachedContentTokens": 3,
        "outputCharacters": 2,
    }


@given(parts=st.lists(USAGES, min_size=1, max_size=5))
def test_a_sum_over_turns_has_what_anybody_counted(parts: list[Usage]) -> None:
    from genkit_rag._generation.generate.answer import add_usage

    total: Usage | None = None
    for part in parts:
        total = add_usage(total, part)
    assert total is not None
    for name in Usage.model_fields:
        counts = [count for part in parts if (count := getattr(part, name)) is not None]
        assert getattr(total, name) == (sum(counts) if counts else None)


@pytest.mark.parametrize(
    "part",
    [
        Part(tool_request=ToolRequest(name="f", input="text")),
        Part(tool_response=ToolResponse(name="f", output="text")),
        Part(reasoning="text"),
        Part(data="text"),
        Part(custom={"a": "text"}),
        Part(text=""),
        Part(media=Media(url="https://example.org/unknown")),
    ],
)
async def test_only_text_has_characters(part: Part) -> None:
    from genkit_rag._generation.generate.answer import with_basic_stats

    request = ModelRequest(messages=[Message(role="user", content=[part])])
    assert with_basic_stats(request, ModelResponse()).to_wire() == {"inputCharacters": 0, "outputCharacters": 0}
