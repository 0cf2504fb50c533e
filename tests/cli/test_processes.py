"""The command as a process: terminals, pipes, interruptions, real models."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import Response

from tests.cli.conftest import Command, Ran
from tests.cli.terminal import COMMAND, spawn
from tests.fakes.openai_api import FakeOpenAI
from tests.fakes.serving import serve
from tests.weights.conftest import TINY, cache, tiny_hub  # noqa: F401 - fixtures

EMBEDDER = ("--embedder", "openai/text-embedding-3-small")


class StallingServer(FakeOpenAI):
    """Answers the first calls of an embedder; then it says that it was reached, and hangs."""

    def __init__(self, answered: int) -> None:
        super().__init__()
        self.answered = answered
        self.reached = threading.Event()

    async def _embeddings(self, request: Request) -> Response:
        response = await super()._embeddings(request)
        if len(self.requests) > self.answered:
            self.reached.set()
            await asyncio.sleep(60)
        return response


@pytest.mark.network
def test_an_interrupted_ingest_keeps_what_was_done_and_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(600):
        (folder / f"{number}.txt").write_text(f"File number {number}.")
    slow = StallingServer(answered=2)
    with serve(slow.app) as url:
        env = {**os.environ, "OPENAI_BASE_URL": f"{url}/v1"}
        arguments = [*COMMAND, "ingest", "many", *EMBEDDER, "--json"]
        with subprocess.Popen(arguments, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
            assert slow.reached.wait(30)
            run.send_signal(signal.SIGINT)
            out, err = run.communicate(timeout=30)
        assert (run.returncode, out) == (130, b"")
        assert b"Interrupted." in err
        assert b"Traceback" not in err
        checked = json.loads(subprocess.check_output([*COMMAND, "store", "verify", "--json"], cwd=tmp_path))
        assert checked["ok"] is True
        assert 0 < checked["documents"] < 600
        slow.answered = 1000
        report = json.loads(subprocess.check_output(arguments, cwd=tmp_path, env=env))
    assert report["added"] + report["unchanged"] + report["changed"] == 600
    assert report["chunks_added"] == 600 - checked["documents"]


@pytest.mark.network
def test_on_a_terminal_an_ingest_has_a_bar_and_nothing_of_a_document_steers_it(
    command: Command, server: FakeOpenAI, docs: Path, tmp_path: Path
) -> None:
    (docs / "x\x1b]0;title\x07.txt").write_text("Sneaky \x1b]52;c;aGk=\x07 words.")
    code, printed = spawn("ingest", "docs", *EMBEDDER, cwd=tmp_path)
    assert code == 0
    assert b"\x1b[2K" in printed  # the bar's line is drawn anew
    assert b"4/4 files" in printed
    code, found = spawn("query", "sneaky", cwd=tmp_path)
    assert code == 0
    assert b"\x1b[1;33mSneaky\x1b[0m" in found
    code, answered = spawn("ask", "sneaky", "--model", "openai/echo", cwd=tmp_path)
    assert code == 0
    for text in (printed, found, answered):
        assert b"\x1b]" not in text
        assert b"\x07" not in text
        assert "\x9b".encode() not in text


@pytest.mark.network
def test_in_a_pipe_an_ingest_prints_plain_lines(server: FakeOpenAI, docs: Path, tmp_path: Path) -> None:
    ran = subprocess.run([*COMMAND, "ingest", "docs", *EMBEDDER], cwd=tmp_path, capture_output=True, check=True)
    assert b"3 files to look at" in ran.stderr
    assert b"\x1b" not in ran.stdout + ran.stderr
    assert b"\r" not in ran.stdout + ran.stderr


def test_a_terminal_gets_colours_and_no_color_takes_them_away() -> None:
    code, coloured = spawn("models", "list")
    assert code == 0
    assert b"\x1b[" in coloured
    for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        code, plain = spawn("models", "list", **environment)
        assert code == 0
        assert b"all-minilm-l6-v2" in plain
        assert b"\x1b" not in plain


def test_letters_that_the_terminal_lacks_do_not_end_the_command(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    arguments = [*COMMAND, "query", "olá", "--store", "não", "--json"]
    ran = subprocess.run(arguments, capture_output=True, env=environment, cwd=tmp_path, check=False)
    assert ran.returncode == 1
    assert json.loads(ran.stdout)["error"]["status"] == "NOT_FOUND"


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    arguments = [*COMMAND, "models", "list", "--json"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert said == b""


@pytest.mark.parametrize(
    ("closed", "arguments", "code"),
    [(">&-", "models list", 0), (">&-", "models path nowhere", 1), ("<&-", "query -", 2), ("2>&-", "query -", 2)],
)
def test_a_closed_standard_stream_changes_no_exit_code(tmp_path: Path, closed: str, arguments: str, code: int) -> None:
    script = f'"$@" {arguments} {closed}'
    ran = subprocess.run(
        ["sh", "-c", script, "sh", *COMMAND], capture_output=True, stdin=subprocess.DEVNULL, cwd=tmp_path, check=False
    )
    assert ran.returncode == code, ran.stderr
    assert b"This is a defect" not in ran.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    "arguments", [["models", "list"], ["models", "list", "--json"], ["models", "path", "x", "--json"]]
)
def test_a_full_disk_behind_stdout_is_said_without_a_traceback(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run([*COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, check=False)
    assert ran.returncode == 1
    assert ran.stderr.startswith(b"error: ")
    assert b"Traceback" not in ran.stderr
    assert b"Exception ignored" not in ran.stderr


def test_help_imports_no_engine() -> None:
    code = (
        "import sys\nfrom genkit_rag._cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'pydantic', 'numpy', 'faiss', 'tantivy', 'onnxruntime', 'httpx', 'xllamacpp', 'rich'}\n"
        "heavy &= set(sys.modules)\n"
        "sys.stderr.write(repr(sorted(heavy)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert ran.stderr == b"[]"


@pytest.mark.network
def test_models_are_pulled_checked_found_and_removed(command: Command, cache: Path, tiny_hub: object) -> None:  # noqa: F811
    ran = command("models", "pull", "tiny", "--source", "hub", "--json")
    assert ran.code == 0
    assert ran.data == {"pulled": [{"name": "tiny", "path": str(cache)}]}
    assert "tiny: 293 KiB of 293 KiB" in ran.err
    assert "\x1b" not in ran.err
    assert command("models", "path", "tiny").out == f"{cache}\n"
    assert command("models", "verify", "tiny").out == "tiny: undamaged\n"
    (cache / "model.bin").write_bytes(bytes(TINY.files[0].size))
    damaged = command("models", "verify", "--json")
    assert damaged.code == 1
    assert [(one["name"], one["ok"]) for one in damaged.data["verified"]] == [("tiny", False)]
    assert command("models", "remove", "tiny", "--json").data["freed_bytes"] >= TINY.size
    assert command("models", "path", "tiny").code == 1


@pytest.mark.weights("all-minilm-l6-v2")
def test_a_local_model_finds_by_meaning(command: Command, docs: Path) -> None:
    assert command("ingest", str(docs)).code == 0
    hits = command("query", "How long until I get my money back?", "--mode", "vector", "--json").data["hits"]
    assert hits[0]["source"] == "docs/terms.txt"
    again = command("query", "money back", "--rerank", "late-interaction", "--json").data["hits"]
    assert again[0]["source"] == "docs/terms.txt"
    assert "late-interaction/all-minilm-l6-v2" in again[0]["stages"]


@pytest.mark.network
@pytest.mark.weights("smollm2-135m", "all-minilm-l6-v2")
def test_without_a_key_and_a_server_the_embedded_model_answers(command: Command, docs: Path) -> None:
    assert command("ingest", str(docs)).code == 0
    ran: Ran = command("ask", "When are refunds paid?")
    assert ran.code == 0
    assert "llama-cpp/smollm2-135m (embedded: no API key is set and Ollama does not run)" in ran.err
    answer, _, passages = ran.out.partition("\n\n")
    written = {"Refunds are paid within fourteen days.", "Tokens are renewed every hour."}
    assert answer[:-4] in written  # it quotes, and cites what it quotes
    assert answer[-3:] == passages[:3]
