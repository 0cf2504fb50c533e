"""Datasets, judgements and runs as files."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from genkit_rag import Genkit, GenkitError
from genkit_rag._server.datasets import DatasetStore, RunStore, store
from genkit_rag.evaluation import EvalDataPoint, Judgement, load_dataset


@pytest.fixture
def datasets(tmp_path: Path) -> DatasetStore:
    return DatasetStore(tmp_path / ".genkit_rag")


def test_a_dataset_lives_from_creation_to_deletion(datasets: DatasetStore) -> None:
    assert datasets.list() == []
    made = datasets.create("questions", [{"input": "a"}], target="/flow/answer")
    assert (made.version, made.size, made.kind, made.target) == (1, 1, "examples", "/flow/answer")
    more = datasets.append("questions", [{"input": "a"}, EvalDataPoint(input="b", reference=None)])
    assert (more.version, more.size) == (2, 3)
    ids = [row["testCaseId"] for row in more.rows]
    assert len(set(ids)) == 3
    assert more.rows[2]["reference"] is None
    assert datasets.get("questions") == more
    assert datasets.get("questions", 1) == made
    less = datasets.update("questions", more.rows[:1], expected_version=2)
    assert (less.version, less.rows) == (3, more.rows[:1])
    with pytest.raises(GenkitError, match="ABORTED"):
        datasets.update("questions", [], expected_version=2)
    (info,) = datasets.list()
    assert (info.dataset_id, info.version, info.size, hasattr(info, "rows")) == ("questions", 3, 1, False)
    assert [point.input for point in less.points()] == ["a"]
    datasets.delete("questions")
    assert datasets.list() == []
    for gone in (datasets.get, datasets.delete, lambda name: datasets.append(name, [])):
        with pytest.raises(GenkitError, match="NOT_FOUND"):
            gone("questions")


BAD_NAMES = [
    "",
    ".",
    "..",
    "../x",
    "a/b",
    "a\\b",
    "/etc/passwd",
    "C:x",
    "a.json",
    "a b",
    "a\x00b",
    "-rf",
    "_x",
    "~",
    "%2e%2e",
    "a" * 101,
    "con",
    "NUL",
    "lpt1",
    "ä",
    "a\n",
    "a:b",
    "．．",
    None,
    3,
    ["a"],
]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: Any) -> None:
    datasets, runs = DatasetStore(tmp_path / "r"), RunStore(tmp_path / "r")
    for call in (
        datasets.create,
        datasets.get,
        datasets.delete,
        datasets.versions,
        lambda n: datasets.append(n, []),
        lambda n: datasets.update(n, []),
        lambda n: datasets.judge(n, Judgement(query="q", document_id="d")),
        runs.get,
        runs.delete,
    ):
        with pytest.raises(GenkitError, match="INVALID_ARGUMENT"):
            call(name)
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "00000001.json").write_text('{"datasetId": "x", "rows": []}')
    (outside / "run.json").write_text("{}")
    for folder, name in (("datasets", "x"), ("evals", "run.json")):
        (tmp_path / "r" / folder).mkdir(parents=True)
        (tmp_path / "r" / folder / name).symlink_to(outside if name == "x" else outside / name)
    datasets, runs = DatasetStore(tmp_path / "r"), RunStore(tmp_path / "r")
    assert datasets.list() == []
    for call in (datasets.get, datasets.delete, lambda name: datasets.append(name, [])):
        with pytest.raises(GenkitError, match="PERMISSION_DENIED"):
            call("x")
    with pytest.raises(GenkitError, match="PERMISSION_DENIED"):
        runs.get("run")
    assert (outside / "00000001.json").is_file()


def test_judgements_become_a_data_point_for_each_query(datasets: DatasetStore) -> None:
    for query, document, grade in (("cats", "c", 1), ("dogs", "d", 2), ("cats", "d", 0), ("cats", "c", 3)):
        datasets.judge("marks", Judgement(query=query, document_id=document, grade=grade))
    made = datasets.get("marks")
    assert (made.kind, made.size, made.version) == ("judgements", 4, 4)
    assert all(row["createdAt"] for row in made.rows)
    cats, dogs = made.points()
    assert (cats.input, cats.reference) == ("cats", {"relevant": {"c": 3, "d": 0}})
    assert dogs.reference == {"relevant": {"d": 2}}
    with pytest.raises(GenkitError, match=r"\$\.query"):
        datasets.append("marks", [{"input": "a"}])


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ({"input": 1}, "`rows` must be a list"),
        ([{"context": "x"}], r"The row 0.*\$\.context"),
        ([{"input": object()}], "no JSON"),
        ([{"input": "x" * (store.MAX_BYTES + 1)}], "RESOURCE_EXHAUSTED"),
        ([{}] * (store.MAX_ROWS + 1), "RESOURCE_EXHAUSTED"),
    ],
)
def test_rows_that_are_wrong_or_too_many_are_refused_and_change_nothing(
    datasets: DatasetStore, rows: Any, match: str
) -> None:
    before = datasets.create("a", [{"input": 1}])
    for call in (datasets.append, datasets.update, lambda _, rows: datasets.create("b", rows)):
        with pytest.raises(GenkitError, match=match):
            call("a", rows)
    assert datasets.get("a") == before
    assert [info.dataset_id for info in datasets.list()] == ["a"]


def test_a_taken_name_and_a_wrong_kind_are_refused(datasets: DatasetStore) -> None:
    datasets.create("a")
    with pytest.raises(GenkitError, match="ALREADY_EXISTS"):
        datasets.create("a")
    with pytest.raises(GenkitError, match="`kind`"):
        datasets.create("b", kind="other")  # type: ignore[arg-type]


def test_only_so_many_datasets(datasets: DatasetStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MAX_DATASETS", 2)
    datasets.create("a")
    datasets.create("b")
    with pytest.raises(GenkitError, match="RESOURCE_EXHAUSTED"):
        datasets.create("c")
    datasets.delete("a")
    datasets.create("c")


def test_old_versions_go(datasets: DatasetStore) -> None:
    datasets.create("a")
    for number in range(15):
        datasets.append("a", [{"input": number}])
    assert list(datasets.versions("a")) == list(range(7, 17))
    with pytest.raises(GenkitError, match="no version 1"):
        datasets.get("a", 1)


def test_writers_at_the_same_time_lose_no_row(tmp_path: Path) -> None:
    problems: list[BaseException] = []

    def write(name: str) -> None:
        own = DatasetStore(tmp_path)  # as another process would have
        try:
            for number in range(8):
                own.judge("marks", Judgement(query=name, document_id=str(number)))
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=write, args=(f"writer {number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    made = DatasetStore(tmp_path).get("marks")
    assert (made.size, made.version) == (32, 32)
    assert len({(row["query"], row["documentId"]) for row in made.rows}) == 32


def test_a_damaged_file_is_named_and_hides_no_other(datasets: DatasetStore, tmp_path: Path) -> None:
    datasets.create("a")
    datasets.create("b")
    path = tmp_path / ".genkit_rag" / "datasets" / "a" / "00000001.json"
    path.write_text(path.read_text()[:20])
    with pytest.raises(GenkitError, match=r"DATA_LOSS.*'a'"):
        datasets.get("a")
    assert [info.dataset_id for info in datasets.list()] == ["b"]


def test_a_failed_write_leaves_what_was_there(
    datasets: DatasetStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = datasets.create("a", [{"input": 1}])

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", fail)
    with pytest.raises(OSError, match="No space"):
        datasets.append("a", [{"input": 2}])
    assert datasets.get("a") == before
    assert [path.name for path in (tmp_path / ".genkit_rag" / "datasets" / "a").iterdir()] == ["00000001.json"]


@pytest.mark.skipif(os.name == "nt", reason="modes mean nothing there")
def test_files_are_their_owners_alone(datasets: DatasetStore, tmp_path: Path) -> None:
    datasets.create("a")
    paths = [path for path in (tmp_path / ".genkit_rag" / "datasets").rglob("*")]
    assert len(paths) == 2
    assert all(path.stat().st_mode & 0o077 == 0 for path in paths)


def test_the_rows_of_a_dataset_are_a_dataset_file(datasets: DatasetStore, tmp_path: Path) -> None:
    made = datasets.create("a", [{"input": {"x": None}, "reference": [1]}])
    (tmp_path / "rows.json").write_text(json.dumps(made.rows))
    assert load_dataset(tmp_path / "rows.json") == made.points()


class StoreModel(RuleBasedStateMachine):
    """The store agrees with a dict whatever is done in whatever order."""

    names = st.sampled_from(["a", "B", "c-1"])
    rows = st.lists(st.fixed_dictionaries({"input": st.none() | st.integers() | st.text(max_size=3)}), max_size=3)

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.model: dict[str, list[Any]] = {}

    @property
    def store(self) -> DatasetStore:
        return DatasetStore(self.folder.name)  # a new one: nothing is kept in memory

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule(name=names, rows=rows)
    def create(self, name: str, rows: Any) -> None:
        if name in self.model:
            with pytest.raises(GenkitError, match="ALREADY_EXISTS"):
                self.store.create(name, rows)
        else:
            self.store.create(name, rows)
            self.model[name] = [row["input"] for row in rows]

    @rule(name=names, rows=rows)
    def append(self, name: str, rows: Any) -> None:
        self._change(name, lambda: self.store.append(name, rows), lambda: self.model[name] + [r["input"] for r in rows])

    @rule(name=names, rows=rows)
    def update(self, name: str, rows: Any) -> None:
        self._change(name, lambda: self.store.update(name, rows), lambda: [row["input"] for row in rows])

    @rule(name=names)
    def delete(self, name: str) -> None:
        self._change(name, lambda: self.store.delete(name), lambda: None)

    def _change(self, name: str, act: Any, after: Any) -> None:
        if name not in self.model:
            with pytest.raises(GenkitError, match="NOT_FOUND"):
                act()
            return
        act()
        expected = after()
        if expected is None:
            del self.model[name]
        else:
            self.model[name] = expected

    @invariant()
    def agrees(self) -> None:
        assert [info.dataset_id for info in self.store.list()] == sorted(self.model)
        for name, inputs in self.model.items():
            made = self.store.get(name)
            assert [row.get("input") for row in made.rows] == inputs
            assert made.size == len({row["testCaseId"] for row in made.rows}) == len(inputs)


TestStoreModel = StoreModel.TestCase
TestStoreModel.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)


# -- runs


async def test_a_run_is_saved_listed_read_and_deleted(ai: Genkit, tmp_path: Path) -> None:
    runs = RunStore(tmp_path)
    assert runs.list() == []
    reports = [
        await ai.evaluate([{"output": "a", "reference": right}], evaluators=["builtin/exact_match"], name=right)
        for right in ("a", "b")
    ]
    runs.save(reports[0], dataset_id="questions", dataset_version=3)
    runs.save(reports[1])
    runs.save(reports[1])  # again: it is the same run
    listed = {summary.run_id: summary for summary in runs.list()}
    assert listed.keys() == {report.run_id for report in reports}
    assert [run.created_at for run in runs.list()] == sorted((r.created_at for r in reports), reverse=True)
    first = listed[reports[0].run_id]
    assert (first.rows, first.failed, first.dataset_version, first.metrics) == (1, 0, 3, reports[0].metrics)
    assert [run.run_id for run in runs.list("questions")] == [first.run_id]
    assert runs.get(first.run_id).to_wire() == reports[0].to_wire()
    runs.delete(first.run_id)
    assert [run.name for run in runs.list()] == ["b"]
    for gone in (runs.get, runs.delete):
        with pytest.raises(GenkitError, match="NOT_FOUND"):
            gone(first.run_id)
    assert len(list((tmp_path / "evals").iterdir())) == 2


async def test_files_that_are_no_runs_are_passed_over(ai: Genkit, tmp_path: Path) -> None:
    runs = RunStore(tmp_path)
    report = await ai.evaluate([1], evaluators=[])
    runs.save(report)
    for name, text in (("x.summary.json", "{"), ("y.summary.json", "[]"), ("a b.summary.json", "{}"), ("note", "")):
        (tmp_path / "evals" / name).write_text(text)
    assert [run.run_id for run in runs.list()] == [report.run_id]
