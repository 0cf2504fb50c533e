"""Trees, comparisons and documents of traces from anywhere."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genkit_rag._server.dev_ui import formats
from genkit_rag._server.dev_ui.samples import form_schema, sample_input
from genkit_rag._server.dev_ui.trace_view.compare import compare, diff
from genkit_rag._server.dev_ui.trace_view.documents import highlighted, query_words
from genkit_rag._server.dev_ui.trace_view.tree import make_tree
from tests.server.dev_ui import BASE, action, span

parents = st.lists(st.none() | st.integers(0, 30), min_size=1, max_size=30)


@given(parents, st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)), min_size=30, max_size=30))
def test_every_span_has_one_row_whatever_its_parent_is(
    given_parents: list[int | None], times: list[tuple[float, float]]
) -> None:
    spans = [
        span(number, parent, start=1 + start, end=1 + start + length if number % 5 else 0)
        for number, (parent, (start, length)) in enumerate(zip(given_parents, times, strict=False))
    ]
    tree = make_tree(spans, BASE + 5e6)
    assert sorted(tree.span_ids) == sorted(one.span_id for one in spans)
    assert tree.rows[0].depth == 0
    for before, after in zip(tree.rows, tree.rows[1:], strict=False):
        assert after.depth <= before.depth + 1
        assert before.parent or after.depth <= before.depth
    for row in tree.rows:
        assert 0 <= row.left <= 100
        assert 0 <= row.left + row.width <= 100.0001


def test_children_follow_their_parent_in_the_order_of_their_start() -> None:
    tree = make_tree([span(3, 1, start=30), span(1, start=10), span(2, 1, start=20), span(4, 2, start=25)], 0)
    assert [int(one, 16) for one in tree.span_ids] == [1, 2, 4, 3]
    assert [row.depth for row in tree.rows] == [0, 1, 2, 1]


def test_a_chain_of_ten_thousand_spans_is_a_tree() -> None:
    spans = [span(number, number - 1 if number else None, start=1.0 + number) for number in range(10_000)]
    assert make_tree(spans, 0).rows[-1].depth == 9_999


@given(parents)
def test_a_trace_compared_with_itself_is_the_same(given_parents: list[int | None]) -> None:
    spans = [
        span(n, parent, attributes=action("flow", f"n{n % 3}", output={"n": n}))
        for n, parent in enumerate(given_parents)
    ]
    side = make_tree(spans, BASE + 5e6), spans
    found = compare(side, side)
    assert found.changed == 0
    assert len(found.pairs) == len(spans)


def test_spans_of_one_side_only_stand_alone() -> None:
    left = [span(1), span(2, 1, name="a"), span(3, 1, name="b")]
    right = [span(1), span(3, 1, name="b")]
    found = compare((make_tree(left, 0), left), (make_tree(right, 0), right))
    assert [pair.verdict for pair in found.pairs] == ["same", "only left", "same"]


@given(st.recursive(st.none() | st.text() | st.integers(), lambda inner: st.dictionaries(st.text(), inner)), st.text())
def test_a_difference_is_empty_only_for_equal_values(left: Any, right: str) -> None:
    assert (diff(left, right) == []) == (left == right)
    assert diff(left, left) == []


@given(st.text(), st.text())
def test_highlighting_keeps_the_text(text: str, query: str) -> None:
    assert "".join(piece for piece, _ in highlighted(text, query_words(query))) == text


def test_words_of_the_query_are_marked_and_stop_words_are_not() -> None:
    pieces = highlighted(
        "The tokens: revoked, and a TOKEN. Tokenizers too.", query_words("How are the tokens revoked?")
    )
    assert [text for text, hit in pieces if hit] == ["tokens", "revoked", "TOKEN", "Tokenizers"]


SCHEMAS: list[tuple[Any, Any]] = [
    (None, None),
    ({}, None),
    ({"type": "string", "default": "x"}, "x"),
    (
        {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "string"}, "c": {"default": 2}},
            "required": ["a"],
        },
        {"a": 0, "c": 2},
    ),
    ({"$ref": "#/$defs/A", "$defs": {"A": {"enum": ["one", "two"]}}}, "one"),
    (
        {
            "$ref": "#/$defs/A",
            "$defs": {"A": {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "required": ["a"]}},
        },
        {},
    ),
    ({"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}}, None),
    ({"anyOf": [{"type": "array"}, {"type": "null"}]}, []),
    ({"type": ["boolean", "null"]}, False),
]


@pytest.mark.parametrize(("schema", "sample"), SCHEMAS)
def test_a_sample_follows_the_schema(schema: Any, sample: Any) -> None:
    found = sample_input("flow", schema)
    if schema and schema.get("$defs", {}).get("A", {}).get("type") == "object":
        assert isinstance(found, dict)  # as deep as the bound, no deeper
    else:
        assert found == sample


def test_options_of_the_metadata_become_part_of_the_form() -> None:
    facts = {
        "inputSchema": {"type": "object", "properties": {"query": {}, "options": {}}, "$defs": {"A": {}}},
        "metadata": {"retriever": {"customOptions": {"type": "object", "properties": {"k": {}}, "$defs": {"B": {}}}}},
    }
    schema = form_schema("retriever", facts)
    assert schema is not None
    assert schema["properties"]["options"] == {"type": "object", "properties": {"k": {}}}
    assert set(schema["$defs"]) == {"A", "B"}
    assert form_schema("flow", {"inputSchema": None}) is None


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [
        (None, "—"),
        (0.4, "0.4 ms"),
        (9.999, "10 ms"),
        (12.4, "12 ms"),
        (1240, "1.24 s"),
        (125_000, "2 m 05 s"),
        (119_999, "2 m 00 s"),
    ],
)
def test_durations_are_short(milliseconds: float | None, shown: str) -> None:
    assert formats.duration(milliseconds) == shown


def test_long_values_are_cut_and_odd_times_are_told() -> None:
    assert len(formats.pretty("x" * 1_000_000)) < 201_000
    assert formats.moment(1e300) == "—"
    assert formats.number(1234567) == "1\u2009234\u2009567"
