"""The formats through their one door, `output_of`: what goes to the model, and what becomes of its answer."""

import enum
import json
from itertools import chain
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from genkit_rag._ai.definitions import Definitions
from genkit_rag._core.errors import GenkitError
from genkit_rag._core.registry import Registry
from genkit_rag._documents.part import Message
from genkit_rag._generation.formats import Format, Wanted, find_format
from genkit_rag._generation.generate import GenerateOptions
from genkit_rag._generation.generate.output import Output, output_of, validation_feedback
from genkit_rag._generation.model import ModelRequest
from genkit_rag.testing._scripted_model import ScriptedModel


class Item(BaseModel):
    name: str
    amount: int = 1


class Crate(BaseModel):
    bottles: int


class Color(enum.Enum):
    RED = "red"
    BLUE = "dark blue"


class Size(enum.IntEnum):
    SMALL = 1


def output(format: str | None = None, schema: Any = None, registry: Registry | None = None, **more: Any) -> Output:
    options = GenerateOptions(output_format=format, output_schema=schema, **more)
    made = output_of(registry or Registry(), options)
    assert made is not None
    return made


def fitted(made: Output, can: str | None = None) -> ModelRequest:
    model = ScriptedModel("test/model", [], supports={"constrained": can}).action
    return made.fit(model, ModelRequest(messages=[Message.user("hi")], output=made.config))


def words(request: ModelRequest) -> str | None:
    part = request.messages[-1].content[-1]
    return part.text if (part.metadata or {}).get("purpose") == "output" else None


def streamed(made: Output, *chunks: str) -> list[Any]:
    found, text = [], ""
    for chunk in chunks:
        found.append(made.parse_chunk(text + chunk, text))
        text += chunk
    return found


def problem_of(made: Output, text: str) -> GenkitError:
    with pytest.raises(GenkitError) as caught:
        made.parse(text)
    assert (caught.value.status, caught.value.details["text"]) == ("INVALID_ARGUMENT", text)
    return caught.value


ITEMS = {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}}
COLORS = {"type": "string", "enum": ["red", "dark blue"]}


# -- what goes to the model


@pytest.mark.parametrize(
    ("format", "schema", "content_type", "constrained"),
    [
        ("json", None, "application/json", True),
        ("json", ITEMS, "application/json", True),
        ("array", ITEMS, "application/json", True),
        ("jsonl", ITEMS, "application/jsonl", None),
        ("enum", COLORS, "text/enum", True),
        ("text", None, "text/plain", None),
    ],
)
def test_the_config_says_format_content_type_schema_and_constraint(
    format: str, schema: Any, content_type: str, constrained: bool | None
) -> None:
    config = output(format, schema).config
    assert (config.format, config.content_type, config.constrained) == (format, content_type, constrained)
    assert config.schema_ == schema


def test_nothing_is_asked_for_when_no_option_says_so() -> None:
    assert output_of(Registry(), GenerateOptions(output_constrained=True)) is None


def test_a_schema_alone_means_json() -> None:
    assert output(schema=Item).config.format == "json"


@pytest.mark.parametrize(("content_type", "format"), [("application/jsonl", "jsonl"), ("text/markdown", "text")])
def test_a_content_type_alone_means_the_format_that_has_it_else_text(content_type: str, format: str) -> None:
    config = output(output_content_type=content_type).config
    assert (config.format, config.content_type) == (format, content_type)


def test_a_content_type_of_ones_own_goes_to_the_model() -> None:
    assert output("json", output_content_type="application/ld+json").config.content_type == "application/ld+json"


@pytest.mark.parametrize(
    ("format", "schema"),
    [
        ("array", Item),
        ("array", {"type": "string"}),
        ("array", list[int] | None),
        ("array", {}),
        ("jsonl", Item),
        ("jsonl", list[int]),
        ("jsonl", {"type": "array"}),
        ("jsonl", list[Item | int]),
        ("enum", list[str]),
        ("enum", {"type": "number"}),
        ("enum", Size),
        ("enum", Literal["a", 1]),
        ("enum", {"type": "string", "enum": ["a", 1]}),
        ("text", Item),
    ],
)
def test_a_schema_that_the_format_cannot_hold_is_refused(format: str, schema: Any) -> None:
    with pytest.raises(GenkitError) as caught:
        output(format, schema)
    assert (caught.value.status, caught.value.hint is not None) == ("INVALID_ARGUMENT", True)


