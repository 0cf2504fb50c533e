"""Reports: summaries, comparisons, and what they look like elsewhere."""

from __future__ import annotations

import csv
import io
import json
import re
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree as Xml

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genkit_rag import Genkit, GenkitError
from genkit_rag._evaluation.reports.report import summarise
from genkit_rag._evaluation.reports.statistics import holm, interval, randomisation_p
from genkit_rag.evaluation import EvalDataPoint, EvalReport, EvalRow, Score, load_dataset

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
SCORES = st.one_of(
    st.builds(
        lambda score, status: Score(score=score, status=status),
        st.floats(0, 1) | st.booleans() | st.text(max_size=5),
        st.sampled_from([None, "PASS", "FAIL", "UNKNOWN"]),
    ),
    st.text(min_size=1, max_size=8).map(lambda error: Score(error=error, status="UNKNOWN")),
)
POINTS = st.builds(
    lambda own, more: EvalDataPoint.model_validate({**more, **own}),
    st.fixed_dictionaries(
        {"testCaseId": st.uuids().map(str)},
        optional={"input": JSON, "output": JSON, "reference": JSON, "context": st.lists(JSON)},
    ),
    st.dictionaries(st.sampled_from(["custom", "retrieved"]), JSON),
)
ROWS = st.lists(
    st.builds(
        lambda point, error, duration, scores: EvalRow(
            data_point=point, error=error, duration_ms=duration, scores={} if error else scores
        ),
        POINTS,
        st.none() | st.text(min_size=1, max_size=5),
        st.floats(0, 1e6),
        st.dictionaries(st.sampled_from(["a", "b"]), SCORES),
    ),
    max_size=6,
    unique_by=lambda row: row.test_case_id,
)


def report_of(rows: list[EvalRow], names: tuple[str, ...] = ("a", "b"), **facts: Any) -> EvalReport:
    return EvalReport(
        run_id="r",
        created_at="2026-01-01T00:00:00.000+00:00",
        dataset_hash="h",
        rows=rows,
        metrics=summarise(rows, names, 0),
        **facts,
    )


def rows_of(*values: float | None) -> list[EvalRow]:
    return [
        EvalRow(
            data_point=EvalDataPoint(test_case_id=str(n)),
            scores={"a": Score(error="no") if value is None else Score(score=value)},
        )
        for n, value in enumerate(values)
    ]


# -- JSON and the other forms


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_a_report_comes_back_from_its_json(rows: list[EvalRow]) -> None:
    report = report_of(rows, name="n", target="/flow/x")
    assert EvalReport.from_json(report.to_json()).to_wire() == report.to_wire()
    assert EvalReport.from_json(report.to_json(indent=2)) == EvalReport.from_json(report.to_json())


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_every_form_can_be_made_of_every_report(rows: list[EvalRow]) -> None:
    report = report_of(rows, name="\x00</script>")
    assert str(report)
    assert "<script" not in report.to_html().lower()
    suites = Xml.fromstring(report.to_junit().encode())
    for suite, metric in zip(suites, report.metrics, strict=True):
        assert suite.attrib["tests"] == str(len(rows))
        for kind in ("failure", "error", "skipped"):
            name = {"failure": "failures", "error": "errors"}.get(kind, kind)
            assert len(suite.findall(f"testcase/{kind}")) == int(suite.attrib[name])
        assert metric.n + metric.unmeasured + metric.errors == len(rows)
    assert len(list(csv.reader(io.StringIO(report.to_csv(), newline="")))) == len(rows) + 1


@pytest.mark.parametrize("wrong", ["", "{", "[]", '{"runId": "r"}', '{"schemaVersion": 2}', "[" * 100_000])
def test_what_is_no_report_is_refused(wrong: str) -> None:
    with pytest.raises(GenkitError, match="INVALID_ARGUMENT"):
        EvalReport.from_json(wrong)


def test_a_page_stands_alone_and_runs_nothing() -> None:
    evil = '<img src="http://x.invalid/" onerror=alert(1)><style>@import "//x"</style>'
    point = EvalDataPoint(test_case_id=evil, input=evil, output=evil)
    rows = [EvalRow(data_point=point, scores={evil: Score(error=evil)}), EvalRow(data_point=point, error=evil)]
    page = report_of(rows, (evil,), name=evil, target=evil).to_html()
    assert "<img" not in page
    assert "<style>@import" not in page
    assert page.count("<style") == 1
    assert "default-src 'none'" in page
    assert "&lt;img" in page


@pytest.mark.parametrize("evil", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "  =1", "\r=1", '=HYPERLINK("http://x")'])
def test_no_cell_of_a_table_is_a_formula(evil: str) -> None:
    rows = [
        EvalRow(
            data_point=EvalDataPoint(test_case_id=evil, input=evil, output=evil),
            error=evil,
            scores={"a": Score(score=evil)},
        )
    ]
    _, line = csv.reader(io.StringIO(report_of(rows, ("a",)).to_csv(), newline=""))
    assert all(cell[:1] not in ("=", "+", "-", "@", "\t", "\r") for cell in line)
    assert line[0] == f"'{evil}"


