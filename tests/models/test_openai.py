"""The OpenAI plugin against a server that speaks the documented protocol, and misbehaves on request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from email.utils import formatdate
from typing import Any

import pytest

from genkit_rag import Genkit
from genkit_rag._net.retry_after import retry_after
from genkit_rag.plugin_api import (
    Document,
    EmbedderOptions,
    EmbedRequest,
    GenerationConfig,
    GenkitError,
    Media,
    Message,
    ModelInfo,
    ModelRequest,
    ModelResponse,
    ModelSupports,
    OutputConfig,
    Part,
    ToolDefinition,
    ToolResponse,
    model_info,
)
from genkit_rag.testing._models import CITY_SCHEMA, WEATHER, ask
from genkit_rag_openai import OpenAI
from tests.fakes.openai_api import FakeOpenAI
from tests.fakes.samples import vector
from tests.fakes.serving import closed_port, serve

pytestmark = pytest.mark.network

KEY = "sk-secret-0123456789"


@pytest.fixture(scope="module")
def fake() -> FakeOpenAI:
    return FakeOpenAI()


@pytest.fixture(scope="module")
def base_url(fake: FakeOpenAI) -> Iterator[str]:
    with serve(fake.app) as url:
        yield f"{url}/v1"


@pytest.fixture
async def plugin(base_url: str) -> AsyncIterator[OpenAI]:
    made = OpenAI(base_url=base_url, api_key=KEY, timeout=0.5)
    yield made
    await made.close()


async def run(plugin: OpenAI, model: str, request: ModelRequest, streamed: bool = False) -> ModelResponse:
    action: Any = await plugin.resolve("model", f"openai/{model}")
    response: ModelResponse = await action(request, on_chunk=(lambda _: None) if streamed else None)
    return response


async def generated(ai: Genkit, streamed: bool, **options: Any) -> ModelResponse:
    return await (ai.generate_stream("hi", **options).response if streamed else ai.generate("hi", **options))


both = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


# ---- what is sent


async def test_the_config_is_sent_under_the_servers_names(plugin: OpenAI, fake: FakeOpenAI) -> None:
    config = {
        "temperature": 0.5,
        "topP": 0.9,
        "max_output_tokens": 9,
        "stopSequences": ["x"],
        "seed": 4,
        "logprobs": None,
    }
    await run(plugin, "echo", ask("hi", config=config))
    assert fake.requests[-1] == {
        "model": "echo",
        "messages": [{"role": "user", "content": "hi"}],
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 9,
        "stop": ["x"],
        "seed": 4,
    }
    assert fake.headers[-1]["authorization"] == f"Bearer {KEY}"


async def test_a_version_and_a_key_of_the_config_are_used_for_the_call(plugin: OpenAI, fake: FakeOpenAI) -> None:
    await run(plugin, "some-model", ask("hi", config=GenerationConfig(version="echo", api_key="sk-other")))
    assert fake.requests[-1]["model"] == "echo"
    assert fake.headers[-1]["authorization"] == "Bearer sk-other"


async def test_an_unknown_setting_reaches_the_server_which_says_what_is_wrong(plugin: OpenAI) -> None:
    with pytest.raises(GenkitError, match="Unrecognized request argument supplied: made_up") as caught:
        await run(plugin, "echo", ask("hi", config={"made_up": 1}))
    assert caught.value.status == "INVALID_ARGUMENT"


async def test_a_picture_is_sent_beside_the_text(plugin: OpenAI, fake: FakeOpenAI) -> None:
    url = "data:image/png;base64,AAAA"
    await run(plugin, "echo", ask(Message.user([Part(text="What is it?"), Part(media=Media(url=url))])))
    assert fake.requests[-1]["messages"][0]["content"] == [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": url}},
    ]


async def test_media_that_cannot_be_sent_is_named(plugin: OpenAI) -> None:
    film = Message.user(Part(media=Media(url="https://example.org/f.mp4", content_type="video/mp4")))
    with pytest.raises(GenkitError, match="video/mp4") as caught:
        await run(plugin, "echo", ask(film))
    assert caught.value.status == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("output", "sent"),
    [
        (None, None),
        (OutputConfig(format="text"), None),
        (OutputConfig(format="json"), {"type": "json_object"}),
        (OutputConfig(format="json", schema=CITY_SCHEMA, constrained=False), {"type": "json_object"}),
        (
            OutputConfig(schema=CITY_SCHEMA),
            {"type": "json_schema", "json_schema": {"name": "output", "schema": CITY_SCHEMA, "strict": True}},
        ),
        (
            OutputConfig(format="json", schema={"type": "object", "properties": {"a": {"type": "string"}}}),
            {
                "type": "json_schema",
                "json_schema": {
                    "name": "output",
                    "schema": {"type": "object", "properties": {"a": {"type": "string"}}},
                },
            },
        ),
        (OutputConfig(format="jsonl", schema={"type": "array"}), None),
    ],
)
async def test_the_wished_output_is_said(
    plugin: OpenAI, fake: FakeOpenAI, output: OutputConfig | None, sent: dict[str, Any] | None
) -> None:
    await run(plugin, "echo", ask("hi", output=output))
    assert fake.requests[-1].get("response_format") == sent


# ---- tools


@both
async def test_a_tool_of_one_plain_value_gets_that_value_and_remembers_it(
    plugin: OpenAI, fake: FakeOpenAI, streamed: bool
) -> None:
    tool = ToolDefinition(name="weather", description="", input_schema={"type": "string"})
    request = ask("How is it?", tools=[tool])
    response = await run(plugin, "echo", request, streamed)
    [part] = response.tool_requests
    assert part.tool_request is not None
    assert part.tool_request.input == "Lisboa, ação"
    result = Part(tool_response=ToolResponse(name="weather", ref=part.tool_request.ref, output=21.5))
    assert response.message is not None
    talk = [*request.messages, response.message, Message(role="tool", content=[result])]
    final = await run(plugin, "echo", ask(*talk, tools=[tool]), streamed)
    assert "The tool said: 21.5" in final.text
    call = fake.requests[-1]["messages"][1]["tool_calls"][0]
    assert call["function"]["arguments"] == '{"value": "Lisboa, ação"}'


@both
async def test_what_the_model_was_said_to_lack_is_refused(base_url: str, streamed: bool) -> None:
    supports = {"bare": ModelSupports(tools=False), "free": ModelSupports(tools=True, tool_choice=False)}
    plugin = OpenAI(base_url=base_url, models={name: ModelInfo(supports=can) for name, can in supports.items()})
    for name, choice in (("bare", None), ("free", "required")):
        with pytest.raises(GenkitError, match=name) as caught:
            await run(plugin, name, ask("hi", tools=[WEATHER], tool_choice=choice), streamed)
        assert caught.value.status == "UNIMPLEMENTED"
        assert caught.value.hint
    await plugin.close()


@both
async def test_several_calls_at_once_stay_apart(plugin: OpenAI, streamed: bool) -> None:
    response = await run(plugin, "two-calls", ask("How is it?", tools=[WEATHER]), streamed)
    calls = [part.tool_request for part in response.tool_requests]
    assert [(call.ref, call.input) for call in calls if call] == [
        ("call_0x", {"city": "Lisboa, ação"}),
        ("call_1x", {"city": "Lisboa, ação"}),
    ]
    assert response.finish_reason == "stop"


@both
async def test_arguments_that_are_not_json_stay_the_text_they_are(plugin: OpenAI, streamed: bool) -> None:
    response = await run(plugin, "bad-arguments", ask("How is it?", tools=[WEATHER]), streamed)
    [part] = response.tool_requests
    assert part.tool_request is not None
    assert part.tool_request.input == '{"city": "Lisb'


async def test_a_streamed_call_of_a_tool_is_sent_whole(plugin: OpenAI) -> None:
    action: Any = await plugin.resolve("model", "openai/echo")
    stream = action.stream(ask("How is it?", tools=[WEATHER]))
    asked = [part.tool_request async for chunk in stream.stream for part in chunk.content if part.tool_request]
    assert asked == [part.tool_request for part in (await stream.response).tool_requests]
    assert asked[0].input == {"city": "Lisboa, ação"}


# ---- what comes back


@both
async def test_reasoning_stands_beside_the_text(plugin: OpenAI, streamed: bool) -> None:
    response = await run(plugin, "reasoner", ask("hi"), streamed)
    assert response.reasoning == "Let me think."
    assert response.text == "You said: hi – olá 👋"


@both
async def test_usage_has_cached_and_thought_tokens(plugin: OpenAI, streamed: bool) -> None:
    usage = (await run(plugin, "echo", ask("hi"), streamed)).usage
    assert usage is not None
    assert (usage.cached_content_tokens, usage.thoughts_tokens) == (2, 3)
    assert usage.total_tokens == (usage.input_tokens or 0) + (usage.output_tokens or 0)


@both
async def test_a_refusal_is_a_blocked_answer(plugin: OpenAI, streamed: bool) -> None:
    response = await run(plugin, "refuser", ask("hi"), streamed)
    assert response.finish_reason == "blocked"
    assert response.finish_message == "I can't help with that."
    assert response.text == ""


async def test_leaving_a_stream_closes_the_connection(plugin: OpenAI, fake: FakeOpenAI) -> None:
    begun = asyncio.Event()
    action: Any = await plugin.resolve("model", "openai/endless")
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


@both
@pytest.mark.parametrize("model", ["empty", "no-choices"])
async def test_an_answer_of_nothing_is_no_answer(plugin: OpenAI, model: str, streamed: bool) -> None:
    action: Any = await plugin.resolve("model", f"openai/{model}")
    async with Genkit() as ai:
        with pytest.raises(GenkitError) as caught:
            await generated(ai, streamed, model=action)
    assert caught.value.status == "FAILED_PRECONDITION"
    assert "neither text nor a call" in caught.value.message


async def test_what_had_come_is_on_the_error_of_a_generation(plugin: OpenAI) -> None:
    async with Genkit() as ai:
        action: Any = await plugin.resolve("model", "openai/cut")
        stream = ai.generate_stream("hi", model=action)
        with pytest.raises(GenkitError) as caught:
            await stream.response
    assert caught.value.status == "UNAVAILABLE"
    assert caught.value.response.text == "You said: "
    assert [message.role for message in caught.value.response.messages] == ["user", "model"]


@both
async def test_broken_arguments_are_reported_by_name_and_the_model_may_see_them(
    plugin: OpenAI, fake: FakeOpenAI, streamed: bool
) -> None:
    def weather(city: str) -> str:
        """Says how the weather is."""
        return city

    asked: Any = {"model": await plugin.resolve("model", "openai/bad-arguments"), "tools": [weather]}
    async with Genkit() as ai:
        with pytest.raises(GenkitError, match="weather") as caught:
            await generated(ai, streamed, **asked)
        assert caught.value.status == "INVALID_ARGUMENT"
        assert (await ai.generate("hi", **asked, tool_errors="return")).text
    assert "INVALID_ARGUMENT" in fake.requests[-1]["messages"][-1]["content"]


async def test_a_server_that_does_not_stream_still_answers(plugin: OpenAI) -> None:
    assert (await run(plugin, "not-streaming", ask("hi"), streamed=True)).text == "You said: hi – olá 👋"


async def test_a_stream_without_its_last_word_is_no_whole_answer(plugin: OpenAI) -> None:
    with pytest.raises(GenkitError, match="ended before the answer did") as caught:
        await run(plugin, "no-done", ask("hi"), streamed=True)
    assert caught.value.status == "UNAVAILABLE"
    assert caught.value.response.text.startswith("You said: hi")


# ---- failures


@pytest.mark.parametrize(
    ("model", "status", "partial"),
    [
        ("cut", "UNAVAILABLE", "You said: "),
        ("reset", "UNAVAILABLE", "You said: "),
        ("stall", "DEADLINE_EXCEEDED", "You said: "),
        ("broken", "INTERNAL", "You said: "),
        ("late-error", "UNAVAILABLE", "You said: "),
        ("html", "INTERNAL", ""),
    ],
)
async def test_a_stream_that_breaks_is_an_error_with_what_had_come(
    plugin: OpenAI, model: str, status: str, partial: str
) -> None:
    with pytest.raises(GenkitError) as caught:
        await run(plugin, model, ask("hi"), streamed=True)
    assert caught.value.status == status
    assert caught.value.response.text == partial
    assert caught.value.hint
    assert (await run(plugin, "echo", ask("hi"), streamed=True)).text


@pytest.mark.parametrize(("model", "status"), [("stall", "DEADLINE_EXCEEDED"), ("html", "INTERNAL")])
async def test_a_whole_answer_that_is_none_is_an_error(plugin: OpenAI, model: str, status: str) -> None:
    with pytest.raises(GenkitError) as caught:
        await run(plugin, model, ask("hi"))
    assert caught.value.status == status
    assert caught.value.hint


@both
@pytest.mark.parametrize(
    ("code", "status"),
    [
        (400, "INVALID_ARGUMENT"),
        (401, "UNAUTHENTICATED"),
        (403, "PERMISSION_DENIED"),
        (404, "NOT_FOUND"),
        (408, "DEADLINE_EXCEEDED"),
        (409, "ABORTED"),
        (413, "INVALID_ARGUMENT"),
        (418, "INVALID_ARGUMENT"),
        (422, "INVALID_ARGUMENT"),
        (429, "RESOURCE_EXHAUSTED"),
        (500, "INTERNAL"),
        (502, "UNAVAILABLE"),
        (503, "UNAVAILABLE"),
        (504, "DEADLINE_EXCEEDED"),
        (529, "UNAVAILABLE"),
    ],
)
async def test_a_failed_call_says_what_the_server_said(plugin: OpenAI, code: int, status: str, streamed: bool) -> None:
    with pytest.raises(GenkitError, match="as you asked") as caught:
        await run(plugin, f"status-{code}", ask("hi"), streamed)
    error = caught.value
    assert error.status == status
    assert error.details == {"http_status": code, "request_id": "req_1", "code": "made_up"}
    assert error.retry_after == (7.0 if code == 429 else None)
    assert KEY not in f"{error}{error!r}"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("3", 3.0),
        ("1.5", 1.5),
        ("-5", 0.0),
        ("1000000", 1e6),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("", None),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Thu, 01 Jan 99999999 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_nothing(header: str | None, seconds: float | None) -> None:
    assert retry_after(header) == seconds


def test_retry_after_as_a_date_is_the_time_until_then() -> None:
    assert 0 < (retry_after(formatdate(time.time() + 3600, usegmt=True)) or 0) <= 3600


async def test_a_missing_key_is_said_at_the_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    plugin = OpenAI(models=["gpt-4.1-mini"])
    with pytest.raises(GenkitError, match="OPENAI_API_KEY") as caught:
        await run(plugin, "gpt-4.1-mini", ask("hi"))
    assert caught.value.status == "FAILED_PRECONDITION"
    assert [action.name for action in await plugin.list_actions()] == ["openai/gpt-4.1-mini"]


async def test_the_environment_gives_base_url_and_key(
    base_url: str, fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", base_url + "/")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-from-env\n")
    plugin = OpenAI()
    assert (await run(plugin, "echo", ask("hi"))).text
    assert fake.headers[-1]["authorization"] == "Bearer sk-from-env"
    await plugin.close()


async def test_no_key_is_needed_elsewhere(base_url: str, fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    plugin = OpenAI(base_url=base_url)
    assert (await run(plugin, "echo", ask("hi"))).text
    assert "authorization" not in fake.headers[-1]
    await plugin.close()


def test_the_key_is_not_in_the_repr() -> None:
    assert KEY not in repr(OpenAI(api_key=KEY))
    assert (
        repr(OpenAI(base_url="http://user:password@host/v1?token=t")) == "OpenAI('openai', base_url='http://host/v1')"
    )


async def test_a_key_that_no_header_can_carry_is_refused_unsaid(base_url: str) -> None:
    plugin = OpenAI(base_url=base_url, api_key="sk-se\ncret")
    with pytest.raises(GenkitError) as caught:
        await run(plugin, "echo", ask("hi"))
    assert caught.value.status == "FAILED_PRECONDITION"
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize("url", ["api.example.org/v1", "ftp://example.org", "http://"])
def test_a_base_url_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(GenkitError, match="base_url") as caught:
        OpenAI(base_url=url)
    assert caught.value.status == "INVALID_ARGUMENT"


async def test_a_host_without_an_address_is_unavailable() -> None:
    plugin = OpenAI(base_url="http://no-such-host.invalid/v1")
    with pytest.raises(GenkitError, match=r"no-such-host\.invalid") as caught:
        await run(plugin, "echo", ask("hi"))
    assert caught.value.status == "UNAVAILABLE"
    assert caught.value.__cause__ is not None
    await plugin.close()


# ---- listing, embedding, closing


async def test_the_listing_is_the_servers_by_kind(plugin: OpenAI) -> None:
    found = {action.key for action in await plugin.list_actions()}
    assert "/model/openai/echo" in found
    assert "/embedder/openai/text-embedding-3-small" in found
    assert not [key for key in found if "whisper" in key]


async def test_the_listing_of_a_server_that_is_gone_is_what_was_configured() -> None:
    plugin = OpenAI(base_url=f"http://127.0.0.1:{closed_port()}/v1", models={"mine": ModelInfo(label="Mine")})
    [action] = await plugin.list_actions()
    assert (action.key, (action.metadata or {})["model"]["label"]) == ("/model/openai/mine", "Mine")
    await plugin.close()


async def test_another_name_makes_a_second_plugin(base_url: str) -> None:
    plugin = OpenAI("local", base_url=base_url)
    action: Any = await plugin.resolve("model", "local/echo")
    assert (await action(ask("hi"))).text
    assert model_info(action).label == "local echo"
    assert "/model/local/echo" in {item.key for item in await plugin.list_actions()}
    await plugin.close()


async def test_vectors_come_in_the_order_of_the_texts(plugin: OpenAI) -> None:
    action: Any = await plugin.resolve("embedder", "openai/text-embedding-3-small")
    texts = ["one", "two", "three"]
    response = await action(EmbedRequest(input=[Document(text) for text in texts]))
    assert response.vectors.shape == (3, 8)
    for row, text in zip(response.vectors.tolist(), texts, strict=True):
        assert row == pytest.approx(vector(text, 8), rel=1e-6)


async def test_more_texts_than_one_request_takes_are_embedded_in_several(plugin: OpenAI, fake: FakeOpenAI) -> None:
    action: Any = await plugin.resolve("embedder", "openai/text-embedding-3-small")
    before = len(fake.requests)
    options = EmbedderOptions(dimensions=2)
    response = await action(EmbedRequest(input=[Document(str(i)) for i in range(2050)], options=options))
    assert response.vectors.shape == (2050, 2)
    assert response.vectors[2049].tolist() == pytest.approx(vector("2049", 2), rel=1e-6)
    assert [len(request["input"]) for request in fake.requests[before:]] == [2048, 2]


async def test_numbers_come_as_base64_or_as_a_list_where_the_server_knows_no_other(
    plugin: OpenAI, fake: FakeOpenAI
) -> None:
    request = EmbedRequest(input=[Document("one"), Document("two")])
    found = []
    for model in ("text-embedding-3-small", "lists"):
        action: Any = await plugin.resolve("embedder", f"openai/{model}")
        found.append((await action(request)).vectors)
        assert fake.requests[-1]["encoding_format"] == "base64"
    assert found[0].tobytes() == found[1].tobytes()


async def test_half_a_character_is_replaced(plugin: OpenAI, fake: FakeOpenAI) -> None:
    action: Any = await plugin.resolve("embedder", "openai/text-embedding-3-small")
    await action(EmbedRequest(input=[Document("half of a pair: \ud83d")]))
    assert fake.requests[-1]["input"] == ["half of a pair: ?"]


async def test_a_model_of_one_length_refuses_another(plugin: OpenAI, fake: FakeOpenAI) -> None:
    action: Any = await plugin.resolve("embedder", "openai/text-embedding-ada-002")
    with pytest.raises(GenkitError, match="1536 dimensions, no others") as caught:
        await action(EmbedRequest(input=[Document("a")], options=EmbedderOptions(dimensions=256)))
    assert caught.value.status == "UNIMPLEMENTED"
    await action(EmbedRequest(input=[Document("a")], options=EmbedderOptions(dimensions=1536)))
    assert "dimensions" not in fake.requests[-1]


async def test_a_vector_too_few_is_an_error(plugin: OpenAI) -> None:
    action: Any = await plugin.resolve("embedder", "openai/short-embedder")
    with pytest.raises(GenkitError, match="2 vectors") as caught:
        await action(EmbedRequest(input=[Document("a"), Document("b")]))
    assert caught.value.status == "INTERNAL"


async def test_an_embedder_refuses_what_is_not_text(plugin: OpenAI) -> None:
    action: Any = await plugin.resolve("embedder", "openai/text-embedding-3-small")
    for document in (Document(""), Document.from_media("data:image/png;base64,AAAA", "image/png")):
        with pytest.raises(GenkitError, match="must be text") as caught:
            await action(EmbedRequest(input=[document]))
        assert caught.value.status == "INVALID_ARGUMENT"


def test_one_plugin_works_in_several_event_loops(base_url: str) -> None:
    plugin = OpenAI(base_url=base_url)

    async def once() -> str:
        text = (await run(plugin, "echo", ask("hi"))).text
        await plugin.close()
        return text

    assert asyncio.run(once()) == asyncio.run(once())


async def test_a_closed_plugin_connects_anew(plugin: OpenAI) -> None:
    assert (await run(plugin, "echo", ask("hi"))).text
    await plugin.close()
    await plugin.close()
    assert (await run(plugin, "echo", ask("hi"))).text