@pytest.mark.parametrize(
    ("format", "schema"),
    [
        ("array", None),
        ("array", list),
        ("array", tuple[int, ...]),
        ("jsonl", None),
        ("jsonl", list[Item]),
        ("jsonl", list[Item | Crate]),
        ("jsonl", list[dict[str, int]]),
        ("jsonl", ITEMS),
        ("enum", None),
        ("enum", str),
        ("enum", Color),
        ("enum", Literal["a"]),
        ("enum", {"enum": ["a", "b"]}),
        ("enum", {"type": "enum", "enum": ["a"]}),
        ("enum", {"$ref": "#/$defs/C", "$defs": {"C": COLORS}}),
    ],
)
def test_a_schema_that_the_format_can_hold_is_taken(format: str, schema: Any) -> None:
    assert output(format, schema).config.format == format


@pytest.mark.parametrize("schema", [{"type": "foo"}, {"$ref": "#/nowhere"}, {"$ref": "#"}, {"type": ["foo"]}])
def test_a_schema_that_is_none_makes_an_invalid_argument_and_no_streaming_fail(schema: Any) -> None:
    made = output("json", schema)
    assert "output_schema" in problem_of(made, '{"a": 1}').message
    assert streamed(made, '{"a"', ": 1}") is not None


@pytest.mark.parametrize("format", ["json", "array", "enum"])
def test_a_model_that_cannot_be_held_to_the_schema_gets_words_instead(format: str) -> None:
    schema = {"json": ITEMS, "array": ITEMS, "enum": COLORS}[format]
    request = fitted(output(format, schema), "none")
    assert request.output is None
    assert words(request) is not None


@pytest.mark.parametrize(("format", "schema"), [("json", ITEMS), ("array", ITEMS), ("enum", COLORS)])
def test_a_model_that_can_be_held_to_the_schema_is_and_only_json_goes_without_words(format: str, schema: Any) -> None:
    request = fitted(output(format, schema), "all")
    assert request.output is not None
    assert (request.output.constrained, request.output.schema_) == (True, schema)
    assert (words(request) is None) == (format == "json")


@pytest.mark.parametrize("can", ["all", "none"])
def test_json_lines_are_asked_for_in_words_of_every_model(can: str) -> None:
    request = fitted(output("jsonl", ITEMS), can)
    assert request.output is not None
    assert (request.output.format, request.output.constrained) == ("jsonl", None)
    said = words(request) or ""
    assert json.dumps(ITEMS["items"]) in said
    assert json.dumps(ITEMS) not in said


def test_the_words_for_an_enum_list_its_values() -> None:
    assert (words(fitted(output("enum", Color))) or "").splitlines()[-2:] == ["red", "dark blue"]


def test_the_words_for_json_lines_bring_the_definitions_along() -> None:
    class Outer(BaseModel):
        inner: Item

    said = words(fitted(output("jsonl", list[Outer]))) or ""
    assert set(json.loads(said[said.index("{") :])["$defs"]) == {"Item", "Outer"}


@pytest.mark.parametrize("format", ["json", "array", "jsonl"])
def test_formats_without_a_schema_are_asked_for_in_words_as_well(format: str) -> None:
    assert "JSON" in (words(fitted(output(format))) or "")


@pytest.mark.parametrize("format", ["text", "enum"])
def test_where_there_is_nothing_to_say_there_are_no_words(format: str) -> None:
    assert words(fitted(output(format))) is None


@pytest.mark.parametrize("can", ["all", "none"])
def test_instructions_can_be_forced_replaced_and_left_out(can: str) -> None:
    assert "JSON Schema" in (words(fitted(output("json", ITEMS, output_instructions=True), can)) or "")
    assert words(fitted(output("json", ITEMS, output_instructions="As JSON."), can)) == "As JSON."
    assert words(fitted(output("array", ITEMS, output_instructions=False), can)) is None
    assert words(fitted(output("text", output_instructions="In verse."), can)) == "In verse."


def test_instructions_of_another_type_are_refused() -> None:
    with pytest.raises(GenkitError, match="output_instructions"):
        output("json", output_instructions=3)


# -- json


def test_json_is_typed_by_its_schema_and_plain_without() -> None:
    assert output(schema=Item).parse('Here: {"name": "a"}.') == Item(name="a")
    assert output("json", {"type": "object"}).parse('{"name": "a"}') == {"name": "a"}
    assert output("json").parse("```json\n[1, 2]\n```") == [1, 2]


