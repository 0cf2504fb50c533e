"""The filter language: its parser, its limits, and the oracle against a second, naive reading of the rules."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genkit_rag.plugin_api import And, Compare, GenkitError, Not, Or, get_field, matches, parse_filter

# -- a second reading of the semantics, written from the documentation and over raw filters

KINDS: list[tuple[str, Any]] = [("null", type(None)), ("bool", bool), ("number", (int, float)), ("string", str)]


def kind(value: Any) -> str:
    return next((name for name, types in KINDS if isinstance(value, types)), "other")


def equal(a: Any, b: Any) -> bool:
    return kind(a) == kind(b) and a == b


def naive(raw: dict[str, Any], metadata: dict[str, Any]) -> bool:
    for key, value in raw.items():
        if key == "$and":
            passed = all([naive(item, metadata) for item in value])
        elif key == "$or":
            passed = any([naive(item, metadata) for item in value])
        elif key == "$not":
            passed = not naive(value, metadata)
        else:
            passed = naive_field(key, value, metadata)
        if not passed:
            return False
    return True


def naive_field(field: str, condition: Any, metadata: dict[str, Any]) -> bool:
    if not isinstance(condition, dict):
        condition = {"$eq": condition}
    there, found = naive_value(field, metadata)
    return all(
        not naive_field(field, wanted, metadata) if op == "$not" else naive_operator(op, wanted, there, found)
        for op, wanted in condition.items()
    )


def naive_value(field: str, metadata: Any) -> tuple[bool, Any]:
    if field in metadata:
        return True, metadata[field]
    for step in field.split("."):
        if not isinstance(metadata, dict) or step not in metadata:
            return False, None
        metadata = metadata[step]
    return True, metadata


ORDERS: dict[str, Any] = {
    "$gt": lambda a, b: a > b,
    "$gte": lambda a, b: a >= b,
    "$lt": lambda a, b: a < b,
    "$lte": lambda a, b: a <= b,
}


def naive_operator(op: str, wanted: Any, there: bool, found: Any) -> bool:
    elements = [] if not there else found if isinstance(found, list) else [found]
    if op in ORDERS:
        return any(kind(e) == kind(wanted) and ORDERS[op](e, wanted) for e in elements)
    if op == "$contains" and isinstance(found, str):
        return isinstance(wanted, str) and found.find(wanted) >= 0
    if op == "$contains" and not isinstance(found, list):
        return False
    if op == "$exists":
        return there is wanted
    among = any(equal(e, w) for e in elements for w in (wanted if op in ("$in", "$nin") else [wanted]))
    return not among if op in ("$ne", "$nin") else among


# -- generators: few names and values, so that things meet

fields = st.sampled_from(["a", "b", "a.b", "a.b.c", "missing"])
scalars = st.sampled_from([None, True, False, 0, 1, 1.0, 2, -3.5, 2**53 + 1, "", "1", "a", "ab", "é"])
ordered = scalars.filter(lambda value: value is not None and not isinstance(value, bool))
many = st.lists(scalars, max_size=3)
operator = st.one_of(
    st.tuples(st.sampled_from(["$eq", "$ne", "$contains"]), scalars),
    st.tuples(st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), ordered),
    st.tuples(st.sampled_from(["$in", "$nin"]), many),
    st.tuples(st.just("$exists"), st.booleans()),
)
operators = st.lists(operator, min_size=1, max_size=2).map(dict)
conditions = st.recursive(operators, lambda inner: inner.map(lambda one: {"$not": one}), max_leaves=2)
leaves = st.dictionaries(fields, scalars | conditions, min_size=1, max_size=2)
filters = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["$and", "$or"]), st.lists(inner, min_size=1, max_size=3)).map(
            lambda p: {p[0]: p[1]}
        ),
        inner.map(lambda one: {"$not": one}),
        st.tuples(leaves, inner).map(lambda pair: {**pair[0], "$or": [pair[1]]}),
    ),
    max_leaves=6,
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
    max_leaves=4,
)
metadatas = st.dictionaries(st.sampled_from(["a", "b", "c", "a.b"]), values, max_size=3)


@given(filters, metadatas)
def test_any_filter_parses_and_agrees_with_the_naive_reading(raw: dict[str, Any], metadata: dict[str, Any]) -> None:
    tree = parse_filter(raw)
    assert tree is not None
    assert matches(tree, metadata) == naive(raw, metadata)
    assert parse_filter(tree) is tree


@given(st.lists(filters, min_size=1, max_size=3), metadatas)
def test_de_morgans_laws_hold(raws: list[dict[str, Any]], metadata: dict[str, Any]) -> None:
    def passes(raw: dict[str, Any]) -> bool:
        return matches(parse_filter(raw), metadata)

    negated = [{"$not": raw} for raw in raws]
    assert passes({"$not": {"$and": raws}}) == passes({"$or": negated})
    assert passes({"$not": {"$or": raws}}) == passes({"$and": negated})
    assert passes({"$not": {"$not": raws[0]}}) == passes(raws[0])


@given(fields, scalars, many, metadatas)
def test_negated_operators_are_complements(field: str, value: Any, values: list[Any], metadata: dict[str, Any]) -> None:
    def passes(condition: Any) -> bool:
        return matches(parse_filter({field: condition}), metadata)

    assert passes({"$ne": value}) != passes({"$eq": value})
    assert passes({"$nin": values}) != passes({"$in": values})
    assert passes({"$exists": True}) != passes({"$exists": False})
    assert passes({"$in": values}) == any(passes({"$eq": one}) for one in values)


# -- the promises of the documentation, one by one


@pytest.mark.parametrize(
    ("raw", "metadata", "passes"),
    [
        ({"x": 1}, {"x": 1.0}, True),
        ({"x": 1}, {"x": "1"}, False),
        ({"x": 1}, {"x": True}, False),
        ({"x": None}, {"x": None}, True),
        ({"x": None}, {}, False),
        ({"x": {"$ne": 1}}, {}, True),
        ({"x": {"$ne": 1}}, {"x": [1, 2]}, False),
        ({"x": {"$gt": 1}}, {"x": "2"}, False),
        ({"x": {"$gt": 1}}, {"x": [0, 2]}, True),
        ({"x": {"$gt": "a"}}, {"x": "b"}, True),
        ({"x": {"$in": []}}, {"x": 1}, False),
        ({"x": {"$nin": []}}, {}, True),
        ({"x": {"$contains": "b"}}, {"x": "abc"}, True),
        ({"x": {"$contains": "b"}}, {"x": ["b"]}, True),
        ({"x": {"$contains": "b"}}, {"x": ["abc"]}, False),
        ({"x": {"$contains": 1}}, {"x": "1"}, False),
        ({"a.b": 1}, {"a": {"b": 1}}, True),
        ({"a.b": 1}, {"a": {"b": 1}, "a.b": 2}, False),
        ({"x": {"$gte": 2, "$lt": 5}}, {"x": 5}, False),
        ({"x": {"$gte": 2, "$lte": 2}}, {"x": 2}, True),
        ({"x": {"$gt": 2}}, {"x": 2}, False),
        ({"x": {"$lt": 2}}, {"x": 2}, False),
        ({"x": 1, "y": 2}, {"x": 1}, False),
        ({"day": {"$gte": datetime.date(2024, 1, 2)}}, {"day": "2024-03-01"}, True),
        ({"x": {"$in": {"a", "b"}}}, {"x": "a"}, True),
    ],
)
def test_a_filter_means_what_is_documented(raw: Any, metadata: dict[str, Any], passes: bool) -> None:
    assert matches(parse_filter(raw), metadata) is passes


def test_no_filter_passes_everything() -> None:
    assert parse_filter(None) is None
    assert parse_filter({}) is None
    assert matches(None, {})
    assert matches(And(()), {})
    assert not matches(Or(()), {})


def test_the_tree_is_what_was_written() -> None:
    assert parse_filter({"a": 1}) == Compare("a", "$eq", 1)
    assert parse_filter({"a": 1, "$or": [{"b": {"$in": [1, 2]}}, {"$not": {"c": None}}]}) == And(
        (Compare("a", "$eq", 1), Or((Compare("b", "$in", (1, 2)), Not(Compare("c", "$eq", None)))))
    )


def test_a_missing_field_is_told_from_null() -> None:
    assert get_field({"a": {"b": None}}, "a.b") is None
    assert get_field({"a": {"b": None}}, "a.c") is get_field({}, "x")
    assert get_field({"a": [1]}, "a.0") is get_field({}, "x")


# -- errors


@pytest.mark.parametrize(
    ("raw", "names", "fix"),
    [
        ("year > 3", "a filter is an object", "{'field': value}"),
        ({"$nor": []}, "`$nor`", "$and, $or, $not"),
        ({"year": {"$gte2": 1}}, "`$gte2` on field `year`", "$gte"),
        ({"year": {"gte": 1}}, "`gte` on field `year`", "$gte"),
        ({"year": {}}, "`year` has an empty condition", "$gte"),
        ({"$and": {}}, "`$and` takes a non-empty list", "{'$and': [{...}"),
        ({"$or": []}, "`$or` takes a non-empty list", "{'$or': [{...}"),
        ({"$or": ["a"]}, "`$or` takes a list of objects", "filter itself"),
        ({"$not": 1}, "`$not` takes an object", "{'$not': {"),
        ({"year": {"$not": 1}}, "`year: $not`", "{'$gt': 3}"),
        ({"year": {"$in": 1}}, "`year: $in` takes a list", "{'$in': ["),
        ({"year": {"$in": "abc"}}, "`year: $in` takes a list", "{'$in': ["),
        ({"year": {"$exists": 1}}, "`year: $exists`", "{'$exists': True}"),
        ({"year": {"$gt": None}}, "`year: $gt`", "$eq"),
        ({"year": {"$lte": True}}, "`year: $lte`", "$eq"),
        ({"year": [1, 2]}, "`year: $eq`", "{'$in': [...]}"),
        ({"year": {"$eq": {"a": 1}}}, "`year: $eq`", "$in"),
        ({"year": float("nan")}, "finite", "$in"),
        ({"year": {"$lt": float("inf")}}, "finite", "$in"),
        ({"year": 2**63}, "63 bits", "strings"),
        ({1: 2}, "the key 1 is not a string", "field names"),
    ],
)
def test_a_wrong_filter_is_refused_with_the_operator_and_the_fix(raw: Any, names: str, fix: str) -> None:
    with pytest.raises(GenkitError) as caught:
        parse_filter(raw)
    assert caught.value.status == "INVALID_ARGUMENT"
    assert caught.value.details == {"argument": "filter"}
    assert names in caught.value.message
    assert fix in (caught.value.hint or "")


def nested(depth: int, wrap: Any) -> dict[str, Any]:
    raw: dict[str, Any] = {"a": 1}
    for _ in range(depth):
        raw = wrap(raw)
    return raw


@pytest.mark.parametrize("wrap", [lambda raw: {"$not": raw}, lambda raw: {"$and": [raw]}])
def test_depth_is_limited(wrap: Any) -> None:
    assert parse_filter(nested(15, wrap)) is not None
    for depth in (16, 5000):
        with pytest.raises(GenkitError, match="deeper than 16"):
            parse_filter(nested(depth, wrap))


def test_depth_is_limited_below_a_field_too() -> None:
    condition: dict[str, Any] = {"$gt": 1}
    for _ in range(5000):
        condition = {"$not": condition}
    with pytest.raises(GenkitError, match="deeper than 16"):
        parse_filter({"a": condition})


def test_the_number_of_values_is_limited_over_the_whole_filter() -> None:
    assert parse_filter({"a": {"$in": list(range(10_000))}}) is not None
    half = {"$in": list(range(5_001))}
    with pytest.raises(GenkitError, match="more than 10000 values"):
        parse_filter({"$or": [{"a": half}, {"b": half}]})


@pytest.mark.parametrize(("wrong", "right"), [("gt", "$gt"), ("$gtt", "$gt"), ("nto", "$not"), ("$exist", "$exists")])
def test_a_misspelt_or_unsigned_operator_is_guessed(wrong: str, right: str) -> None:
    with pytest.raises(GenkitError) as caught:
        parse_filter({"year": {wrong: 3}})
    assert f"Did you mean `{right}`?" in (caught.value.hint or "")
