import json
from datetime import date
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from genkit_rag._core.errors import GenkitError
from genkit_rag._core.registry import Registry
from genkit_rag._documents.part import Message, Part, ToolRequest
from genkit_rag._generation.formats import Format, Wanted, register_format
from genkit_rag._generation.generate import GenerateOptions, generate
from genkit_rag._generation.generate.output import output_of
from genkit_rag._generation.model import ModelRequest, ModelResponse, ModelResponseChunk
from genkit_rag.testing._scripted_model import ScriptedModel


class City(BaseModel):
    name: str
    founded: date | None = None


async def ask(
    *answers: Any, supports: dict[str, Any] | None = None, **options: Any
) -> tuple[ModelResponse, list[ModelRequest]]:
    model = ScriptedModel("test/scripted", answers, supports=supports)
    options.setdefault("prompt", "hi")
    return await generate(Registry(), GenerateOptions(model=model.action, **options)), model.requests


def parse_output(text: str, wanted: Any) -> Any:
    output = output_of(Registry(), GenerateOptions(output_schema=wanted))
    assert output is not None
    return output.parse(text)


def instructions(request: ModelRequest) -> list[tuple[str, str]]:
    return [
        (message.role, part.text or "")
        for message in request.messages
        for part in message.content
        if (part.metadata or {}).get("purpose") == "output"
    ]


async def test_a_constraining_model_gets_the_schema_and_no_words() -> None:
    response, (request,) = await ask('{"name": "Bern"}', supports={"constrained": "all"}, output_schema=City)
    assert request.output is not None
    assert request.output.to_wire() == {
        "format": "json",
        "schema": City.model_json_schema(),
        "constrained": True,
        "contentType": "application/json",
    }
    assert instructions(request) == []
    assert response.output == City(name="Bern")
    assert isinstance(response.output, City)


@pytest.mark.parametrize("supports", [None, {}, {"constrained": "none"}, {"constrained": "no-tools"}])
async def test_other_models_are_asked_in_words_once(supports: dict[str, Any] | None) -> None:
    def look() -> str:
        return "seen"

    answers = ([ToolRequest(name="look")], '{"name": "Bern"}')
    response, requests = await ask(*answers, supports=supports, output_schema=City, tools=[look])
    for request in requests:
        assert request.output is None
        ((role, text),) = instructions(request)
        assert role == "user"
        assert json.dumps(City.model_json_schema()) in text
    assert response.output == City(name="Bern")
    assert response.request is not None
    assert instructions(response.request) == []
    assert response.request.output is not None
    assert response.request.output.schema_ == City.model_json_schema()


async def test_no_tools_means_constrained_without_tools() -> None:
    _, (request,) = await ask("{}", supports={"constrained": "no-tools"}, output_schema=dict[str, int])
    assert request.output is not None
    assert instructions(request) == []


async def test_the_words_go_into_the_system_message_if_there_is_one() -> None:
    _, (request,) = await ask("{}", output_schema={"type": "object"}, system="be brief")
    assert [role for role, _ in instructions(request)] == ["system"]
    assert request.messages[0].content[0].text == "be brief"


async def test_the_words_stand_in_the_last_user_message() -> None:
    before = [Message.user("one"), Message.model("two")]
    _, (request,) = await ask("{}", output_schema={"type": "object"}, messages=before)
    assert [len(message.content) for message in request.messages] == [1, 1, 2]


async def test_a_conversation_without_system_and_user_gets_a_system_message() -> None:
    _, (request,) = await ask("{}", output_schema={"type": "object"}, prompt=None, messages=[Message.model("go on")])
    assert [message.role for message in request.messages] == ["system", "model"]
    assert len(instructions(request)) == 1


async def test_a_pending_part_is_replaced_in_place() -> None:
    pending = Part(text="", metadata={"purpose": "output", "pending": True})
    _, (request,) = await ask("{}", output_schema={"type": "object"}, prompt=[pending, "question"])
    first, second = request.messages[0].content
    assert first.metadata == {"purpose": "output"}
    assert "JSON Schema" in (first.text or "")
    assert second.text == "question"


