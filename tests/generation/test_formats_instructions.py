"""Words in a request that ask for the output, and the simulation of constrained output with them."""

from typing import Any

import pytest

from genkit_rag._core.errors import GenkitError
from genkit_rag._core.registry import Registry
from genkit_rag._documents.part import Message, Part
from genkit_rag._generation.formats import Format, Wanted, inject_instructions, register_format, simulate_constrained
from genkit_rag._generation.model import ModelRequest, OutputConfig

SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}}
WORDS = Part(text="As JSON.", metadata={"purpose": "output"})


def pending(text: str = "") -> Part:
    return Part(text=text, metadata={"purpose": "output", "pending": True, "more": 1})


def injected(*messages: Message, words: str | None = "As JSON.") -> list[Message]:
    return inject_instructions(ModelRequest(messages=list(messages)), words).messages


def test_the_words_end_the_system_message() -> None:
    assert injected(Message.system("be brief"), Message.user("hi")) == [
        Message.system(["be brief", WORDS]),
        Message.user("hi"),
    ]


def test_without_a_system_message_they_end_the_last_user_message() -> None:
    before = [Message.user("one"), Message.model("two"), Message.user(["three", "four"]), Message.model("five")]
    assert injected(*before) == [*before[:2], Message.user(["three", "four", WORDS]), before[3]]


def test_without_both_they_are_the_system_message() -> None:
    assert injected(Message.model("go on")) == [Message.system(WORDS), Message.model("go on")]


def test_there_is_nothing_to_inject_without_words() -> None:
    assert injected(Message.user("hi"), words=None) == [Message.user("hi")]


@pytest.mark.parametrize("position", [0, 1, 2])
def test_they_take_the_place_of_a_pending_part_wherever_it_stands(position: int) -> None:
    others = ["a", "b"]
    content: list[Any] = [*others[:position], pending("later"), *others[position:]]
    expected: list[Any] = [*others[:position], WORDS, *others[position:]]
    before = Message.system("be brief")
    message = Message(role="user", content=Message.user(content).content, metadata={"kept": True})
    assert injected(before, message) == [
        before,
        Message(role="user", content=Message.user(expected).content, metadata={"kept": True}),
    ]


def test_of_several_pending_parts_the_first_is_replaced() -> None:
    messages = [Message.system(["be brief", pending()]), Message.user([pending(), "hi"])]
    assert injected(*messages) == [Message.system(["be brief", WORDS]), messages[1]]


@pytest.mark.parametrize("order", [1, -1])
def test_words_that_are_there_already_stay_alone_even_beside_a_pending_part(order: int) -> None:
    own = Part(text="mine", metadata={"purpose": "output"})
    messages = [Message.user([pending(), own][::order]), Message.user("hi")]
    assert injected(*messages) == messages


def test_the_callers_messages_are_not_changed() -> None:
    messages = [Message.system("be brief"), Message.user(["hi", pending()])]
    copies = [message.model_copy(deep=True) for message in messages]
    injected(*messages)
    assert messages == copies


def request(**output: Any) -> ModelRequest:
    return ModelRequest(messages=[Message.user("hi")], output=OutputConfig(**output))


def words_of(found: ModelRequest) -> str | None:
    part = found.messages[-1].content[-1]
    return part.text if part.metadata == {"purpose": "output"} else None


def test_constrained_output_becomes_words_and_the_request_holds_no_output_any_more() -> None:
    asked = request(format="json", schema=SCHEMA, constrained=True, content_type="application/json")
    found = simulate_constrained(asked)
    assert found.output is None
    assert '"name"' in (words_of(found) or "")
    assert asked.output is not None
    assert words_of(asked) is None


def test_simulating_twice_changes_nothing_more() -> None:
    once = simulate_constrained(request(format="json", schema=SCHEMA, constrained=True))
    assert simulate_constrained(once) == once


@pytest.mark.parametrize("constrained", [None, False])
def test_what_is_not_constrained_stays_as_it_is(constrained: bool | None) -> None:
    asked = request(format="json", schema=SCHEMA, constrained=constrained)
    assert simulate_constrained(asked) is asked


@pytest.mark.parametrize(
    ("instructions", "expected"),
    [("Mine.", "Mine."), (lambda schema: f"Keys: {', '.join(schema['properties'])}", "Keys: name"), (False, None)],
)
def test_the_words_of_a_simulation_can_be_chosen(instructions: Any, expected: str | None) -> None:
    found = simulate_constrained(request(format="json", schema=SCHEMA, constrained=True), instructions)
    assert (words_of(found), found.output) == (expected, None)


@pytest.mark.parametrize("instructions", [None, True])
def test_else_they_are_those_of_the_format(instructions: Any) -> None:
    values = {"type": "string", "enum": ["red"]}
    found = simulate_constrained(request(format="enum", schema=values, constrained=True), instructions)
    assert (words_of(found) or "").endswith("\nred")


def test_a_constraint_without_a_format_means_json() -> None:
    assert "JSON" in (words_of(simulate_constrained(request(schema=SCHEMA, constrained=True))) or "")


def test_words_that_are_no_text_are_refused() -> None:
    with pytest.raises(GenkitError) as caught:
        simulate_constrained(request(schema=SCHEMA, constrained=True), lambda _: 3)  # type: ignore[arg-type, return-value]
    assert caught.value.status == "INVALID_ARGUMENT"


def test_formats_of_ones_own_are_simulated_with_their_registry() -> None:
    class Yaml(Format):
        name = "yaml"
        constrained = True

        def instructions(self, schema: Any, /) -> str:
            return "Answer in YAML."

        def parse(self, text: str, wanted: Wanted, /) -> Any:
            return text

    registry = Registry()
    register_format(registry, Yaml())
    asked = request(format="yaml", constrained=True)
    assert words_of(simulate_constrained(asked, registry=registry.child())) == "Answer in YAML."
    assert words_of(simulate_constrained(asked, "Mine.", registry=registry)) == "Mine."
    with pytest.raises(GenkitError, match="yaml"):
        simulate_constrained(asked)
