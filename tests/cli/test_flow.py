"""`genkit-rag flow` and `eval` against apps that run."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.apps import gone, make_project, once, python, running
from tests.cli.conftest import Command

pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project whose app runs."""
    folder = make_project(tmp_path_factory.mktemp("flows"))
    with running("start", "--no-ui", *python("main_app.py"), cwd=folder) as start:
        start.wait_for("Connected: ")
        yield folder
        start.finish(signal.SIGTERM)


@pytest.fixture
def here(command: Command, project: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command, in the project."""
    monkeypatch.chdir(project)
    return command


def test_a_flow_prints_its_result_and_says_its_trace(here: Command) -> None:
    ran = here("flow", "run", "greet", '"Ada"')
    assert (ran.code, ran.out) == (0, "Hello Ada\n")
    assert ran.err.startswith("trace ")


@pytest.mark.parametrize(("given", "result"), [("Ada", "Hello Ada"), ("2024", "Hello 2024"), ('"2024"', "Hello 2024")])
def test_what_is_given_is_a_text_where_the_flow_takes_one(here: Command, given: str, result: str) -> None:
    assert here("flow", "run", "greet", given, "--json").data["result"] == result


def test_input_comes_from_files_and_stdin_too(here: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "name.json").write_text('"Ada"')
    assert here("flow", "run", "greet", f"@{tmp_path / 'name.json'}").out == "Hello Ada\n"
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO('"Bo"'))
    assert here("flow", "run", "greet", "-").out == "Hello Bo\n"
    assert here("flow", "run", "greet", "@nowhere.json").code == 2


def test_chunks_are_printed_as_they_come_then_the_result(here: Command) -> None:
    assert here("flow", "run", "count", "3", "--stream").out == '0 1 2 \n{\n  "n": 3\n}\n'
    lines = [json.loads(line) for line in here("flow", "run", "count", "2", "-s", "--json").out.splitlines()]
    assert lines[:2] == [{"chunk": "0 "}, {"chunk": "1 "}]
    assert (lines[2]["key"], lines[2]["result"]) == ("/flow/count", {"n": 2})


def test_any_action_is_run_by_its_key(here: Command) -> None:
    ran = here("flow", "run", "/retriever/notes", '{"query": {"content": [{"text": "tokens"}]}}', "--json")
    assert ran.data["result"]["documents"][0]["content"] == [{"text": "About tokens"}]


def test_an_action_finds_the_context(here: Command) -> None:
    assert here("flow", "run", "whoami", "null", "--context", '{"user": "ada"}').out == "ada\n"
    assert here("flow", "run", "whoami", "null", "--context", "[1]").code == 2


def test_a_flow_that_fails_fails_with_its_status_and_steers_no_terminal(here: Command) -> None:
    ran = here("flow", "run", "fail", "x", "--json")
    assert ran.code == 1
    assert ran.data["error"]["status"] == "INTERNAL"
    assert "genkit-rag trace show" in ran.data["error"]["hint"]
    ran = here("flow", "run", "fail", "x")
    assert ran.out == ""
    assert "bad ␛]0;title␇ thing" in ran.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("run", "gret", "x"), 1, "Did you mean `greet`?"),
        (("run", "notes", "x"), 1, "Did you mean `/retriever/notes`?"),
        (("run", "/flow/gret", "x"), 1, "/flow/gret"),
        (("run", "count", "{"), 2, "not JSON"),
        (("run", "count", '"x"'), 1, "$"),
        (("rnu",), 2, "run"),
    ],
)
def test_what_cannot_be_run_says_why(here: Command, arguments: tuple[str, ...], code: int, said: str) -> None:
    ran = here("flow", *arguments)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err


def test_flows_are_listed(here: Command) -> None:
    assert "greet   Greets somebody." in here("flow", "list").out
    keys = [one["key"] for one in here("flow", "list", "--all", "--json").data["actions"]]
    assert {"/flow/greet", "/retriever/notes", "/evaluator/in_context"} <= set(keys)


def test_without_an_app_the_code_is_4_and_the_fix_is_how_to_start_one(command: Command) -> None:
    ran = command("flow", "run", "greet", "x", "--json")
    assert ran.code == 4
    assert "genkit-rag start" in ran.data["error"]["hint"]
    assert command("eval", "flow", "greet", "-d", "nowhere.jsonl", "-e", "exact_match").code == 1


def test_a_batch_keeps_the_order_and_leaves_with_3_when_some_rows_failed(here: Command, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("1\n-1\n\n2\n")
    ran = here("flow", "batch", "picky", str(rows), "--label", "nightly")
    assert ran.code == 3
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert [line["input"] for line in lines] == [1, -1, 2]
    assert [line.get("result") for line in lines] == [1, None, 2]
    assert "negative" in lines[1]["error"]["message"]
    assert "row 2: " in ran.err
    rows.write_text("[-1, -2]")
    assert here("flow", "batch", "picky", str(rows)).code == 1
    rows.write_text("[1, 2]")
    target = tmp_path / "done.json"
    ran = here("flow", "batch", "picky", str(rows), "--output", str(target), "--json")
    assert (ran.code, ran.data["rows"], ran.data["failed"]) == (0, 2, 0)
    assert [row["result"] for row in json.loads(target.read_text())] == [1, 2]
    rows.write_text("{\n")
    assert here("flow", "batch", "picky", str(rows)).code == 2
    assert here("flow", "batch", "pick", str(rows)).code == 2


def test_the_label_of_a_batch_stands_on_its_traces(here: Command, tmp_path: Path, project: Path) -> None:
    from genkit_rag._server.telemetry import Condition, TraceQuery, TraceStore

    rows = tmp_path / "rows.json"
    rows.write_text("[5, 6]")
    assert here("flow", "batch", "picky", str(rows), "--label", "labelled").code == 0
    store = TraceStore(project / ".genkit_rag/traces.db")
    try:
        due = time.monotonic() + 10
        query = TraceQuery(where=(Condition("batchRun", "eq", "labelled"),))
        while len(store.list_traces(query).traces) < 2:
            assert time.monotonic() < due
            time.sleep(0.05)
    finally:
        store.close()


def test_ctrl_c_cancels_the_action_in_the_app(project: Path, tmp_path: Path) -> None:
    note = tmp_path / "note.txt"
    with running("flow", "run", "slow", json.dumps(str(note)), cwd=project) as run:
        due = time.monotonic() + 20
        while not (note.exists() and note.read_text() == "running"):
            assert time.monotonic() < due
            time.sleep(0.05)
        assert run.finish(signal.SIGINT) == 130
    while note.read_text() != "running cancelled":
        assert time.monotonic() < due
        time.sleep(0.05)


@pytest.mark.parametrize("script", ["main_app.py", "defs_app.py"])
def test_an_app_is_started_for_one_run_and_ended_with_it(tmp_path: Path, script: str) -> None:
    folder = make_project(tmp_path / "own")
    ran = once("flow", "run", "greet", "Ada", "--json", *python(script), cwd=folder)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["result"] == "Hello Ada"
    assert ("main ran" in ran.stderr) == (script == "main_app.py")
    shown = once("trace", "show", json.loads(ran.stdout)["traceId"], cwd=folder)
    assert "flow greet" in shown.stdout
    assert list((folder / ".genkit/runtimes").iterdir()) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_during_a_run_ends_the_app_that_was_started_for_it(tmp_path: Path, number: int, code: int) -> None:
    folder, note = make_project(tmp_path / "own"), tmp_path / "note.txt"
    with running("flow", "run", "slow", json.dumps(str(note)), *python("main_app.py"), cwd=folder) as run:
        due = time.monotonic() + 20
        while not (note.exists() and note.read_text()):
            assert time.monotonic() < due
            time.sleep(0.05)
        family = run.family()
        assert run.finish(number) == code
    assert gone(family)
    assert "Traceback" not in run.err


def test_a_program_that_ends_before_it_can_be_seen_is_code_4(tmp_path: Path) -> None:
    ran = once("flow", "run", "greet", "x", *python("-c", "raise SystemExit(9)"), cwd=tmp_path)
    assert ran.returncode == 4
    assert "ended with code 9" in ran.stderr


# -- evaluation


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    rows = [{"input": name, "reference": f"Hello {name}", "testCaseId": name} for name in ("Ada", "Bo", "Cy")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_flow_is_evaluated_reported_kept_and_shown(here: Command, questions: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    ran = here("eval", "flow", "greet", "-d", str(questions), "-e", "exact_match", "--output", str(page), "--json")
    assert ran.code == 0, ran.err
    report: dict[str, Any] = ran.data
    assert (report["target"], report["metrics"][0]["mean"]) == ("/flow/greet", 1.0)
    assert [row["dataPoint"]["output"] for row in report["rows"]] == ["Hello Ada", "Hello Bo", "Hello Cy"]
    assert all(len(row["dataPoint"]["traceIds"][0]) == 32 for row in report["rows"])
    assert page.read_text().lower().startswith("<!doctype html>")
    assert here("eval", "list", "--json").data["evaluations"][0]["runId"] == report["runId"]
    assert here("eval", "show", report["runId"][:8], "--json").data == report
    assert "builtin/exact_match" in here("eval", "show", "last").out


def test_evaluators_of_the_app_see_what_its_retrievers_found(here: Command, questions: Path) -> None:
    ran = here("eval", "flow", "answer", "-d", str(questions), "-e", "in_context", "--json")
    assert ran.code == 0, ran.err
    assert [row["dataPoint"]["context"] for row in ran.data["rows"]] == [["About Ada"], ["About Bo"], ["About Cy"]]
    assert ran.data["metrics"][0]["passed"] == 3


def test_a_retriever_is_evaluated_on_plain_questions(here: Command, tmp_path: Path) -> None:
    path = tmp_path / "judged.json"
    path.write_text(json.dumps([{"input": "a", "reference": ["doc-a"]}, {"input": "b", "reference": ["doc-c"]}]))
    ran = here("eval", "flow", "/retriever/notes", "-d", str(path), "-e", "recall@5", "--json")
    assert ran.code == 0, ran.err
    assert [row["scores"]["builtin/recall@5"]["score"] for row in ran.data["rows"]] == [1.0, 0.0]


def test_rows_that_fail_make_the_code_3_and_all_of_them_1(here: Command, tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"input": 1, "reference": "1"}, {"input": -1, "reference": "1"}]))
    assert here("eval", "flow", "picky", "-d", str(path), "-e", "exact_match").code == 3
    path.write_text(json.dumps([{"input": -1}, {"input": -2}]))
    assert here("eval", "flow", "picky", "-d", str(path), "-e", "exact_match").code == 1


def test_strict_fails_for_a_fail(here: Command, tmp_path: Path) -> None:
    path = tmp_path / "outputs.json"
    path.write_text(json.dumps([{"output": "a", "reference": "a"}, {"output": "a", "reference": "b"}]))
    assert here("eval", "run", str(path), "-e", "exact_match").code == 0
    assert here("eval", "run", str(path), "-e", "exact_match", "--strict").code == 1


def test_existing_outputs_are_scored_without_an_app(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "outputs.jsonl"
    path.write_text('{"output": "a", "reference": "a"}\n')
    ran = command("eval", "run", str(path), "-e", "exact_match,contains", "--json")
    assert ran.code == 0, ran.err
    assert [metric["mean"] for metric in ran.data["metrics"]] == [1.0, 1.0]
    ran = command("eval", "run", str(path), "-e", "exact_mach")
    assert ran.code == 1
    assert "Did you mean `builtin/exact_match`?" in ran.err
    assert command("eval", "run", str(path), "-e", "faithfulness").code == 4  # a judge asks the app's model
    assert command("eval", "run", str(path), "-e", "exact_match", "-o", "x.pdf").code == 2
    assert command("eval", "run", str(path), "-e", ",").code == 2


def test_two_evaluations_are_compared_and_a_regression_can_fail(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "outputs.json"
    ids = []
    for wrong in (0, 8):
        rows = [{"testCaseId": str(n), "output": "b" if n < wrong else "a", "reference": "a"} for n in range(10)]
        path.write_text(json.dumps(rows))
        ids.append(command("eval", "run", str(path), "-e", "exact_match", "--json").data["runId"])
    worse = command("eval", "compare", *ids, "--fail-on-regression", "--json")
    assert worse.code == 1
    [metric] = worse.data["metrics"]
    assert metric["delta"] == pytest.approx(-0.8)
    assert metric["high"] < 0
    assert worse.data["worse"] == ["builtin/exact_match -0.800"]
    assert command("eval", "compare", *ids).code == 0
    met = command(
        "eval", "compare", *ids, "--fail-if", "exact_match < -0.9", "--fail-if", "exact_match < -0.01", "--json"
    )
    assert (met.code, met.data["met"]) == (1, ["exact_match < -0.01"])
    assert command("eval", "compare", *ids, "--fail-if", "exact_match > 0").code == 0
    assert "`condition`" in command("eval", "compare", *ids, "--fail-if", "exact_match is worse").err
    assert command("eval", "compare", *reversed(ids), "--fail-on-regression").code == 0
    assert command("eval", "compare", ids[0], "nothing").code == 1


def test_a_stored_dataset_is_used_by_its_id_and_a_misspelt_one_guessed(command: Command, tmp_path: Path) -> None:
    from genkit_rag._server.datasets import DatasetStore

    DatasetStore(tmp_path / ".genkit_rag").create("answers", [{"output": "a", "reference": "a"}])
    ran = command("eval", "run", "answers", "-e", "exact_match")
    assert ran.code == 0, ran.err
    assert command("eval", "list", "--json").data["evaluations"][0]["datasetId"] == "answers"
    assert "answers" in command("eval", "list", "--datasets").out
    assert "Did you mean `answers`?" in command("eval", "run", "anwsers", "-e", "exact_match").err


def test_completion_offers_what_the_running_app_has(here: Command, project: Path) -> None:
    def offered(words: str, shell: str) -> list[str]:
        more = {"_GENKIT_RAG_COMPLETE": f"complete_{shell}"}
        if shell == "fish":
            more |= {"_TYPER_COMPLETE_FISH_ACTION": "get-args"}
        more |= {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1), "_TYPER_COMPLETE_ARGS": words}
        done = once(cwd=project, **more)
        return [line.split("\t")[0] for line in done.stdout.split()]

    assert offered("genkit-rag flow run gr", "bash") == ["greet"]
    assert "/retriever/notes" in offered("genkit-rag flow run /re", "bash")
    assert "greet" in " ".join(offered("genkit-rag flow run gr", "zsh"))
    assert "greet" in offered("genkit-rag flow run gr", "fish")
    assert "batch" in offered("genkit-rag flow b", "bash")
    assert "in_context" in offered("genkit-rag eval flow greet --evaluators in_", "bash")
