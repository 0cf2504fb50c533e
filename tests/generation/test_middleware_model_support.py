"""Middleware that fits a request to what a model can do, or refuses it."""

from __future__ import annotations

from typing import Any

import pytest

from genkit_rag import Document, Genkit, GenkitError, Media, Message, ModelRequest, ModelResponse, Part
from genkit_rag.middleware import simulate_constrained_generation, simulate_system_prompt, validate_support
from genkit_rag.plugin_api import OutputConfig, ToolResponse, attach_middleware, model_action
from genkit_rag.testing import ScriptedModel

IMAGE = Part(media=Media(url="https://example.com/a.png", content_type="image/png"))


def double(n: int) -> int:
    return 2 * n


class World:
    def __init__(self, *answers: Any, **supports: Any) -> None:
        self.ai = Genkit()
        self.model = ScriptedModel("test/model", answers or ["ok"] * 9, supports=supports)

    async def run(self, *use: Any, prompt: Any = "hi", **more: Any) -> ModelResponse:
        return await self.ai.generate(prompt, model=self.model.action, use=use, **more)

    async def sent(self, *use: Any, **more: Any) -> ModelRequest:
        self.response = await self.run(*use, **more)
        return self.model.requests[-1]


# ---- the system prompt


def said(messages: list[Message]) -> list[tuple[str, list[str | None]]]:
    return [(message.role, [part.text for part in message.content]) for message in messages]


async def test_a_system_message_becomes_a_question_and_an_answer() -> None:
    world = World()
    request = await world.sent(simulate_system_prompt(), system="Be brief.")
    assert said(request.messages) == [
        ("user", ["SYSTEM INSTRUCTIONS:\n", "Be brief."]),
        ("model", ["Understood."]),
        ("user", ["hi"]),
    ]
    assert [message.role for message in world.response.messages] == ["system", "user", "model"]


async def test_the_words_around_a_system_message_may_be_others() -> None:
    made = simulate_system_prompt(preface="Rules: ", acknowledgement="Yes.")
    request = await World().sent(made, system="Be brief.")
    assert said(request.messages)[:2] == [("user", ["Rules: ", "Be brief."]), ("model", ["Yes."])]


async def test_only_the_first_system_message_is_taken_and_the_others_stay_where_they_are() -> None:
    messages = [Message.user("a"), Message.system("one"), Message.system("two")]
    request = await World().sent(simulate_system_prompt(), messages=messages, prompt=None)
    assert [message.role for message in request.messages] == ["user", "user", "model", "system"]


async def test_passages_are_put_into_the_question_and_not_into_the_instructions() -> None:
    request = await World().sent(simulate_system_prompt(), system="Be brief.", docs=["A passage."])
    assert "A passage." not in request.messages[0].text
    assert "A passage." in request.messages[-1].text


# ---- constrained generation

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


async def test_words_of_your_own_ask_for_output_that_the_model_cannot_be_held_to() -> None:
    world = World('{"n": 4}')
    made = simulate_constrained_generation(lambda schema: f"Only {sorted(schema['properties'])}!" if schema else None)
    request = await world.sent(made, output_schema=SCHEMA)
    assert said(request.messages) == [("user", ["hi", "Only ['n']!"])]
    assert request.messages[0].content[1].metadata == {"purpose": "output"}
    assert request.output is None
    assert world.response.output == {"n": 4}
    assert said(world.response.messages[:1]) == [("user", ["hi"])]


@pytest.mark.parametrize(
    ("can", "tools", "asks"),
    [
        ("all", [], False),
        ("all", [double], False),
        ("no-tools", [], False),
        ("no-tools", [double], True),
        ("none", [], True),
        (None, [], True),
    ],
)
async def test_a_model_that_can_be_held_to_it_is(can: Any, tools: Any, asks: bool) -> None:
    world = World('{"n": 4}', constrained=can)
    request = await world.sent(simulate_constrained_generation(lambda _: "Words."), output_schema=SCHEMA, tools=tools)
    assert (request.output is None) == asks
    assert ("Words." in request.messages[0].text) == asks


async def test_a_model_that_is_called_without_generate_asks_in_words_too() -> None:
    inner = ScriptedModel("test/inner", ["{}"])

    async def answer(request: ModelRequest, ctx: Any) -> ModelResponse:
        return await inner.action(request)

    made = attach_middleware(model_action("test/plain", answer), [simulate_constrained_generation()])
    await made(
        ModelRequest(messages=[Message.user("hi")], output=OutputConfig(format="json", schema=SCHEMA, constrained=True))
    )
    assert inner.requests[0].output is None
    assert '"integer"' in inner.requests[0].messages[0].text


# ---- support

CASES: dict[str, tuple[str, Any]] = {
    "media": ("media", {"prompt": [IMAGE]}),
    "media of a passage": ("media", {"docs": [Document([IMAGE])]}),
    "media of a tool": (
        "media",
        {
            "messages": [
                Message.user("x"),
                Message(
                    role="tool",
                    content=[Part(tool_response=ToolResponse(name="t", output=1, content=[IMAGE.to_wire()]))],
                ),
            ],
            "prompt": None,
        },
    ),
    "tools": ("tools", {"tools": [double]}),
    "multiturn": ("multiturn", {"messages": [Message.user("a"), Message.model("b")]}),
    "system": ("system_role", {"system": "Be brief."}),
    "tool choice": ("tool_choice", {"tools": [double], "tool_choice": "required"}),
}


@pytest.mark.parametrize("case", CASES)
async def test_what_a_model_does_not_support_is_refused_before_it_is_asked(case: str) -> None:
    ability, options = CASES[case]
    world = World(**{ability: False})
    with pytest.raises(GenkitError) as caught:
        await world.run(validate_support(), **options)
    assert caught.value.status == "INVALID_ARGUMENT"
    assert "`test/model`" in caught.value.message
    assert caught.value.hint
    assert world.model.requests == []


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("says", [True, None])
async def test_what_it_supports_or_does_not_speak_of_is_allowed(case: str, says: Any) -> None:
    ability, options = CASES[case]
    world = World(**{ability: says})
    assert (await world.run(validate_support(), **options)).text == "ok"


@pytest.mark.parametrize("ability", ["media", "tools", "multiturn", "system_role", "tool_choice"])
async def test_a_plain_question_is_always_allowed(ability: str) -> None:
    assert (await World(**{ability: False}).run(validate_support(), tool_choice="auto")).text == "ok"


async def test_a_system_message_beside_a_question_is_no_conversation() -> None:
    assert (await World(multiturn=False).run(validate_support(), system="Be brief.")).text == "ok"


async def test_a_simulated_system_prompt_is_none() -> None:
    use = simulate_system_prompt(), validate_support()
    assert (await World(system_role=False).run(*use, system="Be brief.")).text == "ok"


async def test_a_fallback_is_checked_by_what_it_can_itself() -> None:
    from genkit_rag.middleware import fallback

    world = World(GenkitError("UNAVAILABLE", "Not now."))
    blind = "test/blind"
    world.ai.registry.register(ScriptedModel(blind, ["ok"], supports={"media": False}).action)
    with pytest.raises(GenkitError, match="`test/blind` does not support media"):
        await world.run(fallback(world.ai.registry, models=[blind]), validate_support(), prompt=[IMAGE])