async def test_words_that_are_there_already_stay_alone() -> None:
    own = Part(text="as JSON, please", metadata={"purpose": "output"})
    _, (request,) = await ask("{}", output_schema={"type": "object"}, prompt=["question", own])
    assert instructions(request) == [("user", "as JSON, please")]


async def test_own_words_and_no_words() -> None:
    _, (request,) = await ask("{}", output_schema=City, output_instructions="Just JSON.")
    assert instructions(request) == [("user", "Just JSON.")]
    _, (request,) = await ask("{}", output_schema=City, output_instructions=False)
    assert instructions(request) == []


async def test_unconstrained_output_keeps_the_schema_and_adds_words() -> None:
    _, (request,) = await ask("{}", supports={"constrained": "all"}, output_schema=City, output_constrained=False)
    assert request.output is not None
    assert request.output.constrained is False
    assert len(instructions(request)) == 1


async def test_json_without_a_schema() -> None:
    response, (request,) = await ask('Sure: {"a": [1]} there.', output_format="json")
    assert len(instructions(request)) == 1
    assert response.output == {"a": [1]}


async def test_text_format_is_passed_on() -> None:
    _, (request,) = await ask("plain", output_format="text")
    assert request.output is not None
    assert request.output.to_wire() == {"format": "text", "contentType": "text/plain"}


async def test_chunks_hold_what_the_format_makes_of_the_answer_so_far() -> None:
    model = ScriptedModel("test/scripted", ['[{"name": "Bern"}, {"name": "Basel"}]'])
    chunks: list[ModelResponseChunk] = []
    options = GenerateOptions(model=model.action, prompt="hi", output_format="array", output_schema=list[City])
    response = await generate(Registry(), options, on_chunk=chunks.append)
    assert [item for chunk in chunks for item in chunk.output] == [{"name": "Bern"}, {"name": "Basel"}]
    assert chunks[-1].output == [{"name": "Basel"}]  # whichever is asked first
    assert response.output == [City(name="Bern"), City(name="Basel")]


async def test_a_format_of_ones_own_is_used_by_its_name() -> None:
    class Shout(Format):
        name = "shout"

        def instructions(self, schema: Any, /) -> str:
            return "Shout."

        def parse(self, text: str, wanted: Wanted, /) -> str:
            return text.upper()

        def parse_chunk(self, text: str, previous: str, wanted: Wanted, /) -> str:
            return text.upper()

    registry = Registry()
    register_format(registry, Shout())
    model = ScriptedModel("test/scripted", ["well done"])
    chunks: list[ModelResponseChunk] = []
    options = GenerateOptions(model=model.action, prompt="hi", output_format="shout")
    response = await generate(registry, options, on_chunk=chunks.append)
    assert (response.output, [chunk.output for chunk in chunks]) == ("WELL DONE", ["WELL", "WELL DONE"])
    assert instructions(model.requests[0]) == [("user", "Shout.")]


async def test_an_unknown_format_asks_no_model() -> None:
    model = ScriptedModel("test/scripted", ["x"])
    with pytest.raises(GenkitError, match="Did you mean `json`"):
        await generate(Registry(), GenerateOptions(model=model.action, prompt="hi", output_format="jsn"))
    assert model.requests == []


async def test_an_answer_that_does_not_fit_is_shown_to_the_model_with_what_is_wrong() -> None:
    response, (first, second) = await ask(
        '{"name": 5}', '{"name": "Bern"}', output_schema=City, output_retries=2, system="be brief"
    )
    assert [message.role for message in second.messages] == ["system", "user", "model", "user"]
    assert "$.name" in second.messages[-1].text
    assert len(instructions(first)) == len(instructions(second)) == 1
    assert response.output == City(name="Bern")