def test_numbers_stay_numbers_in_a_table() -> None:
    _, line = csv.reader(io.StringIO(report_of(rows_of(-0.5), ("a",)).to_csv(), newline=""))
    assert line[5] == "-0.5"


def test_text_cannot_steer_a_terminal() -> None:
    rows = [EvalRow(data_point=EvalDataPoint(test_case_id="\x1b[2J"), error="\x1b]0;x\x07")]
    assert "\x1b" not in str(report_of(rows, name="\x1b[31m"))


# -- statistics


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=30), st.integers(0, 9))
def test_an_interval_is_repeatable_and_lies_within_the_values(values: list[float], seed: int) -> None:
    found = interval(values, seed)
    assert found is not None
    low, high = found
    assert found == interval(values, seed)
    assert min(values) - 1e-12 <= low <= high <= max(values) + 1e-12


def test_an_interval_holds_the_true_mean_about_as_often_as_it_says() -> None:
    import numpy as np

    dice = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        low, high = interval([float(x) for x in dice.random(60)], 0) or (1.0, 0.0)
        held += low <= 0.5 <= high
    assert 178 <= held <= 199  # 95 % of 200, within three standard deviations or so


def test_more_rows_give_a_narrower_interval() -> None:
    widths = [high - low for n in (10, 100, 1000) for low, high in [interval([0.0, 1.0] * (n // 2), 0) or (0, 0)]]
    assert all(wide > 2 * narrow for wide, narrow in pairwise(widths))


@pytest.mark.parametrize(
    ("differences", "p"),
    [([], None), ([0.0, 0.0], 1.0), ([1.0], 1.0), ([1.0] * 5, 2 / 32), ([1.0, -1.0], 1.0), ([0.5] * 10, 2 / 1024)],
)
def test_the_p_value_of_few_rows_is_exact(differences: list[float], p: float | None) -> None:
    assert randomisation_p(differences, 0) == p


def test_the_sampled_p_value_is_near_the_exact_one() -> None:
    from math import comb

    differences = [1.0] * 12 + [-1.0] * 5  # 17 rows: sampled
    exact = 2 * sum(comb(17, k) for k in range(12, 18)) / 2**17
    assert randomisation_p(differences, 3) == pytest.approx(exact, abs=0.02)


def test_holm_multiplies_by_what_is_left_and_never_falls() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})
    assert holm({"a": 0.9, "b": 0.8}) == {"b": 1.0, "a": 1.0}


# -- comparing


def test_a_comparison_pairs_rows_and_finds_what_is_worse_and_better() -> None:
    before, after = rows_of(1, 0.5, 0, None, 1, None), rows_of(0.5, 0.5, 1, 1, None, None, 1)
    found = report_of(after, ("a",)).compare(report_of(before, ("a",)))
    (metric,) = found.metrics
    assert (metric.n, metric.before, metric.after, metric.improved, metric.worse) == (3, 0.5, 2 / 3, 1, 1)
    assert metric.delta == pytest.approx(1 / 6)
    assert metric.low is not None
    assert metric.low <= 1 / 6 <= (metric.high or 0)
    assert [(c.test_case_id, c.delta) for c in found.regressions] == [("4", None), ("0", -0.5)]
    assert [(c.test_case_id, c.delta) for c in found.improvements] == [("3", None), ("2", 1)]
    assert (found.only_before, found.only_after) == ([], ["6"])
    assert "2 regressions, 2 improvements" in str(found)
    assert json.loads(found.to_json())["metrics"][0]["improved"] == 1


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=20))
def test_comparing_the_other_way_round_gives_the_opposite(pairs: list[tuple[float, float]]) -> None:
    one, other = (report_of(rows_of(*side), ("a",)) for side in zip(*pairs, strict=True))
    there, back = other.compare(one), one.compare(other)
    assert there.metrics[0].delta == pytest.approx(-(back.metrics[0].delta or 0))
    assert there.metrics[0].p_value == pytest.approx(back.metrics[0].p_value)
    assert {c.test_case_id for c in there.regressions} == {c.test_case_id for c in back.improvements}
    same = one.compare(one)
    assert (same.metrics[0].delta, same.regressions, same.improvements) == (0, [], [])
    assert not same.metrics[0].significant


def test_a_clear_difference_is_significant_and_noise_is_not() -> None:
    base = report_of(rows_of(*[0.2] * 20), ("a",))
    assert report_of(rows_of(*[0.6] * 20), ("a",)).compare(base).metrics[0].significant
    assert not report_of(rows_of(*[0.1, 0.3] * 10), ("a",)).compare(base).metrics[0].significant


