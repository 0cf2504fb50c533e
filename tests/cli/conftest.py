"""The command in this process, over a folder of its own and a local server with OpenAI's protocol."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from genkit_rag._cli import main
from tests.fakes.openai_api import FakeOpenAI
from tests.fakes.serving import closed_port, serve

HOSTILE = (
    "\x1b[31mred\x1b[0m \x1b]8;;http://evil\x07link\x1b]8;;\x07 \x1b]52;c;aGk=\x07 \x9b2J over\rwrite "
    "\u202eesrever [red]b[/red]"
)


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Ran]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command in an empty folder, where no key, no server and no colour is set."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "OPENAI_API_KEY",
        "OPENAI_BASE_URL",
        "GENKIT_RAG_CONFIG",
        "GENKIT_RAG_DIR",
        "GENKIT_RAG_MODEL",
        "GENKIT_RAG_DEBUG",
        "FORCE_COLOR",
        "NO_COLOR",
        "COLUMNS",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{closed_port()}")

    def run(*arguments: str) -> Ran:
        with pytest.raises(SystemExit) as left:
            main(arguments)
        said = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return Ran(left.value.code, said.out, said.err)

    return run


@pytest.fixture
def server(command: Command, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeOpenAI]:
    """A server with embedders and models, which the command finds by its environment."""
    fake = FakeOpenAI()
    with serve(fake.app) as url:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{url}/v1")
        yield fake


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """Three files: Markdown, plain text, and one that tries to steer the terminal."""
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "auth.md").write_text("# Access\n\nTokens are renewed every hour.\n")
    (folder / "terms.txt").write_text("Refunds are paid within fourteen days.\n")
    (folder / "hostile.txt").write_text(f"Sneaky words: {HOSTILE}\n")
    return folder


@pytest.fixture
def filled(command: Command, server: FakeOpenAI, docs: Path) -> Ran:
    """The store `docs`, filled through the server's embedder."""
    ran = command("ingest", str(docs), "--embedder", "openai/text-embedding-3-small", "--json")
    assert ran.code == 0, ran.err
    return ran