def test_json_grows_while_it_is_streamed() -> None:
    chunks = ('{"na', 'me": "Be', 'rn", "amount"', ": 12", "3}", " Done.")
    assert streamed(output(schema=Item), *chunks) == [
        {},
        {"name": "Be"},
        {"name": "Bern"},
        {"name": "Bern", "amount": 12},
        {"name": "Bern", "amount": 123},
        {"name": "Bern", "amount": 123},
    ]


def test_json_that_is_streamed_is_found_behind_words_and_fences() -> None:
    chunks = ("As [1] says", " of {x}:\n", "```json\n", '{"name": ', '"a"', "}\n```")
    assert streamed(output(schema=Item), *chunks) == [None, None, None, {}, {"name": "a"}, {"name": "a"}]


def test_a_streamed_draft_that_does_not_match_makes_way_for_what_is_written_next() -> None:
    chunks = ('{"draft": 1}', " or ", '{"name": "a', '"}')
    assert streamed(output(schema=Item), *chunks) == [{"draft": 1}, {"draft": 1}, {"name": "a"}, {"name": "a"}]


def test_what_is_streamed_of_a_broken_value_is_nothing_and_no_part_of_it() -> None:
    made = output(schema={"type": "object"})
    assert streamed(made, '{"city": {"name": "a"}', ", oops") == [{"city": {"name": "a"}}, None]
    assert streamed(output(schema={"type": "array"}), '{"list": [1, 2') == [None]


def test_scalars_are_streamed_too() -> None:
    assert streamed(output("json"), "tr", "ue") == [None, True]
    assert streamed(output("json"), '"a [1', '] b"') == ["a [1", "a [1] b"]
    assert streamed(output(schema=str), " ", "just", " words") == [None, "just", "just words"]
    assert streamed(output("json"), "1", "2", ". is no JSON") == [1, 12, None]


# -- array


def test_an_array_becomes_a_list_of_the_items_type() -> None:
    made = output("array", list[Item])
    assert made.parse('As [1] says: [{"name": "a"}, {"name": "b", "amount": 2}]') == [
        Item(name="a"),
        Item(name="b", amount=2),
    ]
    assert output("array", list[int]).parse("```\n[1, 0, 2]\n```") == [1, 0, 2]
    assert output("array").parse("[null, false, [1]]") == [None, False, [1]]
    assert output("array", ITEMS).parse("[]") == []


@pytest.mark.parametrize("text", ["", "none", '{"name": "a"}', '[{"name": "a"}', '[{"amount": 1}]'])
def test_what_is_no_array_of_such_items_is_refused(text: str) -> None:
    problem_of(output("array", list[Item]), text)


def test_items_come_with_the_chunk_that_completes_them() -> None:
    chunks = ("[", '{"name": "a"', "}", ', {"name": "b"}, {"na', 'me": "c"}', "]")
    assert streamed(output("array", list[Item]), *chunks) == [
        [],
        [],
        [{"name": "a"}],
        [{"name": "b"}],
        [{"name": "c"}],
        [],
    ]


def test_scalar_items_come_when_nothing_can_be_added_to_them() -> None:
    chunks = ("[1", "2", ", 0,", " 3.", "5 ", "]")
    assert streamed(output("array", list[float]), *chunks) == [[], [], [12, 0], [], [], [3.5]]
    assert streamed(output("array"), '["a', '"', ", null", ", fal", "se]") == [[], ["a"], [None], [], [False]]


def test_items_hold_brackets_quotes_and_other_arrays() -> None:
    text = '[{"a": "x ] } \\" ["}, {"b": [1, {"c": []}]}]'
    assert list(chain.from_iterable(streamed(output("array"), *text))) == json.loads(text)


def test_items_are_found_behind_words_and_other_values() -> None:
    text = 'As [1] and {"x": [7]} and [see {below}] say:\n```json\n[{"name": "a"}]\n```'
    assert list(chain.from_iterable(streamed(output("array", list[Item]), *text))) == [{"name": "a"}]


def test_items_end_where_an_array_is_broken() -> None:
    assert streamed(output("array"), '[{"a": 1}, oops, {"b"', ": 2}]") == [[{"a": 1}], []]


# -- jsonl


def test_lines_become_a_list_of_the_items_type() -> None:
    text = 'Sure:\n```jsonl\n{"name": "a"}\n\n  {"name": "b"}  \n```'
    assert output("jsonl", list[Item]).parse(text) == [Item(name="a"), Item(name="b")]