async def test_runs_over_one_dataset_can_be_compared(ai: Genkit) -> None:
    data = [{"input": str(n), "reference": str(n)} for n in range(8)]
    good = await ai.evaluate(data, target=lambda x: x, evaluators=["builtin/exact_match"])
    bad = await ai.evaluate(reversed(data), target=lambda x: "0", evaluators=["builtin/exact_match"])
    found = bad.compare(good)
    assert (found.metrics[0].n, found.metrics[0].delta, found.metrics[0].significant) == (8, -0.875, True)
    assert len(found.regressions) == 7
    assert good.latency(0.5) is not None


def test_an_unknown_metric_says_which_there_are() -> None:
    with pytest.raises(GenkitError, match=r"NOT_FOUND.*It has: a"):
        report_of([], ("a",)).metric("b")


# -- datasets from files


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("d.jsonl", '{"input": "a", "reference": "b", "own": 1}\n\n{"input": ["c"], "context": ["x"]}\n'),
        ("d.json", '\ufeff[{"input": "a", "reference": "b", "own": 1}, {"input": ["c"], "context": ["x"]}]'),
        ("d.csv", 'input,reference,own,context\na,b,1,\n"[""c""]",,,x\n'),
    ],
)
def test_a_dataset_is_read_from_a_file(tmp_path: Any, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, "utf-8")
    one, two = load_dataset(tmp_path / name)
    assert (one.input, one.reference, str(one.further("own"))) == ("a", "b", "1")
    assert (two.input, two.reference, two.context) == (["c"], None, ["x"])
    assert one.test_case_id
    assert one.test_case_id != two.test_case_id


@pytest.mark.parametrize(
    ("name", "data", "match"),
    [
        ("d.txt", b"", r"\.jsonl"),
        ("d.json", b"{}", "no list"),
        ("d.json", b"[", "cannot be read"),
        ("d.jsonl", b'{"input": 1}\n{', "line 2"),
        ("d.jsonl", b"\xff\xfe", "cannot be read"),
        ("d.json", b"[" * 100_000, "cannot be read"),
        ("d.json", b'[{"input": 1, "context": "x"}]', r"data point 0.*\$\.context"),
        ("d.csv", b"a,b\n1,2\n", "neither"),
        ("d.csv", b"input\n1,2\n", "more cells"),
        ("d.csv", b'input\n"1', "line"),
        ("none.json", None, "NOT_FOUND"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(tmp_path: Any, name: str, data: bytes | None, match: str) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(GenkitError, match=match):
        load_dataset(tmp_path / name)


async def test_an_input_that_is_no_json_is_refused(ai: Genkit) -> None:
    with pytest.raises(GenkitError, match="INVALID_ARGUMENT: An input of the dataset is no JSON"):
        await ai.evaluate([object()], evaluators=[])


# -- for pull requests


def test_markdown_holds_text_from_anywhere_in_code_spans() -> None:
    evil = "a|b`c\n<img src=x> @everyone [x](javascript:1)"
    point = EvalDataPoint(test_case_id=evil)
    report = report_of([EvalRow(data_point=point, scores={"a": Score(error=evil)})] * 30, ("a",), name=evil)
    text = report.to_markdown()
    assert text.count("`") % 2 == 0
    outside = re.sub("`[^`]*`", "", text)
    assert not re.search(r"[<@\[]", outside)
    assert {line.replace(r"\|", "").count("|") for line in text.splitlines() if line.startswith("| ")} == {3, 7}
    assert "10 more rows are left out." in text


@pytest.mark.parametrize(
    ("condition", "met"),
    [("a < -0.1", True), ("A<=-.5", True), ("a < -0.5", False), ("a > 0", False), (" a >= -1. ", True)],
)
def test_a_condition_on_a_difference_is_answered(condition: str, met: bool) -> None:
    found = report_of(rows_of(0.5, 0), ("a",)).compare(report_of(rows_of(1, 0.5), ("a",)))
    assert found.meets(condition) is met
    assert "| `0` | `a` | 1.000 | 0.500 |" in found.to_markdown()


@pytest.mark.parametrize("wrong", ["", "a", "a <", "a == 1", "a < b", "< 1", "a < nan", "a < 1 and b < 1"])
def test_what_is_no_condition_is_refused(wrong: str) -> None:
    found = report_of(rows_of(1), ("a",)).compare(report_of(rows_of(1), ("a",)))
    with pytest.raises(GenkitError, match=r"INVALID_ARGUMENT: `condition`.*ndcg@10 < -0\.01"):
        found.meets(wrong)
    with pytest.raises(GenkitError, match=r"NOT_FOUND.*They share: a"):
        found.meets("b < 0")


def test_a_metric_that_cannot_be_compared_meets_every_condition() -> None:
    found = report_of(rows_of(None), ("a",)).compare(report_of(rows_of(1), ("a",)))
    assert found.meets("a < -0.5")
