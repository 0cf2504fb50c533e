"""The evaluators that come along and ask no model."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genkit_rag import Genkit
from genkit_rag._evaluation.evaluators import retrieval as metrics
from genkit_rag.evaluation import Score


async def score_of(name: str, point: dict[str, Any], options: dict[str, Any] | None = None) -> Score:
    if name == "regex":
        pytest.importorskip("regex")
    async with Genkit() as ai:
        report = await ai.evaluate([point], evaluators=[(f"builtin/{name}", options)])
    return report.rows[0].scores[f"builtin/{name}"]


def row(output: Any, reference: Any = None, **further: Any) -> dict[str, Any]:
    return {"output": output, "reference": reference, **further}


CASES: list[tuple[str, dict[str, Any], dict[str, Any] | None, Any]] = [
    ("exact_match", row("Bern", "Bern"), None, True),
    ("exact_match", row(" Bern\n", "Bern"), None, True),
    ("exact_match", row(" Bern\n", "Bern"), {"ignoreSpace": False}, False),
    ("exact_match", row("bern", "Bern"), None, False),
    ("exact_match", row("STRASSE", "straße"), {"ignoreCase": True}, True),
    ("exact_match", row("Basel", ["Bern", "Basel"]), None, True),
    ("exact_match", row("Bern", {"answer": "Bern", "relevant": ["a"]}), None, True),
    ("exact_match", row({"text": "Bern"}, "Bern"), None, True),
    ("exact_match", row({"message": {"content": [{"text": "Be"}, {"text": "rn"}]}}, "Bern"), None, True),
    ("exact_match", row(42, "42"), None, True),
    ("contains", row("It is Bern.", "Bern"), None, True),
    ("contains", row("It is Bern.", ["Bern", "Basel"]), None, False),
    ("contains", row("It is Bern.", ["Bern", "Basel"]), {"require": "any"}, True),
    ("contains", row("It is Bern."), {"values": ["bern"], "ignore_case": True}, True),
    ("regex", row("call 0123"), {"pattern": r"\d{4}"}, True),
    ("regex", row("call 0123", r"\d{4}"), {"full": True}, False),
    ("regex", row("ABC", "abc"), {"ignoreCase": True}, True),
    ("json_match", row('{"a": 1, "b": [1.0]}', {"b": [1], "a": 1.0}), None, True),
    ("json_match", row({"a": 1}, {"a": True}), None, False),
    ("json_match", row({"a": 1}, {"a": 1, "b": None}), None, False),
    ("json_match", row([1, 2], [2, 1]), None, False),
    ("json_match", row({"a": 1.04}, {"a": 1}), {"tolerance": 0.05}, True),
    ("json_match", row({"a": [{"b": 1}], "c": 2}, {"a": [{"b": 1}], "c": 3}), {"paths": ["$.a[0].b"]}, True),
    ("json_match", row({"a": []}, {"a": [1]}), {"paths": ["$.a[0]"]}, False),
    ("json_match", row("null", "null"), None, True),
]


@pytest.mark.parametrize(("name", "point", "options", "passed"), CASES)
async def test_texts_and_data_are_compared(name: str, point: Any, options: Any, passed: bool) -> None:
    score = await score_of(name, point, options)
    assert score.error is None
    assert (score.score, score.status) == (passed, "PASS" if passed else "FAIL")


@pytest.mark.parametrize(
    ("name", "point", "options", "match"),
    [
        ("exact_match", row("Bern"), None, "no reference"),
        ("contains", row("Bern", []), None, "empty list"),
        ("regex", row("a"), {"pattern": "("}, "is wrong"),
        ("regex", row("a"), None, "must be text"),
        ("regex", row("a"), {"pattern": "a" * 1001}, "up to 1000"),
        ("regex", row("a" * 100_001), {"pattern": "a"}, "more than 100,000"),
        ("regex", row("a" * 60 + "!"), {"pattern": r"(a|aa|a)*$", "full": True, "timeout": 0.05}, "DEADLINE_EXCEEDED"),
        ("json_match", row("{", {}), None, "output is no JSON"),
        ("json_match", row({}, {}), {"paths": ["a.b"]}, "is no path"),
        ("recall", row(["a"]), None, "says no relevant"),
        ("recall", row("text", ["a"]), None, "no ranking"),
        ("faithfulness", row("a"), None, "no context"),
        ("answer_correctness", row("a"), None, "no reference"),
    ],
)
async def test_what_cannot_be_measured_is_an_error_and_no_verdict(
    name: str, point: Any, options: Any, match: str
) -> None:
    score = await score_of(name, point, options)
    assert score.score is None
    assert score.status == "UNKNOWN"
    assert match in (score.error or "")


KEYS = {"context": ["one", "two"]}


@pytest.mark.parametrize(
    ("name", "point", "options", "value"),
    [
        ("citation_validity", row("Cats purr [1]. Dogs bark [2].", **KEYS), None, 1),
        ("citation_validity", row("Cats purr [1]. Dogs bark [3].", **KEYS), None, 0.5),
        ("citation_validity", row("Cats purr [a.md].", **KEYS), {"keys": ["a.md", "b.md"]}, 1),
        ("citation_validity", row("Cats purr, in `x[9]`.", **KEYS), None, None),
        ("citation_coverage", row("All cats purr [1]. All dogs bark.", **KEYS), None, 0.5),
        ("citation_coverage", row("All cats purr. [1] All dogs bark. [2]", **KEYS), None, 1),
        ("citation_coverage", row("Yes.\nAll of the 3.5 million cats purr [1]!", **KEYS), None, 1),
        ("citation_coverage", row("All cats purr [7].", **KEYS), None, 0),
        ("citation_coverage", row("No.", **KEYS), None, None),
    ],
)
async def test_citations_are_checked(name: str, point: Any, options: Any, value: float | None) -> None:
    score = await score_of(name, point, options)
    assert score.error is None
    assert score.score == value
    assert (score.status == "UNKNOWN") == (value is None)


async def test_chunks_can_count_as_the_file_that_they_are_of() -> None:
    found = [{"content": [], "metadata": {"id": str(n), "source": source}} for n, source in enumerate("aabc")]
    point = row({"documents": found}, ["b"])
    assert (await score_of("mrr", point, {"field": "source"})).score == 0.5
    assert (await score_of("mrr", point, {"field": "source", "threshold": 0.4})).status == "PASS"
    assert (await score_of("mrr", point)).score == 0


# -- rankings

IDS = [f"d{number}" for number in range(12)]
GRADES = st.dictionaries(st.sampled_from(IDS), st.integers(0, 3), min_size=1).filter(lambda g: any(g.values()))
RANKINGS = st.lists(st.sampled_from(IDS), unique=True, max_size=12)
KS = st.integers(1, 15)
ALL = [metric for metric, _ in metrics.METRICS.values()]


@given(RANKINGS, GRADES, KS)
def test_every_metric_lies_between_0_and_1(ranking: list[str], grades: dict[str, int], k: int) -> None:
    assert all(0 <= metric(ranking, grades, k) <= 1 + 1e-12 for metric in ALL)


@given(RANKINGS, GRADES, KS)
def test_the_metrics_agree_with_each_other(ranking: list[str], grades: dict[str, int], k: int) -> None:
    relevant = sum(grade >= 1 for grade in grades.values())
    recall, precision = metrics.recall(ranking, grades, k), metrics.precision(ranking, grades, k)
    assert recall * relevant == pytest.approx(precision * k)
    success = metrics.success(ranking, grades, k)
    assert success == (recall > 0) == (metrics.reciprocal_rank(ranking, grades, k) > 0)
    assert (metrics.ndcg(ranking, grades, k) > 0) == (success > 0)
    assert metrics.average_precision(ranking, grades, k) <= recall + 1e-12
    assert metrics.recall(ranking, grades, k + 1) >= recall


@given(GRADES)
def test_the_best_order_is_perfect(grades: dict[str, int]) -> None:
    best = sorted(grades, key=lambda id: -grades[id])
    for metric in (metrics.ndcg, metrics.average_precision, metrics.recall):
        assert metric(best, grades, len(best)) == pytest.approx(1)
    assert metrics.reciprocal_rank(best, grades, 1) == 1


@given(RANKINGS, GRADES, st.data())
def test_moving_a_relevant_document_up_never_hurts(ranking: list[str], grades: dict[str, int], data: Any) -> None:
    places = [at for at in range(1, len(ranking)) if grades.get(ranking[at], 0) > grades.get(ranking[at - 1], 0)]
    if not places:
        return
    at = data.draw(st.sampled_from(places))
    better = [*ranking[: at - 1], ranking[at], ranking[at - 1], *ranking[at + 1 :]]
    for metric in ALL:
        assert metric(better, grades, 10) >= metric(ranking, grades, 10) - 1e-12


@pytest.mark.parametrize("seed", range(3))
def test_the_numbers_are_those_of_ir_measures(seed: int) -> None:
    ir = pytest.importorskip("ir_measures")
    dice = random.Random(seed)
    names = {"R": "recall", "P": "precision", "RR": "mrr", "AP": "map", "nDCG": "ndcg", "Success": "success"}
    ours: dict[Any, float] = {}
    run: list[Any] = []
    qrels: list[Any] = []
    wanted = [getattr(ir, name) @ k for name in names for k in (1, 5, 10, 20)]
    for query in map(str, range(40)):
        pool = [f"d{number}" for number in range(50)]
        grades = {id: dice.choice([0, 0, 1, 2, 3]) for id in dice.sample(pool, 12)}
        grades[pool[0]] = 1
        ranking = dice.sample(pool, dice.randint(1, 30))
        qrels += [ir.Qrel(query, id, grade) for id, grade in grades.items()]
        run += [ir.ScoredDoc(query, id, -float(rank)) for rank, id in enumerate(ranking)]
        for measure in wanted:
            metric = metrics.METRICS[names[measure.NAME]][0]
            ours[query, str(measure)] = metric(ranking, grades, measure["cutoff"])
    theirs = {(item.query_id, str(item.measure)): item.value for item in ir.iter_calc(wanted, qrels, run)}
    assert theirs.keys() == ours.keys()
    assert all(abs(theirs[key] - ours[key]) < 1e-9 for key in ours)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
)


@settings(max_examples=60)
@given(JSON, st.data())
def test_json_is_equal_to_itself_only(value: Any, data: st.DataObject) -> None:
    from genkit_rag._evaluation.evaluators.text import _difference

    assert _difference(value, value, 0, "$") is None
    assert _difference([value], [value, value], 0, "$")
    other = data.draw(st.sampled_from([True, False, None, "x", 7, [9], {"k": 9}]))
    assert (_difference(value, other, 0, "$") is None) == (_difference(other, value, 0, "$") is None)
