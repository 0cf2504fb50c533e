"""Redaction: what is secret does not reach the model, and the caller does not notice."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genkit_rag import Document, Genkit, GenkitError, Message, ModelRequest, ModelResponse, ModelResponseChunk, Part
from genkit_rag._generation.middleware.sensitive import FINDERS, find
from genkit_rag.middleware import Redact, redact
from genkit_rag.plugin_api import ActionContext, ToolRequest, ToolResponse, model_action
from genkit_rag.testing import ScriptedModel

PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIBOgIBAAJBAKj34\n-----END RSA PRIVATE KEY-----"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"

FOUND = [
    ("email", "ada@example.com"),
    ("email", "ada.lovelace+rag@mail.example.co.uk"),
    ("email", "jörg@bücher.example"),
    ("phone", "+49 30 901820"),
    ("phone", "+1 (212) 555-0142"),
    ("phone", "0049-30-901820"),
    ("phone", "212-555-0142"),
    ("phone", "(212) 555-0142"),
    ("phone", "030/9018 2012"),
    ("phone", "+447911123456"),
    ("phone", "01 42 68 53 00"),
    ("card", "4111 1111 1111 1111"),
    ("card", "4111-1111-1111-1111"),
    ("card", "5555555555554444"),
    ("card", "378282246310005"),
    ("iban", "DE89 3704 0044 0532 0130 00"),
    ("iban", "GB82WEST12345698765432"),
    ("iban", "nl91abna0417164300"),
    ("api_key", "sk-proj-abcDEF1234567890abcd"),
    ("api_key", "AKIAIOSFODNN7EXAMPLE"),
    ("api_key", JWT),
    ("api_key", "ghp_" + "a1B2" * 9),
    ("api_key", "AIza" + "x" * 35),
    ("api_key", "xoxb-1234567890-abcdef"),
    ("api_key", "Bearer abcdefghijklmnopqrstuvwx"),
    ("api_key", "hf_" + "aB3" * 12),
    ("private_key", PEM),
]

LEFT_ALONE = [
    "",
    "Hello, world!",
    "Meet at 10:30 on 2024-05-17.",
    "Version 1.2.3 of 2020",
    "It costs 1,234,567.89 euros.",
    "4111 1111 1111 1112 is no card",
    "DE00 3704 1144 1532 1130 11 is no account",
    "@mention and a@b",
    "[1] and [2-4]",
    "ISBN 978-3-16-148410-0",
    "sk-short",
    "The year 1999",
    "192.168.0.1",
    "id 12345678",
    "on 01/02/2024 or 01.02.2024",
    "007 is 12",
    "a task-list of desk-tops",
]


class World:
    def __init__(self, *answers: Any, supports: Any = None, **settings: Any) -> None:
        self.ai = Genkit()
        self.model = ScriptedModel("test/model", answers or ["ok"] * 9, supports=supports)
        self.redact = redact(**settings)

    async def run(self, prompt: Any = None, **more: Any) -> ModelResponse:
        return await self.ai.generate(prompt, model=self.model.action, use=[self.redact], **more)

    async def sent(self, prompt: Any = None, **more: Any) -> ModelRequest:
        await self.run(prompt, **more)
        return self.model.requests[-1]

    async def text(self, prompt: str, **more: Any) -> str:
        return (await self.sent(prompt, **more)).messages[-1].text


# ---- what is found


@pytest.mark.parametrize(("kind", "secret"), FOUND)
@pytest.mark.parametrize("around", ["{}", "Write to {}.", "({})", "'{}', please", "a: {}\nb", "see {} and go on"])
async def test_a_secret_is_found_wherever_it_stands(kind: str, secret: str, around: str) -> None:
    assert await World().text(around.format(secret)) == around.format(f"[{kind.upper()}_1]")


@pytest.mark.parametrize("text", LEFT_ALONE)
async def test_what_is_none_stays(text: str) -> None:
    assert await World().text(text or " ") == (text or " ")


async def test_numbers_beside_a_card_do_not_hide_it() -> None:
    assert await World().text("12 4111 1111 1111 1111 34") == "12 [CARD_1] 34"


async def test_words_behind_an_account_do_not_hide_it() -> None:
    assert await World().text("DE89 3704 0044 0532 0130 00 IS MINE") == "[IBAN_1] IS MINE"


async def test_a_key_that_is_cut_off_is_hidden_to_the_end() -> None:
    assert await World().text("-----BEGIN PRIVATE KEY-----\nMIIB") == "[PRIVATE_KEY_1]"


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="a@.-+ 0123456789[]_DE89\n", max_size=120))
def test_places_are_in_order_and_do_not_overlap(text: str) -> None:
    places = find(text, FINDERS)
    ends = [0]
    for start, end, _ in places:
        assert ends[-1] <= start < end <= len(text)
        ends.append(end)


@pytest.mark.parametrize(
    "piece",
    [
        "a@",
        "1 ",
        "DE89 ",
        "a.",
        "+1",
        "0 0",
        "[",
        "-----BEGIN PRIVATE KEY-----",
        "eyJaaaaaaaa.",
        "12-",
        "Bearer ",
        "sk-",
        "a@a.",
        "()",
        "é",
    ],
)
def test_searching_takes_time_in_proportion_to_the_text(piece: str) -> None:
    find(piece * (100_000 // len(piece)), FINDERS)  # a search that looks back would not end


# ---- where it is looked for


async def test_every_place_that_reaches_the_model_is_searched() -> None:
    secret = "ada@example.com"
    world = World()
    messages = [
        Message.user(secret),
        Message(
            role="model",
            content=[
                Part(reasoning=f"I see {secret}."),
                Part(tool_request=ToolRequest(name="t", input={secret: [secret]}, ref="1")),
            ],
        ),
        Message(
            role="tool",
            content=[
                Part(
                    tool_response=ToolResponse(
                        name="t",
                        ref="1",
                        content=[{"text": secret}],
                        output={"rows": [{"mail": secret, "card": 4111111111111111, "n": 7, "ok": True, "none": None}]},
                    )
                )
            ],
        ),
        Message.user([Part(data={"mail": secret}), Part(custom={"mail": secret})]),
    ]
    docs = [Document(f"Mail: {secret}", {"page": 3}, id="d1", score=0.5)]
    request = await world.sent(secret, system=secret, messages=messages, docs=docs)
    held = request.model_dump_json()
    assert secret not in held
    assert "4111111111111111" not in held
    assert held.count("[EMAIL_1]") == 12  # the document stands in the question too
    response = request.messages[3].content[0].tool_response
    assert response is not None
    assert response.output == {"rows": [{"mail": "[EMAIL_1]", "card": "[CARD_1]", "n": 7, "ok": True, "none": None}]}
    assert response.content == [{"text": "[EMAIL_1]"}]
    (doc,) = request.docs or ()
    assert (doc.id, doc.score, doc.metadata) == ("d1", 0.5, {"page": 3})


async def test_what_the_caller_gave_is_not_changed_and_stands_in_the_conversation() -> None:
    message = Message.user("ada@example.com")
    doc = Document("bob@example.com")
    response = await World().run("Hi, eve@example.com", messages=[message], docs=[doc])
    assert message.text == "ada@example.com"
    assert doc.text == "bob@example.com"
    assert [m.text for m in response.messages] == ["ada@example.com", "Hi, eve@example.com", "ok"]


async def test_a_citation_in_the_answer_is_found() -> None:
    response = await World("Write to [EMAIL_1] [1].").run("Whom?", docs=[Document("Write to ada@example.com.")])
    assert response.text == "Write to ada@example.com [1]."
    assert [citation.key for citation in response.citations] == ["1"]
    assert response.citations.unknown == []


# ---- placeholders


async def test_the_same_secret_has_the_same_placeholder_through_a_conversation() -> None:
    world = World("I know [EMAIL_1].", "And [EMAIL_2].", "Fine.")
    first = await world.run("I am ada@example.com.")
    second = await world.run("And bob@example.com?", messages=first.messages)
    await world.run("ada@example.com, bob@example.com!", messages=second.messages)
    assert [message.text for message in world.model.requests[2].messages] == [
        "I am [EMAIL_1].",
        "I know [EMAIL_1].",
        "And [EMAIL_2]?",
        "And [EMAIL_2].",
        "[EMAIL_1], [EMAIL_2]!",
    ]
    assert second.text == "And bob@example.com."


async def test_a_placeholder_of_the_user_is_nobodys() -> None:
    world = World("[EMAIL_1] is not [EMAIL_2], and [EMAIL_3] is made up.")
    response = await world.run("What is [EMAIL_1]? I am ada@example.com.")
    assert world.model.requests[0].messages[0].text == "What is [EMAIL_1]? I am [EMAIL_2]."
    assert response.text == "[EMAIL_1] is not ada@example.com, and [EMAIL_3] is made up."


async def test_patterns_of_your_own_have_names_of_their_own() -> None:
    world = World(patterns=["email"], custom={"badge": r"B-\d{3}", "digit": re.compile(r"\d")})
    assert await world.text("B-123 of ada@example.com, 7 of 4111 1111 1111 1111") == (
        "[BADGE_1] of [EMAIL_1], [DIGIT_1] of [DIGIT_2]" + "[DIGIT_3]" * 3 + " " + " ".join(["[DIGIT_3]" * 4] * 3)
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"patterns": ["names"]},
        {"patterns": "email"},
        {"custom": {"A": "x"}},
        {"custom": {"email": "x"}},
        {"custom": {"a": "("}},
        {"custom": {"a b": "x"}},
    ],
)
def test_wrong_settings_are_refused(wrong: Any) -> None:
    with pytest.raises(GenkitError, match=next(iter(wrong))):
        redact(**wrong)


# ---- and back


async def test_tools_get_the_originals_and_what_they_give_is_hidden() -> None:
    got: list[Any] = []

    def send(to: str, note: dict[str, str]) -> str:
        got.append((to, note))
        return f"Sent to {to}, cc eve@example.com."

    ask = ToolRequest(name="send", input={"to": "[EMAIL_1]", "note": {"from": "[EMAIL_1]!"}}, ref="a")
    world = World([ask], "Done: [EMAIL_2].")
    response = await world.run("Write to ada@example.com", tools=[send])
    assert got == [("ada@example.com", {"from": "ada@example.com!"})]
    assert response.text == "Done: eve@example.com."
    tool = world.model.requests[1].messages[-1].content[0].tool_response
    assert tool is not None
    assert tool.output == "Sent to [EMAIL_1], cc [EMAIL_2]."
    again = world.model.requests[1].messages[1].content[0].tool_request
    assert again is not None
    assert again.input == ask.input


async def test_the_answer_keeps_its_placeholders_when_asked_to() -> None:
    chunks: list[Any] = []
    response = await World("Hello [EMAIL_1].", restore=False).run("ada@example.com", on_chunk=chunks.append)
    assert response.text == "Hello [EMAIL_1]."
    assert "".join(chunk.text for chunk in chunks) == "Hello [EMAIL_1]."


async def test_json_stays_json() -> None:
    secret = '"quoted"\nline'
    world = World('{"found": "[ODD_1]"}', custom={"odd": r'"quoted"\sline'}, supports={"constrained": "all"})
    response = await world.run(f"Find {secret}", output_schema={"type": "object"})
    assert response.output == {"found": secret}
    assert json.loads(response.text) == {"found": secret}


async def test_an_error_while_streaming_gives_what_was_said() -> None:
    async def break_off(request: ModelRequest, ctx: ActionContext) -> ModelResponse:
        ctx.send_chunk(ModelResponseChunk(content=[Part(text="Dear [EMA")]))
        error = GenkitError("UNAVAILABLE", "Cut.")
        error.response = ModelResponse(message=Message.model("Dear [EMAIL_1], [EMA"))
        raise error

    chunks: list[Any] = []
    model = model_action("test/broken", break_off)
    with pytest.raises(GenkitError, match="Cut") as caught:
        await Genkit().generate("ada@example.com", model=model, use=[redact()], on_chunk=chunks.append)
    assert caught.value.response.message.text == "Dear ada@example.com, [EMA"
    assert "".join(chunk.text for chunk in chunks) == "Dear [EMA"


async def test_other_parts_of_a_stream_keep_their_place() -> None:
    sent = [
        [Part(reasoning="About [EMA")],
        [Part(reasoning="IL_1]. ")],
        [Part(text="Hi [")],
        [Part(reasoning="Hm.")],
        [Part(text="[EMAIL"), Part(tool_request=ToolRequest(name="t", input={"to": "[EMAIL_1]"}))],
        [Part(text="_1]")],
    ]

    async def speak(request: ModelRequest, ctx: ActionContext) -> ModelResponse:
        for content in sent:
            ctx.send_chunk(ModelResponseChunk(content=content))
        ctx.send_chunk(ModelResponseChunk(content=[Part(text="all of [EMAIL_1]")], aggregated=True))
        ctx.send_chunk(ModelResponseChunk(custom={"n": 1}))
        return ModelResponse(message=Message.model("done"), finish_reason="stop")

    chunks: list[ModelResponseChunk] = []
    model = model_action("test/speaker", speak)
    await Genkit().generate("ada@example.com", model=model, use=[redact()], on_chunk=chunks.append)
    parts = [part.to_wire() for chunk in chunks for part in chunk.content]
    assert parts == [
        {"reasoning": "About "},
        {"reasoning": "ada@example.com. "},
        {"text": "Hi "},
        {"text": "["},
        {"reasoning": "Hm."},
        {"text": "[EMAIL"},
        {"toolRequest": {"name": "t", "input": {"to": "ada@example.com"}}},
        {"text": "_1]"},
        {"text": "all of ada@example.com"},
    ]
    assert chunks[-1].custom == {"n": 1}


ORIGINALS = ["ada@example.com", "bob@example.org", "eve@example.net", *(f"u{n}@example.com" for n in range(12))]


@settings(max_examples=150, deadline=None)
@given(st.data())
async def test_however_an_answer_is_split_the_stream_gives_what_the_answer_says(data: st.DataObject) -> None:
    pieces = st.sampled_from(
        [
            "[EMAIL_1]",
            "[EMAIL_2]",
            "[EMAIL_15]",
            "[EMAIL_99]",
            "[",
            "]",
            "[EMA",
            "[[EMAIL_1]",
            "x",
            " ",
            "1]",
            "[EMAIL_1",
            "[PHONE_1]",
            "[3]",
        ]
    )
    answer = "".join(data.draw(st.lists(pieces, max_size=12)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(answer)), max_size=8)))
    bounds = [0, *cuts, len(answer)]

    async def speak(request: ModelRequest, ctx: ActionContext) -> ModelResponse:
        for start, end in pairwise(bounds):
            ctx.send_chunk(ModelResponseChunk(content=[Part(text=answer[start:end])]))
        return ModelResponse(message=Message.model(answer), finish_reason="stop")

    chunks: list[ModelResponseChunk] = []
    model = model_action("test/speaker", speak)
    prompt = ", ".join(ORIGINALS)
    response = await Genkit().generate(prompt, model=model, use=[redact()], on_chunk=chunks.append)
    wanted = answer
    for number, original in reversed(list(enumerate(ORIGINALS, 1))):
        wanted = wanted.replace(f"[EMAIL_{number}]", original)
    assert response.text == wanted
    assert "".join(chunk.text for chunk in chunks) == wanted
    assert chunks == [] or chunks[-1].accumulated_text == wanted


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.sampled_from([*ORIGINALS, "+49 30 901820", "4111 1111 1111 1111", " and ", "[EMAIL_2]", "x"]), max_size=10
    )
)
async def test_an_echo_gives_back_what_was_said(words: list[str]) -> None:
    said = " | ".join(words) or "x"
    world = World(lambda request: request.messages[-1].text)
    assert (await world.run(said)).text == said
    sent = world.model.requests[0].messages[-1].text
    assert not any(word in sent for word in words if "@" in word or "4111" in word or "+49" in word)


def test_it_is_a_class_too() -> None:
    assert redact is Redact
