"""The Ollama plugin against a server that speaks the documented API, and misbehaves on request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from genkit_rag.plugin_api import (
    Document,
    EmbedderOptions,
    EmbedRequest,
    GenkitError,
    Media,
    Message,
    ModelRequest,
    ModelResponse,
    OutputConfig,
    Part,
    ToolDefinition,
    ToolRequest,
    ToolResponse,
)
from genkit_rag.testing._models import CITY_SCHEMA, WEATHER, ask
from genkit_rag_ollama import Ollama
from genkit_rag_ollama._http import base_url_of
from tests.fakes.ollama_api import FakeOllama
from tests.fakes.samples import vector
from tests.fakes.serving import closed_port, serve

network = pytest.mark.network
both = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
SAID = "You said: hi –\u2028 olá 👋"


@pytest.fixture(scope="module")
def fake() -> FakeOllama:
    return FakeOllama()


@pytest.fixture(scope="module")
def host(fake: FakeOllama) -> Iterator[str]:
    with serve(fake.app) as url:
        yield url


@pytest.fixture
async def plugin(host: str) -> AsyncIterator[Ollama]:
    made = Ollama(host, timeout=0.5)
    yield made
    await made.close()


async def run(plugin: Ollama, model: str, request: ModelRequest, streamed: bool = False) -> ModelResponse:
    action: Any = await plugin.resolve("model", f"ollama/{model}")
    response: ModelResponse = await action(request, on_chunk=(lambda _: None) if streamed else None)
    return response


@network
async def test_the_config_becomes_options_but_for_what_stands_beside_them(plugin: Ollama, fake: FakeOllama) -> None:
    config = {"temperature": 0.5, "topK": 3, "max_output_tokens": 9, "num_ctx": 512, "think": False, "keep_alive": "5m"}
    await run(plugin, "echo", ask("hi", config={**config, "stopSequences": ["x"]}))
    assert fake.requests[-1] == {
        "model": "echo",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": False,
        "options": {"temperature": 0.5, "top_k": 3, "num_predict": 9, "num_ctx": 512, "stop": ["x"]},
        "think": False,
        "keep_alive": "5m",
    }


@network
@pytest.mark.parametrize(
    ("output", "sent"),
    [
        (None, None),
        (OutputConfig(format="json"), "json"),
        (OutputConfig(schema=CITY_SCHEMA), CITY_SCHEMA),
        (OutputConfig(format="json", schema=CITY_SCHEMA, constrained=False), "json"),
        (OutputConfig(format="array", schema={"type": "array"}, constrained=True), {"type": "array"}),
        (OutputConfig(format="enum", schema={"enum": ["a"]}, constrained=True), {"enum": ["a"]}),
        (OutputConfig(format="jsonl", schema={"type": "array"}, constrained=False), None),
    ],
)
async def test_the_wished_output_is_said(plugin: Ollama, fake: FakeOllama, output: Any, sent: Any) -> None:
    await run(plugin, "echo", ask("hi", output=output))
    assert fake.requests[-1].get("format") == sent


@network
@both
async def test_the_text_arrives_with_every_separator_that_json_may_hold(plugin: Ollama, streamed: bool) -> None:
    response = await run(plugin, "echo", ask("hi"), streamed)
    assert response.text.strip() == SAID


@network
@both
async def test_thinking_stands_beside_the_text(plugin: Ollama, streamed: bool) -> None:
    response = await run(plugin, "thinker", ask("hi"), streamed)
    assert response.reasoning == "Let me think."
    assert response.text.strip() == SAID


@network
async def test_a_picture_is_sent_as_base64(plugin: Ollama, fake: FakeOllama) -> None:
    picture = Part(media=Media(url="data:image/png;base64,AAAA"))
    response = await run(plugin, "echo", ask(Message.user([Part(text="What is it?"), picture])))
    assert fake.requests[-1]["messages"][0] == {"role": "user", "content": "What is it?", "images": ["AAAA"]}
    assert "1 images" in response.text


@network
async def test_a_picture_elsewhere_is_refused(plugin: Ollama) -> None:
    picture = Message.user(Part(media=Media(url="https://example.org/a.png", content_type="image/png")))
    with pytest.raises(GenkitError, match="image/png") as caught:
        await run(plugin, "echo", ask(picture))
    assert caught.value.status == "INVALID_ARGUMENT"


@network
@both
async def test_a_tool_of_one_plain_value_gets_that_value_and_remembers_it(
    plugin: Ollama, fake: FakeOllama, streamed: bool
) -> None:
    tool = ToolDefinition(name="weather", description="", input_schema={"type": "string"})
    request = ask("How is it?", tools=[tool])
    response = await run(plugin, "echo", request, streamed)
    [part] = response.tool_requests
    assert part.tool_request is not None
    assert part.tool_request.input == "Lisboa, ação"
    result = Part(tool_response=ToolResponse(name="weather", ref=part.tool_request.ref, output={"sky": "clear"}))
    assert response.message is not None
    talk = [*request.messages, response.message, Message(role="tool", content=[result])]
    final = await run(plugin, "echo", ask(*talk, tools=[tool]), streamed)
    assert 'The tool said: {"sky": "clear"}' in final.text
    sent = fake.requests[-1]["messages"]
    assert sent[1]["tool_calls"] == [{"function": {"name": "weather", "arguments": {"value": "Lisboa, ação"}}}]
    assert sent[2] == {"role": "tool", "tool_name": "weather", "content": '{"sky": "clear"}'}


@network
async def test_pictures_from_a_tool_stand_beside_its_text(plugin: Ollama, fake: FakeOllama) -> None:
    content: list[Any] = [{"text": "A map"}, Part(media=Media(url="data:image/png;base64,AAAA"))]
    result = Part(tool_response=ToolResponse(name="weather", ref="a", content=content))
    await run(plugin, "echo", ask("hi", Message(role="tool", content=[result]), tools=[WEATHER]))
    sent = fake.requests[-1]["messages"][1]
    assert sent == {"role": "tool", "tool_name": "weather", "content": "A map", "images": ["AAAA"]}


@network
async def test_a_tool_and_a_schema_at_once_are_refused_with_the_way_out(plugin: Ollama, fake: FakeOllama) -> None:
    output = OutputConfig(format="json", schema=CITY_SCHEMA, constrained=True)
    with pytest.raises(GenkitError, match="output_constrained=False") as caught:
        await run(plugin, "echo", ask("hi", tools=[WEATHER], output=output))
    assert caught.value.status == "UNIMPLEMENTED"
    loose = output.model_copy(update={"constrained": False})
    assert (await run(plugin, "echo", ask("hi", tools=[WEATHER], output=loose))).tool_requests
    assert "format" not in fake.requests[-1]


@network
async def test_thoughts_go_back_with_the_calls_that_they_led_to(plugin: Ollama, fake: FakeOllama) -> None:
    call = Part(tool_request=ToolRequest(name="weather", ref="a", input={"city": "x"}))
    result = Part(tool_response=ToolResponse(name="weather", ref="a", output=1))
    talk = [Message.model([Part(reasoning="Hm."), call]), Message(role="tool", content=[result])]
    await run(plugin, "echo", ask("hi", *talk, Message.model([Part(reasoning="So."), Part(text="One.")]), "and?"))
    sent = fake.requests[-1]["messages"]
    assert sent[1]["thinking"] == "Hm."
    assert "thinking" not in sent[3]


@network
async def test_leaving_a_stream_closes_the_connection(plugin: Ollama, fake: FakeOllama) -> None:
    begun = asyncio.Event()
    action: Any = await plugin.resolve("model", "ollama/endless")
    running = asyncio.ensure_future(action(ask("hi"), on_chunk=lambda _: begun.set()))
    await begun.wait()
    before = fake.left
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    for _ in range(500):  # the server is in another thread
        await asyncio.sleep(0.01)
        if fake.left > before:
            break
    assert fake.left == before + 1


@network
@both
async def test_an_answer_of_nothing_is_no_message(plugin: Ollama, streamed: bool) -> None:
    response = await run(plugin, "empty", ask("hi"), streamed)
    assert (response.message, response.finish_reason) == (None, "stop")
    assert response.raw["done"] is True


@network
async def test_tools_that_may_not_be_used_are_not_sent(plugin: Ollama, fake: FakeOllama) -> None:
    await run(plugin, "echo", ask("hi", tools=[WEATHER], tool_choice="none"))
    assert "tools" not in fake.requests[-1]


@network
@pytest.mark.parametrize(
    ("model", "status"),
    [("cut", "UNAVAILABLE"), ("late-error", "UNAVAILABLE"), ("stall", "DEADLINE_EXCEEDED"), ("broken", "INTERNAL")],
)
async def test_a_stream_that_breaks_is_an_error_with_what_had_come(plugin: Ollama, model: str, status: str) -> None:
    with pytest.raises(GenkitError) as caught:
        await run(plugin, model, ask("hi"), streamed=True)
    assert caught.value.status == status
    assert caught.value.response.text == "You said: "
    assert (await run(plugin, "echo", ask("hi"), streamed=True)).text


@network
@both
async def test_a_missing_model_says_how_to_fetch_it(plugin: Ollama, streamed: bool) -> None:
    with pytest.raises(GenkitError, match="ollama pull llama9") as caught:
        await run(plugin, "llama9", ask("hi"), streamed)
    assert caught.value.status == "NOT_FOUND"


@network
async def test_a_missing_server_says_how_to_start_it() -> None:
    plugin = Ollama(f"127.0.0.1:{closed_port()}", models=["mine"])
    with pytest.raises(GenkitError, match="ollama serve") as caught:
        await run(plugin, "echo", ask("hi"))
    assert caught.value.status == "UNAVAILABLE"
    assert [action.key for action in await plugin.list_actions()] == ["/model/ollama/mine"]
    await plugin.close()


@network
async def test_the_listing_tells_models_and_what_they_can_do_from_embedders(plugin: Ollama) -> None:
    found = {action.key: action.metadata for action in await plugin.list_actions()}
    assert "/embedder/ollama/nomic-embed-text:latest" in found
    echo, thinker = found["/model/ollama/echo"], found["/model/ollama/thinker"]
    assert echo is not None
    assert thinker is not None
    assert echo["model"]["supports"]["tools"] is True
    assert thinker["model"]["supports"]["tools"] is False


@network
async def test_vectors_come_in_the_order_of_the_texts(plugin: Ollama) -> None:
    action: Any = await plugin.resolve("embedder", "ollama/nomic-embed-text")
    request = EmbedRequest(input=[Document("one"), Document("two")], options=EmbedderOptions(dimensions=4))
    response = await action(request)
    assert response.vectors.tolist() == [pytest.approx(vector(text, 4), rel=1e-6) for text in ("one", "two")]
    with pytest.raises(GenkitError, match="must be text"):
        await action(EmbedRequest(input=[Document("")]))


@network
async def test_a_length_that_the_model_does_not_give_is_an_error(plugin: Ollama) -> None:
    action: Any = await plugin.resolve("embedder", "ollama/nomic-embed-text")
    with pytest.raises(GenkitError, match="gave 8 dimensions") as caught:
        await action(EmbedRequest(input=[Document("one")], options=EmbedderOptions(dimensions=9)))
    assert caught.value.status == "UNIMPLEMENTED"


@network
async def test_the_server_is_told_how_to_treat_an_embedder(plugin: Ollama, fake: FakeOllama, host: str) -> None:
    long = EmbedRequest(input=[Document("long " * 1000), Document("half of a pair: \ud83d")])
    action: Any = await plugin.resolve("embedder", "ollama/nomic-embed-text")
    assert len(await action(long)) == 2
    assert fake.requests[-1]["truncate"] is True
    assert "keep_alive" not in fake.requests[-1]
    strict = Ollama(host, keep_alive="10m", truncate=False)
    action = await strict.resolve("embedder", "ollama/nomic-embed-text")
    with pytest.raises(GenkitError, match="exceeds the context length") as caught:
        await action(long)
    assert caught.value.status == "INVALID_ARGUMENT"
    assert fake.requests[-1]["keep_alive"] == "10m"
    await strict.close()


@network
async def test_a_missing_embedder_says_how_to_fetch_it(plugin: Ollama) -> None:
    action: Any = await plugin.resolve("embedder", "ollama/other")
    with pytest.raises(GenkitError, match="ollama pull other") as caught:
        await action(EmbedRequest(input=[Document("one")]))
    assert caught.value.status == "NOT_FOUND"


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        (":8080", "http://127.0.0.1:8080"),
        ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("ollama.lan", "http://ollama.lan:11434"),
        ("https://ollama.lan/", "https://ollama.lan"),
        ("http://ollama.lan:1/x", "http://ollama.lan:1/x"),
    ],
)
def test_the_host_may_be_written_as_ollama_takes_it(given: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", given)
    assert base_url_of(None) == url


@pytest.mark.parametrize("host", ["ftp://x", "http://", "a b:c"])
def test_a_host_that_is_none_is_refused(host: str) -> None:
    with pytest.raises(GenkitError, match="host") as caught:
        Ollama(host)
    assert caught.value.status == "INVALID_ARGUMENT"
