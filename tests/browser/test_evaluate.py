"""The screen Evaluate in a browser: datasets, a run from the form, its report, two runs side by side."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Dev, Walk, assert_accessible
from tests.browser.lab import HOSTILE, ROWS, evaluated, laboratory, make_dataset

pytestmark = [pytest.mark.browser, pytest.mark.network]

EVALUATORS = ("lab/says_reference", "lab/words", "lab/moody")


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    with laboratory(tmp_path_factory.mktemp("evaluate")) as made:
        yield made


@pytest.fixture(scope="module")
def runs(dev: Dev) -> tuple[str, str]:
    """Two runs over one dataset, of which the later one is worse."""
    make_dataset(dev, "capitals", [*ROWS, {"testCaseId": "hostile", "input": HOSTILE, "reference": HOSTILE}])
    made = [evaluated(dev, "capitals", f"/flow/{flow}", *EVALUATORS, name=flow) for flow in ("capital", "hasty")]
    return made[0]["runId"], made[1]["runId"]


def test_every_page_is_sound_in_light_dark_and_at_360_pixels(walk: Walk, runs: tuple[str, str]) -> None:
    before, after = runs
    walk("/evaluate", "evaluate", ready="#runs table")
    walk("/evaluate/new?dataset=capitals", "evaluate-new", ready="#start")
    walk(f"/evaluate/runs/{after}", "evaluate-run", ready=".cases", act=open_first_row)
    walk(f"/evaluate/compare?before={before}&after={after}", "evaluate-compare", ready="#metrics")
    walk("/evaluate/datasets/capitals", "evaluate-dataset", ready="table.rows")


def open_first_row(page: Any) -> None:
    page.locator(".case summary").first.click()


def test_without_data_the_screen_says_how_to_begin(open_page: Callable[..., Any], dev: Dev) -> None:
    page = open_page()
    page.goto(dev.url + "/evaluate/datasets/nothing-there")
    assert page.locator("h1").inner_text() == "Not found"
    page.goto(dev.url + "/evaluate/runs/nothing-there")
    assert page.locator("h1").inner_text() == "Not found"


def test_a_dataset_is_uploaded_edited_and_deleted_by_hand(page: Any, dev: Dev, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(json.dumps({"input": text, "reference": {"answer": text}}) for text in ("one", HOSTILE)))
    page.goto(dev.url + "/evaluate")
    page.click("button:has-text('New dataset')")
    page.fill("#dataset-id", "../up")
    page.click("dialog[open] button[type=submit]")
    page.wait_for_selector("dialog[open] .problem:visible")
    assert "dataset_id" in page.inner_text("dialog[open] .problem")
    page.fill("#dataset-id", "by-hand")
    page.set_input_files("#dataset-file", file)
    assert_accessible(page)
    page.click("dialog[open] button[type=submit]")
    page.wait_for_url("**/datasets/by-hand")
    assert page.locator("table.rows tbody tr").count() == 2
    assert page.locator("table.rows img, table.rows script").count() == 0

    page.click("button[aria-label='Edit row 2']")
    assert page.input_value("#field-input") == HOSTILE
    assert json.loads(page.input_value("#field-reference")) == {"answer": HOSTILE}
    page.fill("#field-reference", "{no json")
    page.click("dialog[open] button[type=submit]")
    page.wait_for_selector("dialog[open] .problem:visible")
    page.fill("#field-reference", '{"answer": "two"}')
    page.fill("#field-input", "second")
    with page.expect_navigation():
        page.click("dialog[open] button[type=submit]")
    rows = dev.http.get("/evaluate/datasets/by-hand/export").json()
    assert (rows[1]["input"], rows[1]["reference"]) == ("second", {"answer": "two"})

    page.click("button:has-text('Add a row')")
    page.fill("#field-input", "third")
    with page.expect_navigation():
        page.press("#field-testCaseId", "Enter")
    assert page.locator("table.rows tbody tr").count() == 3
    page.click("button[aria-label='Delete row 1']")
    with page.expect_navigation():
        page.click("button[aria-label='Delete row 1']")
    rows = dev.http.get("/evaluate/datasets/by-hand/export").json()
    assert [row["input"] for row in rows] == ["second", "third"]

    page.click("button:has-text('Delete')")
    assert dev.http.get("/evaluate/datasets/by-hand/export").status_code == 200, "one press must not delete"
    page.click("button[data-armed]")
    page.wait_for_url("**/evaluate")
    assert dev.http.get("/evaluate/datasets/by-hand/export").status_code == 404


def test_an_evaluation_started_by_keyboard_ends_at_its_report(page: Any, dev: Dev, runs: tuple[str, str]) -> None:
    page.goto(dev.url + "/evaluate/new?dataset=capitals&target=/flow/capital")
    page.fill("#find-evaluator", "says_ref")
    page.focus("input[value='lab/says_reference']")
    page.keyboard.press("Space")
    assert page.inner_text("#chosen") == "1 chosen"
    page.fill("#name", "from the form")
    page.keyboard.press("Enter")
    page.wait_for_url("**/evaluate/runs/*", timeout=20_000)
    assert page.inner_text("h1") == "from the form"
    assert page.locator(".case").count() == 13


def test_a_running_evaluation_is_cancelled(page: Any, dev: Dev, runs: tuple[str, str]) -> None:
    page.goto(dev.url + "/evaluate/new?dataset=capitals&target=/flow/slow")
    page.fill("#concurrency", "1")
    page.check("input[value='lab/words']")
    page.click("button:has-text('Start')")
    page.wait_for_selector(".stage progress")
    assert_accessible(page)
    page.click(".job button:has-text('Cancel')")
    page.wait_for_selector(".job .status:has-text('cancelled')")
    assert page.is_visible("#start")


def test_failed_rows_are_filtered_and_lead_to_their_traces(page: Any, dev: Dev, runs: tuple[str, str]) -> None:
    page.goto(f"{dev.url}/evaluate/runs/{runs[1]}")
    with page.expect_navigation():
        page.select_option("#filter", "failed")
    failed = page.locator(".case")
    assert 0 < failed.count() < 13
    assert page.locator(".case.bad").count() == failed.count()
    assert page.locator(".case-trace a").count() == failed.count()
    page.locator(".case-trace a").first.click()
    page.wait_for_url("**/traces/*")
    assert "Not found" not in page.inner_text("h1")


def test_two_runs_are_chosen_and_compared_regressions_first(page: Any, dev: Dev, runs: tuple[str, str]) -> None:
    page.goto(dev.url + "/evaluate")
    assert page.is_disabled("#compare")
    for run in runs:
        page.check(f"input[value='{run}']")
    page.click("#compare")
    page.wait_for_selector("#metrics")
    told = dev.http.get(f"/evaluate/compare?before={runs[0]}&after={runs[1]}&format=json").json()
    shown = page.locator("#metrics tbody tr")
    assert shown.count() == len(told["metrics"])
    for number, metric in enumerate(told["metrics"]):
        cells = shown.nth(number).locator("td").all_inner_texts()
        assert cells[0] == metric["name"]
        assert cells[1:4] == [f"{metric['before']:.3f}", f"{metric['after']:.3f}", f"{metric['delta']:+.3f}"]
        assert cells[5] == f"{metric['pValue']:.3f}"
    titles = page.locator("main h2").all_inner_texts()
    places = [next(n for n, title in enumerate(titles) if title.startswith(word)) for word in ("Regr", "Impr")]
    assert places == sorted(places)
    assert page.locator("section[aria-labelledby=regressions] tbody tr").count() == len(told["regressions"])


def test_hostile_text_stays_text_in_reports_and_comparisons(page: Any, dev: Dev, runs: tuple[str, str]) -> None:
    for path in (f"/evaluate/runs/{runs[0]}?q=hostile", f"/evaluate/compare?before={runs[0]}&after={runs[1]}"):
        page.goto(dev.url + path)
        assert page.locator("main img, main script:not([src])").count() == 0
    page.goto(f"{dev.url}/evaluate/runs/{runs[0]}?q=hostile")
    page.locator(".case summary").first.click()
    assert f"the reason is {HOSTILE}" in page.inner_text(".case .reasons")
