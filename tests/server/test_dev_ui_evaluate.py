"""The screen Evaluate over HTTP, with a real app in a process of its own."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import httpx
import pytest
from starlette.applications import Starlette

from genkit_rag._core.errors import GenkitError
from genkit_rag._evaluation.reports.report import EvalReport
from genkit_rag._server.datasets import DatasetStore, RunStore
from genkit_rag._server.dev_ui import dev_app
from genkit_rag._server.dev_ui.screens import evaluate
from genkit_rag._server.dev_ui.ui import Ui
from genkit_rag._server.guard import Guard, new_token
from genkit_rag._server.remote_evaluation import Plan
from genkit_rag._server.runtimes import Runtimes
from genkit_rag._server.serving import serve_in_thread
from genkit_rag._server.telemetry import TraceStore
from genkit_rag._server.telemetry.app import telemetry_policy
from genkit_rag._server.telemetry.live import Hub
from tests.browser.conftest import Dev
from tests.browser.lab import CAPITALS, HOSTILE, ROWS, evaluated, finished, laboratory, make_dataset, start_run
from tests.server.hostile import assert_hostile_requests_are_refused

pytestmark = pytest.mark.network

HTML = {"accept": "text/html"}
PATHS = [
    "../outside",
    "..",
    ".",
    "/etc/passwd",
    "a/../../b",
    "..\\outside",
    "C:\\windows",
    "a\0b",
    "x" * 300,
    "con",
    "NUL",
    "com1",
    "lpt9",
    "a b",
    ".hidden",
    "-x",
    "é",
    "a.json",
    "%2e%2e",
    "",
    "\n",
    "a:b",
    "~root",
    "..%2f..%2fetc",
]


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    with laboratory(tmp_path_factory.mktemp("evaluate-http")) as made:
        make_dataset(made, "capitals")
        yield made


@pytest.fixture(scope="module")
def reports(dev: Dev) -> list[dict[str, Any]]:
    names = ("lab/says_reference", "lab/words", "lab/moody")
    return [evaluated(dev, "capitals", f"/flow/{flow}", *names, name=flow) for flow in ("capital", "hasty")]


def test_a_flow_runs_in_the_app_and_its_rows_are_scored_there(reports: list[dict[str, Any]]) -> None:
    report = reports[0]
    assert (report["target"], report["name"], len(report["rows"])) == ("/flow/capital", "capital", len(ROWS))
    for row, (land, capital) in zip(report["rows"], CAPITALS.items(), strict=True):
        point = row["dataPoint"]
        assert (point["input"], point["output"]) == (land, f"The capital of {land} is {capital}.")
        assert point["context"] == [f"The capital of {land} is {capital}."], "what the retriever found is in the trace"
        assert row["scores"]["lab/says_reference"]["status"] == "PASS"
        assert "looked for" in row["scores"]["lab/says_reference"]["details"]["reasoning"]
    means = {metric["name"]: metric["mean"] for metric in report["metrics"]}
    assert means["lab/says_reference"] == 1.0
    assert means["lab/words"] == pytest.approx(0.6)


def test_a_row_that_fails_and_an_evaluator_that_raises_stop_nothing(reports: list[dict[str, Any]]) -> None:
    rows = {row["dataPoint"]["testCaseId"]: row for row in reports[1]["rows"]}
    assert "too hasty for Japan" in rows["japan"]["error"]
    assert rows["japan"].get("scores", {}) == {}
    assert "no opinion about Peru" in rows["peru"]["scores"]["lab/moody"]["error"]
    errors = {metric["name"]: metric["errors"] for metric in reports[1]["metrics"]}
    assert errors == {"lab/says_reference": 1, "lab/words": 1, "lab/moody": 2}


def test_every_row_leads_to_a_trace_that_is_stored(dev: Dev, reports: list[dict[str, Any]]) -> None:
    for row in reports[1]["rows"]:
        trace_id = row["dataPoint"]["traceIds"][-1]
        names = {span["displayName"] for span in dev.wait_for_trace(trace_id)["spans"].values()}
        assert "hasty" in names
        assert f"/traces/{trace_id}" in dev.http.get(f"/evaluate/runs/{reports[1]['runId']}", headers=HTML).text


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/retriever/atlas", "The capital of"),
        ("/model/play/echo", "I was told: "),
        ("/executable-prompt/review.brief", "Review"),
    ],
)
def test_retrievers_models_and_prompts_are_targets_too(dev: Dev, target: str, expected: str) -> None:
    rows: list[dict[str, Any]] = [{"input": land} for land in list(CAPITALS)[:3]]
    if "prompt" in target:
        rows = [{"input": {"article": row["input"]}} for row in rows]
    make_dataset(dev, f"of{target.replace('/', '-').replace('.', '-')}", rows)
    report = evaluated(dev, f"of{target.replace('/', '-').replace('.', '-')}", target, "lab/words")
    assert [row.get("error") for row in report["rows"]] == [None] * 3
    for row in report["rows"]:
        assert expected in json.dumps(row["dataPoint"]["output"])
    if target.startswith("/retriever/"):
        assert report["rows"][0]["dataPoint"]["retrieved"][0]["id"] == "France"
    else:
        assert isinstance(report["rows"][0]["dataPoint"]["output"], str), "of a model's answer the text is judged"


def test_stored_outputs_are_scored_without_a_target(dev: Dev) -> None:
    make_dataset(dev, "stored", [{"input": 1, "output": "a b c", "reference": "b"}])
    report = evaluated(dev, "stored", None, "lab/words", "builtin/contains")
    assert "target" not in report
    assert {metric["name"]: metric["mean"] for metric in report["metrics"]} == {
        "lab/words": 0.3,
        "builtin/contains": 1.0,
    }


def test_progress_names_every_stage_and_a_cancelled_run_is_not_kept(dev: Dev) -> None:
    before = {run.run_id for run in RunStore(dev.root / ".genkit_rag").list()}
    job = start_run(dev, "capitals", "/flow/slow", "lab/words", concurrency=1)
    assert [stage["stage"] for stage in job["stages"]] == ["/flow/slow", "lab/words"]
    due = time.monotonic() + 10
    while not dev.http.get(f"/evaluate/jobs/{job['id']}").json()["stages"][0]["done"]:
        assert time.monotonic() < due
        time.sleep(0.05)
    dev.http.post(f"/evaluate/jobs/{job['id']}/cancel", json={})
    ended = finished(dev, job)
    assert (ended["state"], ended["runId"]) == ("cancelled", None)
    assert 1 <= ended["stages"][0]["done"] < len(ROWS)
    assert {run.run_id for run in RunStore(dev.root / ".genkit_rag").list()} == before


def test_a_row_over_its_time_is_an_error_and_the_others_go_on(dev: Dev) -> None:
    make_dataset(dev, "two", ROWS[:2])
    report = evaluated(dev, "two", "/flow/slow", "lab/words", timeout=0.05)
    assert [row["error"][:17] for row in report["rows"]] == ["DEADLINE_EXCEEDED"] * 2


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"datasetId": "nothing"}, 404),
        ({"datasetId": "../x"}, 400),
        ({"datasetId": None}, 400),
        ({"target": "/flow/nothing"}, 404),
        ({"target": "/evaluator/lab/words"}, 400),
        ({"target": 5}, 400),
        ({"evaluators": ["lab/nothing"]}, 404),
        ({"evaluators": "lab/words"}, 400),
        ({"evaluators": [1]}, 400),
        ({"evaluators": [], "target": None}, 400),
        ({"concurrency": 0}, 400),
        ({"concurrency": "4"}, 400),
        ({"concurrency": 1000}, 400),
        ({"timeout": -1}, 400),
        ({"timeout": "soon"}, 400),
        ({"options": []}, 200),
        ({"options": [1]}, 400),
        ({"name": "x" * 201}, 400),
    ],
)
def test_a_wrong_request_is_refused_before_anything_runs(dev: Dev, change: dict[str, Any], status: int) -> None:
    body = {"datasetId": "capitals", "target": "/flow/capital", "evaluators": ["lab/words"], **change}
    answer = dev.http.post("/evaluate/runs", json=body)
    if status == 200:
        assert finished(dev, answer.json())["state"] == "done"
        return
    assert answer.status_code == status, answer.text
    assert answer.json()["message"]


def test_the_comparison_is_the_one_of_the_reports(dev: Dev, reports: list[dict[str, Any]]) -> None:
    before, after = (EvalReport.from_json(json.dumps(one)) for one in reports)
    told = dev.http.get(f"/evaluate/compare?before={before.run_id}&after={after.run_id}&format=json")
    assert told.json() == json.loads(after.compare(before).to_json())
    assert told.json()["regressions"]
    assert told.json()["regressions"][0]["testCaseId"] == "japan", "an error is the worst"
    either = dev.http.get(f"/evaluate/compare?run={after.run_id}&run={before.run_id}&format=json")
    assert either.json() == told.json(), "the earlier run is the one before"


def test_rows_are_filtered_by_what_failed_and_by_what_is_worse(dev: Dev, reports: list[dict[str, Any]]) -> None:
    before, after = (EvalReport.from_json(json.dumps(one)) for one in reports)
    worse = {one.test_case_id for one in after.compare(before).regressions}
    for query, expected in (
        ("", {row.test_case_id for row in after.rows}),
        ("?filter=failed", {row.test_case_id for row in after.failed_rows}),
        ("?filter=passed", {row.test_case_id for row in after.rows if not row.failed}),
        (f"?filter=regressed&against={before.run_id}", worse),
        ("?q=nairobi", {"kenya"}),
    ):
        page = dev.http.get(f"/evaluate/runs/{after.run_id}{query}", headers=HTML).text
        assert {
            row.test_case_id for row in after.rows if f'<p class="mono muted">{row.test_case_id} ' in page
        } == expected
    assert dev.http.get(f"/evaluate/runs/{after.run_id}?filter=nonsense", headers=HTML).status_code == 400


def test_a_report_is_exported_in_every_form(dev: Dev, reports: list[dict[str, Any]]) -> None:
    base = f"/evaluate/runs/{reports[1]['runId']}/export?format="
    for form in ("json", "html", "junit", "csv"):
        answer = dev.http.get(base + form)
        assert answer.headers["content-disposition"].startswith("attachment; filename=")
    suites = ElementTree.fromstring(dev.http.get(base + "junit").text)
    assert {suite.get("name") for suite in suites} == {"lab/says_reference", "lab/words", "lab/moody"}
    assert len(list(csv.reader(io.StringIO(dev.http.get(base + "csv").text)))) == len(ROWS) + 1
    assert "<table>" in dev.http.get(base + "html").text
    assert dev.http.get(base + "exe").status_code == 400


def test_a_report_is_deleted(dev: Dev) -> None:
    make_dataset(dev, "short", ROWS[:1])
    run = evaluated(dev, "short", "/flow/capital", "lab/words")["runId"]
    assert dev.http.request("DELETE", f"/evaluate/runs/{run}", json={}).status_code == 200
    assert dev.http.get(f"/evaluate/runs/{run}").status_code == 404


# -- datasets


@pytest.mark.parametrize(
    ("filename", "text"),
    [
        ("a.json", json.dumps(ROWS)),
        ("a.jsonl", "\n".join(json.dumps(row) for row in ROWS)),
        ("A.CSV", "testCaseId,input,reference\r\n" + "\r\n".join(",".join(row.values()) for row in ROWS)),
    ],
)
def test_a_file_becomes_the_same_dataset_whatever_its_form(dev: Dev, filename: str, text: str) -> None:
    name = "from-" + filename.lower().replace(".", "-")
    answer = dev.http.post("/evaluate/datasets", json={"datasetId": name, "filename": filename, "text": text})
    assert (answer.status_code, answer.json()["size"]) == (201, len(ROWS))
    assert dev.http.get(f"/evaluate/datasets/{name}/export").json() == ROWS
    lines = dev.http.get(f"/evaluate/datasets/{name}/export?format=jsonl").text
    assert [json.loads(line) for line in lines.splitlines()] == ROWS


def test_a_file_that_cannot_be_read_is_named_with_its_line(dev: Dev) -> None:
    for filename, text, told in (
        ("a.jsonl", '{"input": 1}\n{', "line 2"),
        ("a.csv", "x,y\n1,2", "header"),
        ("a.exe", "[]", "must end with"),
        ("a.json", '{"a": 1}', "list"),
        ("../a", "[]", "must end with"),
    ):
        answer = dev.http.post("/evaluate/datasets", json={"datasetId": "bad", "filename": filename, "text": text})
        assert (answer.status_code, told in answer.json()["message"]) == (400, True), answer.text
        assert "/tmp" not in answer.text, "no path of this machine"


def test_judgements_of_the_playground_are_shown_changed_and_evaluated(dev: Dev) -> None:
    marks = [{"query": land, "documentId": land, "grade": 1} for land in list(CAPITALS)[:3]]
    text = json.dumps(marks)
    body = {"datasetId": "judged", "kind": "judgements", "filename": "j.json", "text": text}
    assert dev.http.post("/evaluate/datasets", json=body).json()["size"] == 3
    assert "France" in dev.http.get("/evaluate/datasets/judged", headers=HTML).text
    row = {**marks[0], "grade": 0}
    assert dev.http.put("/evaluate/datasets/judged/rows/0", json={"row": row, "version": 1}).status_code == 200
    report = evaluated(dev, "judged", "/retriever/atlas", "builtin/recall@10")
    means = {metric["name"]: metric.get("mean") for metric in report["metrics"]}
    assert list(means.values()) == [1.0]


def test_a_row_changed_by_two_people_is_lost_for_neither(dev: Dev) -> None:
    make_dataset(dev, "shared", ROWS[:3])
    base = "/evaluate/datasets/shared/rows"
    assert dev.http.put(f"{base}/0", json={"row": {"input": "mine"}, "version": 1}).status_code == 200
    late = dev.http.put(f"{base}/1", json={"row": {"input": "theirs"}, "version": 1})
    assert late.status_code == 409, late.text
    assert dev.http.request("DELETE", f"{base}/2", json={"version": 1}).status_code == 409
    assert dev.http.request("DELETE", f"{base}/7", json={"version": 2}).status_code == 404
    for version in (None, "2", True, 2.0):
        assert dev.http.put(f"{base}/1", json={"row": {}, "version": version}).status_code == 400
    assert dev.http.put(f"{base}/1", json={"row": [], "version": 2}).status_code == 400
    rows = dev.http.get("/evaluate/datasets/shared/export").json()
    assert [row["input"] for row in rows] == ["mine", "Spain", "Italy"]
    assert "earlier version" in dev.http.get("/evaluate/datasets/shared?version=1", headers=HTML).text


# -- what is hostile


@pytest.mark.parametrize("name", PATHS)
def test_no_name_leaves_the_folder(dev: Dev, name: str) -> None:
    def files() -> set[Path]:
        return {path for path in dev.root.rglob("*") if path.is_file() and "traces.db" not in path.name}

    before = files()
    made = dev.http.post("/evaluate/datasets", json={"datasetId": name, "rows": []})
    assert made.status_code == 400, made.text
    quoted = quote(name, safe="").replace(".", "%2e") or "%20"  # a client would take dots away
    for method, path in (
        ("GET", f"/evaluate/datasets/{quoted}"),
        ("DELETE", f"/evaluate/datasets/{quoted}"),
        ("GET", f"/evaluate/datasets/{quoted}/export"),
        ("POST", f"/evaluate/datasets/{quoted}/rows"),
        ("GET", f"/evaluate/runs/{quoted}"),
        ("DELETE", f"/evaluate/runs/{quoted}"),
        ("GET", f"/evaluate/runs/{quoted}/export"),
        ("GET", f"/evaluate/jobs/{quoted}"),
        ("GET", f"/evaluate/compare?before={quoted}&after=x"),
    ):
        answer = dev.http.request(method, path, json=None if method == "GET" else {}, headers=HTML)
        assert answer.status_code in (400, 404, 405), (method, path, answer.text)
        assert "root:" not in answer.text
    assert files() == before


def test_hostile_text_is_escaped_on_every_page(dev: Dev) -> None:
    row = {name: HOSTILE for name in ("testCaseId", "input", "reference", "output", "extra")}
    make_dataset(dev, "hostile", [{**row, "context": [HOSTILE]}, {"input": {HOSTILE: [HOSTILE]}}], target=HOSTILE)
    one = evaluated(dev, "hostile", "/flow/capital", "lab/says_reference", name=HOSTILE)["runId"]
    two = evaluated(dev, "hostile", None, "lab/says_reference", "lab/words", name=HOSTILE)["runId"]
    for path in (
        "/evaluate",
        "/evaluate/new",
        "/evaluate/datasets/hostile",
        f"/evaluate/runs/{one}",
        f"/evaluate/runs/{two}",
        f"/evaluate/compare?before={one}&after={two}",
        f"/evaluate/runs/{one}?q={quote(HOSTILE)}",
        f"/evaluate/datasets/hostile?q={quote(HOSTILE)}",
        f"/evaluate/new?dataset={quote(HOSTILE)}",
    ):
        page = dev.http.get(path, headers=HTML)
        assert page.status_code == 200, page.text
        for tag in ("<img", "<script>", "alert(2)</script>", "{{49}}"):
            assert tag not in page.text, path
        assert " style=" not in page.text
        assert "onerror=alert(1)>" not in page.text


async def test_every_route_refuses_the_hostile_page(tmp_path: Path) -> None:
    store = TraceStore(tmp_path / "traces.db")
    ui = Ui(tmp_path, tmp_path, store, Hub(), Runtimes(tmp_path), [evaluate.screen])
    guard = Guard(Starlette(routes=list(evaluate.routes(ui))), telemetry_policy(new_token()))
    assert await assert_hostile_requests_are_refused(guard) > 1000
    store.close()


def test_without_an_app_reports_and_datasets_can_be_read(tmp_path: Path) -> None:
    DatasetStore(tmp_path / ".genkit_rag").create("kept", ROWS)
    store = TraceStore(tmp_path / "traces.db")
    with serve_in_thread(dev_app(tmp_path, store, None)) as served, httpx.Client(base_url=served.url) as http:
        assert "kept" in http.get("/evaluate", headers=HTML).text
        assert http.get("/evaluate/datasets/kept", headers=HTML).status_code == 200
        new = http.get("/evaluate/new", headers=HTML)
        assert (new.status_code, "genkit-rag start" in new.text) == (503, True)
    store.close()


def test_a_plan_without_anything_to_do_is_refused() -> None:
    with pytest.raises(GenkitError, match="evaluators"):
        Plan([], None, [])