def test_an_object_over_several_lines_and_two_objects_in_one_are_read() -> None:
    made = output("jsonl")
    assert made.parse('{\n  "a":\n  {"b": 1}\n}\n{"c": 2}, {"d": 3}\n') == [{"a": {"b": 1}}, {"c": 2}, {"d": 3}]


def test_lines_that_begin_with_something_else_are_passed_over() -> None:
    assert output("jsonl").parse('- {"x": 1}\n[1]\n{"a": 1}\n"b"\n') == [{"a": 1}]


def test_no_line_is_an_empty_list_and_words_alone_are_none() -> None:
    assert output("jsonl", list[Item]).parse(" \n") == []
    problem_of(output("jsonl", list[Item]), "I cannot say.")


@pytest.mark.parametrize("text", ['{"name": "a"}\n{"name": "b', '{"name": "a"\n{"name": "b"}', '{"name": NaN}'])
def test_a_broken_line_spoils_the_answer(text: str) -> None:
    assert "malformed" in problem_of(output("jsonl", list[Item]), text).message


def test_a_line_that_does_not_match_is_named() -> None:
    error = problem_of(output("jsonl", list[Item]), '{"name": "a"}\n{"name": 5}')
    assert error.details["problems"][0]["path"] == "$[1].name"


def test_objects_come_with_the_chunk_that_completes_them_and_once() -> None:
    chunks = ('{"a": 1}', "\n", '{"b"', ': 2}\n{"c": 3', "}")
    assert streamed(output("jsonl"), *chunks) == [[{"a": 1}], [], [], [{"b": 2}], [{"c": 3}]]


def test_a_chunk_with_the_next_whole_object_does_not_bring_the_one_before_it_again() -> None:
    assert streamed(output("jsonl"), '{"a": 1}', '\n{"b": 2}', ' {"c": 3}') == [[{"a": 1}], [{"b": 2}], [{"c": 3}]]
    assert streamed(output("array"), '[{"a": 1}', ', {"b": 2}', "]") == [[{"a": 1}], [{"b": 2}], []]


def test_a_broken_line_does_not_hold_up_those_that_follow() -> None:
    assert streamed(output("jsonl"), '{"a": oops}\n', '{"b": 2}\n', "words\n", '{"c": 3}') == [
        [],
        [{"b": 2}],
        [],
        [{"c": 3}],
    ]


# -- enum


@pytest.mark.parametrize(
    "text", ["dark blue", ' "dark blue"\n', "'dark blue'", "```\ndark blue\n```", '"dark\\u0020blue"']
)
def test_one_of_the_values_is_read_without_quotes_and_space(text: str) -> None:
    assert output("enum", COLORS).parse(text) == "dark blue"
    assert output("enum", Color).parse(text) is Color.BLUE
    assert output("enum", Literal["red", "dark blue"]).parse(text) == "dark blue"
    assert output("enum", {"type": "enum", "enum": ["red", "dark blue"]}).parse(text) == "dark blue"
    assert output("enum").parse(text) == "dark blue"


@pytest.mark.parametrize("text", ["", "green", "red or dark blue", "Red", "RED", '["red"]'])
def test_what_is_none_of_the_values_is_refused(text: str) -> None:
    for schema in (COLORS, Color, Literal["red", "dark blue"], {"$ref": "#/$defs/C", "$defs": {"C": COLORS}}):
        assert "`red`, `dark blue`" in problem_of(output("enum", schema), text).message


def test_a_value_with_quotes_of_its_own_keeps_them() -> None:
    assert output("enum", Literal["'s", "s"]).parse("'s") == "'s"


def test_an_enum_grows_while_it_is_streamed() -> None:
    assert streamed(output("enum", Color), ' "', "dark", ' blue"') == [None, "dark", "dark blue"]


# -- text


def test_text_is_the_text_and_a_chunk_is_the_chunk() -> None:
    assert output("text").parse(' {"a": 1}\n') == ' {"a": 1}\n'
    assert streamed(output("text"), "a", "", " b") == ["a", "", " b"]


# -- formats of one's own


class Csv(Format):
    name = "csv"
    content_type = "text/csv"

    def instructions(self, schema: Any, /) -> str:
        return "Answer with comma-separated values."

    def parse(self, text: str, wanted: Wanted, /) -> Any:
        rows = [line.split(",") for line in text.splitlines()]
        if len({len(row) for row in rows}) > 1:
            raise ValueError("rows differ in length")
        return wanted.check(rows)


