"""`store reindex` and `store salvage` through the whole stack: the real store, real HTTP servers as embedders."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import Response

from tests.cli.conftest import Command, Ran
from tests.cli.terminal import COMMAND, spawn
from tests.fakes.ollama_api import FakeOllama
from tests.fakes.openai_api import FakeOpenAI
from tests.fakes.serving import serve

pytestmark = pytest.mark.network

OLD, NEW = "openai/text-embedding-3-small", "ollama/nomic-embed-text"


@pytest.fixture
def ollama(command: Command, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeOllama]:
    fake = FakeOllama()
    with serve(fake.app) as url:
        monkeypatch.setenv("OLLAMA_HOST", url)
        yield fake


def test_a_store_gets_another_embedder_and_is_searched_with_it_at_once(
    command: Command, filled: Ran, server: FakeOpenAI, ollama: FakeOllama
) -> None:
    server.requests.clear()
    ran = command("store", "reindex", "--embedder", NEW, "--json")
    assert ran.code == 0, ran.err
    assert (ran.data["store"], ran.data["documents"], ran.data["embedder"]) == ("docs", 3, NEW)
    assert ran.data["before"].startswith(OLD)
    assert ran.data["after"].startswith(NEW)
    assert command("store", "stats", "--json").data["embedder"].startswith(NEW)
    assert command("store", "verify", "--json").data["ok"] is True
    found = command("query", "tokens are renewed", "--mode", "vector", "--json")
    assert found.code == 0, found.err
    assert "renewed" in found.out
    assert server.requests == []  # the old embedder is not asked for anything


def test_the_next_ingest_embeds_only_what_is_new(command: Command, filled: Ran, ollama: FakeOllama, docs: Path) -> None:
    command("store", "reindex", "--embedder", NEW)
    ollama.requests.clear()
    again = command("ingest", str(docs), "--json").data
    assert (again["unchanged"], again["chunks_added"]) == (3, 0)
    assert ollama.requests == []
    (docs / "more.txt").write_text("More.")
    again = command("ingest", str(docs), "--json").data
    assert (again["unchanged"], again["added"], again["chunks_added"]) == (3, 1, 1)


def test_the_same_embedder_is_refused_unless_forced(command: Command, filled: Ran, server: FakeOpenAI) -> None:
    ran = command("store", "reindex", "--json")
    assert (ran.code, ran.data["error"]["status"]) == (1, "FAILED_PRECONDITION")
    assert "--force" in ran.data["error"]["hint"]
    server.requests.clear()
    forced = command("store", "reindex", "--force", "--batch-size", "2", "--json")
    assert (forced.code, forced.data["documents"]) == (0, 3), forced.err
    assert sorted(len(body["input"]) for body in server.requests)[-2:] == [1, 2]


def test_an_empty_store_and_one_that_is_not_there_are_refused(
    command: Command, filled: Ran, ollama: FakeOllama, docs: Path
) -> None:
    for path in docs.iterdir():
        path.unlink()
    command("ingest", str(docs), "--prune")
    ran = command("store", "reindex", "--embedder", NEW, "--json")
    assert "empty" in ran.data["error"]["message"]
    ran = command("store", "reindex", "--store", "dosc", "--embedder", NEW, "--json")
    assert ran.data["error"]["status"] == "NOT_FOUND"
    assert command("store", "reindex", "--embedder", "nothing/here").code == 2


def test_an_embedder_that_fails_leaves_the_old_vectors_in_force(
    command: Command, filled: Ran, server: FakeOpenAI
) -> None:
    ran = command("store", "reindex", "--embedder", "openai/no-such-model", "--json")
    assert (ran.code, ran.data["error"]["status"]) == (1, "NOT_FOUND")
    assert command("store", "stats", "--json").data["embedder"].startswith(OLD)
    assert command("query", "tokens", "--mode", "vector", "--json").code == 0


class StallingOllama(FakeOllama):
    """Answers the first calls of an embedder; then it says that it was reached, and hangs."""

    def __init__(self, answered: int) -> None:
        super().__init__()
        self.answered = answered
        self.reached = threading.Event()
        self.gone = threading.Event()

    async def _embed(self, request: Request) -> Response:
        response = await super()._embed(request)
        if len(self.requests) > self.answered:
            self.reached.set()
            await asyncio.to_thread(self.gone.wait, 30)
        return response


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_run_changes_nothing_and_the_next_one_goes_on(
    command: Command, server: FakeOpenAI, tmp_path: Path, sent: signal.Signals
) -> None:
    (tmp_path / "many").mkdir()
    for number in range(60):
        (tmp_path / "many" / f"{number}.txt").write_text(f"File number {number}.")
    assert command("ingest", "many", "--embedder", OLD).code == 0
    slow = StallingOllama(answered=5)
    with serve(slow.app) as url:
        env = {**os.environ, "OLLAMA_HOST": url}
        arguments = [*COMMAND, "store", "reindex", "--embedder", NEW, "--batch-size", "10", "--json"]
        with subprocess.Popen(arguments, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
            assert slow.reached.wait(30)
            run.send_signal(sent)
            out, err = run.communicate(timeout=30)
        slow.gone.set()
        assert out == b""
        if sent == signal.SIGINT:
            assert run.returncode == 130
            assert b"Interrupted." in err
        assert command("store", "stats", "--json").data["embedder"].startswith(OLD)
        assert command("query", "file", "--mode", "vector").code == 0
        slow.answered = 1000
        slow.requests.clear()
        report = json.loads(subprocess.check_output(arguments, cwd=tmp_path, env=env))
    assert report["documents"] == 60
    embedded = [text for body in slow.requests for text in body["input"] if text != "probe"]
    assert len(embedded) == 30  # three batches of ten were there; two probes came before them
    assert command("store", "verify").code == 0


def test_on_a_terminal_there_is_a_bar(command: Command, filled: Ran, ollama: FakeOllama, tmp_path: Path) -> None:
    code, printed = spawn("store", "reindex", "--embedder", NEW, cwd=tmp_path)
    assert code == 0
    assert b"3/3" in printed
    assert b"3 passages have vectors of ollama/nomic-embed-text now" in printed


# ---- salvage


def test_what_is_undamaged_is_saved_into_a_new_store(command: Command, filled: Ran, server: FakeOpenAI) -> None:
    db = sqlite3.connect(".genkit_rag/faiss/docs/store.db")
    db.execute("UPDATE doc SET content = 'rot' WHERE seq = (SELECT max(seq) FROM doc)")
    db.commit()
    db.close()
    checked = command("store", "verify")
    assert checked.code == 1
    assert "store salvage --store docs --to NEW" in checked.err
    ran = command("store", "salvage", "--to", "docs2", "--json")
    assert ran.code == 0, ran.err
    assert (ran.data["copied"], ran.data["lost"], ran.data["to"]) == (2, 1, "docs2")
    assert command("store", "verify", "--store", "docs2").code == 0
    assert command("store", "stats", "--store", "docs2", "--json").data["embedder"].startswith(OLD)
    assert command("query", "tokens", "--store", "docs2", "--mode", "vector").code == 0


def test_a_salvage_takes_a_new_name_and_a_store_that_is_there(command: Command, filled: Ran) -> None:
    ran = command("store", "salvage", "--to", "docs", "--json")
    assert (ran.code, ran.data["error"]["status"]) == (1, "FAILED_PRECONDITION")
    ran = command("store", "salvage", "--store", "dosc", "--to", "new", "--json")
    assert (ran.code, ran.data["error"]["status"]) == (1, "NOT_FOUND")
    assert "docs" in ran.data["error"]["hint"]
    assert command("store", "salvage", "--to", "../away").code == 1
    assert command("store", "salvage").code == 2
    assert not list(Path().glob("*away*"))
