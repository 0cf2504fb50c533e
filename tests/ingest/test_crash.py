"""An ingestion that is killed, in another process, and histories of edits and failures."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import hypothesis.strategies as st
import psutil
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, rule

from genkit_rag import Document
from genkit_rag.ingest import IngestOptions, IngestReport, IngestStopped, Splitter, ingest

from .conftest import MemorySink
from .disk_sink import OPTIONS

CHILD = """
import asyncio, sys
from pathlib import Path
from genkit_rag.ingest import IngestOptions, ingest
from disk_sink import OPTIONS, DiskSink
base = Path(sys.argv[1])
sink = DiskSink(base / "index.db", sys.argv[2], int(sys.argv[3]))
asyncio.run(ingest("docs", sink=sink, options=IngestOptions(base=base, **OPTIONS)))
"""


def write_docs(base: Path, version: int) -> None:
    (base / "docs").mkdir(exist_ok=True)
    for number in range(6):
        lines = [f"File {number} paragraph {line} in its version {version * (line % 3 == 0)}." for line in range(9)]
        (base / "docs" / f"{number}.txt").write_text("\n\n".join(([f"New {version}."] * version) + lines))


@pytest.mark.parametrize("point", ["before index", "after index", "before delete", "after delete", "after refresh"])
@pytest.mark.parametrize("at", [1, 3])
def test_a_killed_run_goes_on_where_it_was(tmp_path: Path, point: str, at: int) -> None:
    def run(kill: str = "", at: int = 0) -> int:
        arguments = [sys.executable, "-c", CHILD, str(tmp_path), kill, str(at)]
        tests = str(Path(__file__).parent)
        return subprocess.run(arguments, env={**os.environ, "PYTHONPATH": tests}, timeout=60, check=False).returncode

    write_docs(tmp_path, 0)
    changes = point not in ("before index", "after index")
    if changes:
        assert run() == 0
        write_docs(tmp_path, 1)
        (tmp_path / "docs" / "5.txt").unlink()
    assert run(point, at) == -signal.SIGKILL
    assert run() == 0

    with closing(sqlite3.connect(tmp_path / "index.db")) as db:
        held = set(db.execute("SELECT source, start, text FROM doc"))
        repeated = db.execute("SELECT count(*) - count(DISTINCT id) FROM embedded").fetchone()[0]
    fresh = MemorySink()
    options = IngestOptions(base=tmp_path, name="fresh", **OPTIONS)  # type: ignore[arg-type]
    asyncio.run(ingest("docs", sink=fresh, options=options))
    expected = {(d.metadata["source"], d.metadata["start"], d.text) for d in fresh.documents.values()}
    assert held == expected
    assert repeated == 0


words = st.sampled_from(["alpha", "beta", "gamma", "delta"])
texts = st.lists(st.lists(words, min_size=1, max_size=4).map(" ".join), max_size=5).map("\n\n".join)
names = st.sampled_from(["a.txt", "b.md", "sub/c.txt", "d.jsonl"])


class Histories(RuleBasedStateMachine):
    """Whatever happened before, a run that ends leaves the index as a first run into an empty one would."""

    def __init__(self) -> None:
        super().__init__()
        self.base = Path(tempfile.mkdtemp())
        (self.base / "docs").mkdir()
        self.sink = MemorySink()
        self.runs = 0

    def teardown(self) -> None:
        shutil.rmtree(self.base)

    def ingest(self, sink: MemorySink, name: str = "main", *, dry_run: bool = False) -> IngestReport:
        options = IngestOptions(
            base=self.base, name=name, splitter=Splitter(20, 5, len), batch_size=2, prune=True, dry_run=dry_run
        )
        return asyncio.run(ingest("docs", sink=sink, options=options))

    def check(self) -> None:
        self.runs += 1
        fresh = MemorySink()
        self.ingest(fresh, f"fresh{self.runs}")
        expected = {id: document.to_wire() for id, document in fresh.documents.items()}
        assert {id: document.to_wire() for id, document in self.sink.documents.items()} == expected

    def write(self, name: str, text: str) -> None:
        path = self.base / "docs" / name
        path.parent.mkdir(exist_ok=True)
        if name.endswith("jsonl"):
            text = "\n".join(f'{{"text": "{line}"}}' for line in text.split("\n\n") if line)
        path.write_text(text)

    @rule(files=st.dictionaries(names, texts, min_size=1), gone=st.sets(names))
    def change_and_ingest(self, files: dict[str, str], gone: set[str]) -> None:
        self.change(files, gone)
        self.ingest(self.sink)
        self.check()
        self.sink.embedded.clear()
        report = self.ingest(self.sink)
        assert self.sink.embedded == []
        assert report.added == report.changed == report.removed == 0

    @rule(files=st.dictionaries(names, texts), gone=st.sets(names))
    def change(self, files: dict[str, str], gone: set[str]) -> None:
        for name, text in files.items():
            self.write(name, text)
        for name in gone:
            (self.base / "docs" / name).unlink(missing_ok=True)

    @rule(files=st.dictionaries(names, texts, min_size=1), at=st.integers(1, 4))
    def fail(self, files: dict[str, str], at: int) -> None:
        self.change(files, set())
        self.sink.calls, self.sink.fail_at = 0, at
        with contextlib.suppress(IngestStopped):
            self.ingest(self.sink)
            self.check()
        self.sink.fail_at = None

    @rule(manifest=st.booleans())
    def empty_the_index(self, manifest: bool) -> None:
        self.sink.documents.clear()
        if manifest:
            shutil.rmtree(self.base / ".genkit_rag", ignore_errors=True)

    @rule()
    def plan(self) -> None:
        before = dict(self.sink.documents)
        planned = self.ingest(self.sink, dry_run=True)
        assert self.sink.documents == before
        done = self.ingest(self.sink)
        assert {**planned.to_dict(), "seconds": 0, "dry_run": False} == {**done.to_dict(), "seconds": 0}
        self.check()


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=30, stateful_step_count=8, deadline=None)


async def test_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    text = "Some words of a row. " * 22

    class Null(MemorySink):
        rows = 0
        resident: list[int] = []  # noqa: RUF012

        async def index(self, documents: list[Document]) -> None:
            self.rows += len(documents)
            if self.rows % 12_800 == 0:
                self.resident.append(psutil.Process().memory_info().rss)

    with (tmp_path / "docs" / "big.jsonl").open("w") as file:
        for number in range(100_000):
            file.write(f'{{"id": {number}, "text": "{number} {text}"}}\n')
    assert (tmp_path / "docs" / "big.jsonl").stat().st_size > 45e6
    sink = Null()
    report = await ingest("docs", sink=sink, options=IngestOptions(base=tmp_path))
    assert report.chunks_added == 100_000
    assert sink.resident[-1] - sink.resident[0] < 12e6