LENIENT = [
    ('{"name": "Bern"}', City, City(name="Bern")),
    ('  \n{"name": "Bern"}\n', City, City(name="Bern")),
    ('```json\n{"name": "Bern"}\n```', City, City(name="Bern")),
    ('Here you are:\n```\n{"name": "Bern"}\n```\nEnjoy!', City, City(name="Bern")),
    ('Sure! {"name": "Bern"} - that is it.', City, City(name="Bern")),
    ('As [1] says {x}: {"name": "Bern", "founded": "1191-01-01"}', City, City(name="Bern", founded=date(1191, 1, 1))),
    ('First {"draft": 1}, then {"name": "Bern"}', City, City(name="Bern")),
    ('{"name": "a } and { b"}', City, City(name="a } and { b")),
    ("[1, 2]", list[int], [1, 2]),
    ("The list: [1, 2].", list[int], [1, 2]),
    ("```\n42\n```", int, 42),
    ("42", int, 42),
    ('"yes"', Literal["yes", "no"], "yes"),
    (" yes\n", Literal["yes", "no"], "yes"),
    ("just words", str, "just words"),
    ('{"a": 1}', {"type": "object", "required": ["a"]}, {"a": 1}),
    ("null", int | None, None),
]


@pytest.mark.parametrize(("text", "wanted", "value"), LENIENT)
async def test_answers_are_read_leniently(text: str, wanted: Any, value: Any) -> None:
    response, _ = await ask(text, output_schema=wanted)
    assert response.output == value


WRONG = [
    ("no json here", City),
    ("", City),
    ('{"name": 5}', City),
    ('{"name": "Bern"', City),
    ('{"cities": [{"name": "Bern"}', City),
    ('{"city": {"name": "Bern"}, name: oops}', City),
    ('["see [1] and', list[int]),
    ('[{"name": "Bern"}, oops, {"name": "Basel"}]', City),
    ('{"name": NaN}', dict[str, float]),
    ("NaN", float),
    ("[" * 100_000, list[int]),
    ('{"a":' * 100_000, City),
    ("maybe", Literal["yes", "no"]),
    ('{"b": 1}', {"type": "object", "required": ["a"]}),
]


@pytest.mark.parametrize(("text", "wanted"), WRONG)
async def test_what_does_not_match_is_an_invalid_argument_with_the_text(text: str, wanted: Any) -> None:
    response, _ = await ask(text, output_schema=wanted)
    with pytest.raises(GenkitError) as caught:
        _ = response.output
    assert caught.value.status == "INVALID_ARGUMENT"
    assert caught.value.details["text"] == text
    assert response.text == text


async def test_a_cut_off_answer_says_what_to_raise() -> None:
    cut = ModelResponse(message=Message.model('{"name": "Be'), finish_reason="length")
    response, _ = await ask(cut, output_schema=City)
    with pytest.raises(GenkitError, match="max_output_tokens"):
        _ = response.output


async def test_a_type_without_a_schema_is_refused() -> None:
    class Opaque:
        pass

    with pytest.raises(GenkitError) as caught:
        await ask("{}", output_schema=Opaque)
    assert caught.value.status == "INVALID_ARGUMENT"
    assert "output_schema" in caught.value.message


@pytest.mark.parametrize("unit", ["{", "[", "[{", '{"a" ', "[1 ", "```\n", "```json\n{\n", '"', "{}"])
def test_a_long_hostile_answer_is_refused(unit: str) -> None:
    with pytest.raises(GenkitError):
        parse_output(unit * (1_000_000 // len(unit)), City)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
prose = st.text(st.characters(exclude_characters='{}[]`"'), max_size=30)


@given(st.dictionaries(st.text(), json_values, max_size=4), prose, prose)
def test_an_object_between_words_is_found_whole(value: dict[str, Any], before: str, after: str) -> None:
    assert parse_output(before + json.dumps(value) + after, {"type": "object"}) == value


@given(st.text(st.sampled_from('{}[]",:1a `\n\\')))
def test_any_text_gives_a_value_or_an_invalid_argument(text: str) -> None:
    failed: GenkitError | None = None
    try:
        assert isinstance(parse_output(text, City), City)
    except GenkitError as error:
        failed = error
    assert failed is None or (failed.status, failed.details["text"]) == ("INVALID_ARGUMENT", text)


@given(st.dictionaries(st.text(max_size=5), json_values, min_size=1, max_size=3), st.data())
def test_no_part_of_a_cut_off_object_is_taken_for_the_whole(value: dict[str, Any], data: Any) -> None:
    text = json.dumps({"outer": value})
    cut = text[: data.draw(st.integers(1, len(text) - 1))]
    with pytest.raises(GenkitError):
        parse_output(cut, {"type": "object"})