class App(Definitions):
    def __init__(self) -> None:
        self.registry = Registry()


def test_a_format_of_ones_own_is_found_by_its_name_in_children_too() -> None:
    app = App()
    fmt = app.define_format(Csv())
    assert find_format(app.registry.child().child(), "csv") is fmt
    made = output("csv", list[list[int]], app.registry.child())
    assert made.config.to_wire()["contentType"] == "text/csv"
    request = fitted(made, "all")
    assert (words(request), request.output) == ("Answer with comma-separated values.", made.config)
    assert made.parse("1,2\n3,4") == [[1, 2], [3, 4]]
    assert made.parse_chunk("1,", "1") is None
    assert made.config.constrained is None


def test_a_constrained_format_of_ones_own_is_simulated_where_the_model_cannot() -> None:
    class Holding(Csv):
        constrained = True
        default_instructions = False

    app = App()
    app.define_format(Holding())
    made = output("csv", ITEMS, app.registry)
    assert (fitted(made, "none").output, words(fitted(made, "none"))) == (None, "Answer with comma-separated values.")
    assert (fitted(made, "all").output, words(fitted(made, "all"))) == (made.config, None)


def test_a_value_error_and_a_mismatch_of_ones_own_format_are_invalid_arguments() -> None:
    app = App()
    app.define_format(Csv())
    made = output("csv", list[list[int]], app.registry)
    error = problem_of(made, "1,2\n3")
    assert "`csv`: rows differ in length" in error.message
    assert isinstance(error.__cause__, ValueError)
    assert problem_of(made, "a").details["problems"][0]["path"] == "$[0][0]"


def test_an_unknown_format_is_refused_with_the_names_there_are() -> None:
    app = App()
    app.define_format(Csv())
    with pytest.raises(GenkitError) as caught:
        output("cvs", registry=app.registry.child())
    assert caught.value.status == "INVALID_ARGUMENT"
    assert caught.value.hint == "Did you mean `csv`? Registered formats: array, csv, enum, json, jsonl, text."


def test_a_name_is_given_once_and_built_in_ones_are_taken() -> None:
    class MyJson(Csv):
        name = "json"

    app = App()
    app.define_format(Csv())
    for fmt in (Csv(), MyJson()):
        with pytest.raises(GenkitError) as caught:
            app.define_format(fmt)
        assert caught.value.status == "ALREADY_EXISTS"


def test_what_is_no_format_object_is_refused() -> None:
    class Nameless(Format):
        def parse(self, text: str, wanted: Wanted, /) -> Any:
            return text

    wrong: Any
    for wrong in (Csv, "csv", Nameless()):
        with pytest.raises(GenkitError) as caught:
            App().define_format(wrong)
        assert caught.value.status == "INVALID_ARGUMENT"


# -- what a model is told of its answer


def test_feedback_names_the_paths_and_does_not_repeat_the_answer() -> None:
    made = output("array", list[Item])
    text = '[{"name": "secret-name", "amount": "many"}, {"amount": 2}]'
    told = validation_feedback(problem_of(made, text), made)
    assert "$[0].amount: " in told
    assert "$[1].name: Field required" in told
    assert "secret-name" not in told


def test_feedback_stays_short_whatever_the_answer_holds() -> None:
    plain = output(schema={"type": "object", "properties": {"a": {"type": "integer"}}})
    told = validation_feedback(problem_of(plain, json.dumps({"a": "x" * 100_000})), plain)
    assert len(told) < 500
    assert "is not of type 'integer'" in told
    many = output(schema=list[int])
    told = validation_feedback(problem_of(many, json.dumps(["x"] * 100)), many)
    assert len(told.splitlines()) < 10
    assert "and 95 more" in told


@pytest.mark.parametrize(
    ("format", "schema", "text", "said"),
    [
        ("json", Item, "words", "contains no valid JSON"),
        ("json", Item, '{"name": "a', "character 0 is malformed or incomplete"),
        ("jsonl", None, '{"a": 1}\n{"b', "Line 2"),
        ("enum", Color, "green", "must be one of `red`, `dark blue`"),
    ],
)
def test_feedback_says_what_was_wrong_with_an_answer_that_could_not_be_read(
    format: str, schema: Any, text: str, said: str
) -> None:
    made = output(format, schema)
    assert said in validation_feedback(problem_of(made, text), made)
