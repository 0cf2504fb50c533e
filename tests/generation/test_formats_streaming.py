"""Reading an answer while it comes: any value, any split, any text."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genkit_rag._core.registry import Registry
from genkit_rag._generation.formats.json_extraction import MAX_BROKEN, Lines, Outermost, array_items, decode
from genkit_rag._generation.generate import GenerateOptions
from genkit_rag._generation.generate.output import Output, output_of


def output(format: str, schema: Any = None) -> Output:
    made = output_of(Registry(), GenerateOptions(output_format=format, output_schema=schema))
    assert made is not None
    return made


JSON, ARRAY, LINES, ENUM, TEXT = (output(name) for name in ("json", "array", "jsonl", "enum", "text"))
OBJECT = output("json", {"type": "object"})
OBJECTS = output("array", {"type": "array", "items": {"type": "object"}})

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)
objects = st.dictionaries(st.text(max_size=5), values, max_size=3)
layouts = st.sampled_from([{}, {"indent": 2}, {"ensure_ascii": False}, {"separators": (",", ":")}])
prose = st.text(st.characters(exclude_characters='{}[]`"', exclude_categories=["Cs"]), max_size=30)
hostile = st.text(st.sampled_from('{}[]",:1-.eanult `\n\\'), max_size=60)


def same(one: Any, other: Any) -> bool:
    """Compares as JSON does: 1, 1.0 and true are three values."""
    return json.dumps(one) == json.dumps(other)


def pieces(draw: Any, text: str) -> list[str]:
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=8)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def streamed(made: Output, chunks: list[str]) -> list[Any]:
    found, text = [], ""
    for chunk in chunks:
        found += made.parse_chunk(text + chunk, text)
        text += chunk
    return found


@given(values, layouts)
def test_every_beginning_of_a_json_value_is_read_and_the_whole_is_the_value(value: Any, layout: Any) -> None:
    text = json.dumps(value, **layout)
    for end in range(len(text)):
        begun = JSON.parse_chunk(text[:end], "")
        # What has been seen of a container stays a container, and grows into the whole.
        if isinstance(value, dict | list) and end:
            assert type(begun) is type(value)
            assert len(begun) <= len(value)
    assert same(JSON.parse_chunk(text, ""), value)
    assert same(JSON.parse(text), value)


@given(objects, prose, prose, st.data())
def test_an_object_behind_words_is_read_as_it_comes(value: Any, before: str, after: str, data: Any) -> None:
    text = json.dumps(value)
    end = data.draw(st.integers(1, len(text)))
    begun = OBJECT.parse_chunk(before + text[:end], "")
    assert same(begun, JSON.parse_chunk(text[:end], ""))
    assert same(OBJECT.parse_chunk(before + text + after, ""), value)


@given(st.lists(values, max_size=5), layouts, prose, prose, st.data())
def test_every_item_of_an_array_comes_once_and_in_order_however_it_is_split(
    items: list[Any], layout: Any, before: str, after: str, data: Any
) -> None:
    text = before + json.dumps(items, **layout) + after
    assert same(streamed(ARRAY, pieces(data.draw, text)), items)
    assert same(streamed(ARRAY, list(text)), items)
    assert same(ARRAY.parse(text), items)


@given(st.lists(objects, min_size=1, max_size=4), st.data())
def test_other_brackets_before_an_array_of_objects_do_not_matter(items: list[Any], data: Any) -> None:
    text = 'As [1], ["two"] and {"x": [{"y": 1}]} say, [see {below}]:\n```json\n' + json.dumps(items) + "\n```"
    assert same(streamed(OBJECTS, pieces(data.draw, text)), items)


@given(st.lists(objects, max_size=5), layouts, st.sampled_from(["\n", "\r\n", "\n\n", ",\n", " "]), st.data())
def test_every_line_comes_once_and_in_order_however_it_is_split(
    items: list[Any], layout: Any, end: str, data: Any
) -> None:
    text = "".join(json.dumps(item, **layout) + end for item in items)
    if data.draw(st.booleans()):
        text = text.rstrip()
    assert same(streamed(LINES, pieces(data.draw, text)), items)
    assert same(streamed(LINES, list(text)), items)
    assert same(LINES.parse(text), items)


@given(hostile | st.text(), st.data())
def test_no_text_and_no_split_of_it_makes_streaming_fail(text: str, data: Any) -> None:
    chunks = pieces(data.draw, text)
    assert "".join(streamed(TEXT, chunks)) == text
    assert streamed(ARRAY, chunks) is not None
    assert streamed(LINES, chunks) is not None
    for made in (JSON, OBJECT, output("json", str), ENUM):
        for end in range(len(text) + 1):
            made.parse_chunk(text[:end], "")


@given(hostile)
def test_lines_that_were_streamed_are_those_of_the_whole_text(text: str) -> None:
    assert same(streamed(LINES, list(text)), LINES.parse_chunk(text, ""))


@pytest.mark.parametrize(
    "unit", ["{", "[", "[{", '{"a" ', '{"a":', "[1 ", "[1,", "```\n", '"', "{}", '[{"a": 1}, ', "[]"]
)
def test_a_long_hostile_answer_is_read_in_a_bounded_number_of_steps(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def counted(text: str, start: int) -> tuple[Any, int]:
        try:
            value, end = decode(text, start)
        except json.JSONDecodeError as error:
            tried.append(error.pos - start)
            raise
        tried.append(end - start)
        return value, end

    monkeypatch.setattr("genkit_rag._generation.formats.json_extraction.decode", counted)
    size = 100_000
    text = unit * (size // len(unit))
    found: list[Any] = [list(Outermost(text)), list(Lines(text)), list(array_items(text, lambda _: True))]
    assert len(found) == 3
    # Each of the three reads the text twice at most, whatever it holds.
    assert sum(tried) <= 6 * size + 3 * MAX_BROKEN
    for made in (JSON, OBJECT, ARRAY, LINES, ENUM):
        made.parse_chunk(text, "")


def test_what_the_two_parsers_take_differently_is_nothing_and_no_error() -> None:
    assert JSON.parse_chunk('{"a": "\\ud800', "") == {"a": ""}
    assert JSON.parse_chunk("[" * 1000, "") is None
    assert JSON.parse_chunk('{"a": NaN', "") is None
    assert JSON.parse_chunk("1" * 5000, "") is None
    assert JSON.parse_chunk('{"a": ' + "1" * 5000, "") is None
