"""`genkit-rag config show`, and what `doctor` says of the developer tools."""

from __future__ import annotations

import json
import re
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from genkit_rag._cli.doctor.config import ENVIRONMENT, HIDDEN
from genkit_rag._server.telemetry import TraceStore
from tests.cli.conftest import Command, Ran
from tests.fakes.openai_api import FakeOpenAI
from tests.fakes.serving import closed_port

ROOT = Path(__file__).parents[2]


def settings(ran: Ran) -> dict[str, Any]:
    assert ran.code == 0, ran.err
    return {one["name"]: (one["value"], one["source"], one["where"]) for one in ran.data["settings"]}


def test_every_setting_says_where_it_comes_from(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = settings(command("config", "show", "--json"))
    assert found["stores"] == (str(tmp_path / ".genkit_rag"), "default", None)
    assert found["embedder"][:2] == ("minilm/all-minilm-l6-v2", "default")
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setenv("GENKIT_RAG_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GENKIT_RAG_MODEL", "ollama/llama3.2")
    found = settings(command("config", "show", "--json"))
    assert found["project root"] == (str(tmp_path), "file", str(tmp_path / "pyproject.toml"))
    assert found["stores"] == (str(tmp_path / "elsewhere"), "environment", "GENKIT_RAG_DIR")
    assert found["traces and evaluations"][0] == str(tmp_path / "elsewhere")
    assert found["GENKIT_RAG_MODEL"] == ("ollama/llama3.2", "environment", "GENKIT_RAG_MODEL")
    found = settings(command("config", "show", "--json", "--dir", "given"))
    assert found["stores"] == (str(tmp_path / "given"), "option", "--dir")


@pytest.mark.network
def test_the_embedder_of_a_store_comes_from_its_file(command: Command, filled: Ran) -> None:
    value, source, where = settings(command("config", "show", "--set", "--json"))["embedder"]
    assert "text-embedding-3-small" in value
    assert source == "file"
    assert where.endswith("docs")


def test_no_secret_is_shown(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENVIRONMENT:
        if re.search("KEY|TOKEN|HEADERS", name):
            monkeypatch.setenv(name, "canary-secret-value")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://ada:canary-secret-value@example.com/v1?api_key=canary-secret-value")
    monkeypatch.setenv("DATABASE_URL", "postgresql://ada:canary-secret-value@localhost/x")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "https://canary-secret-value@collector.example.com")
    for arguments in ((), ("--json",), ("--set",)):
        ran = command("config", "show", *arguments)
        assert "canary" not in ran.out + ran.err
    assert HIDDEN in ran.out


def test_every_variable_that_the_code_reads_is_a_setting() -> None:
    shelves = ("genkit_rag", "embedders", "indexers", "retrievers", "rerankers", "models")
    source = "\n".join(path.read_text() for shelf in shelves for path in (ROOT / shelf).rglob("*.py"))
    read = set(re.findall(r'environ(?:\.get)?[(\[]\s*"([A-Z_0-9]+)"', source)) - {"CI", "DISPLAY", "WAYLAND_DISPLAY"}
    assert len(read) > 10
    assert read - ENVIRONMENT.keys() - {"GENKIT_RAG_CACHE", "GENKIT_RAG_DIR"} == set()


# -- doctor


def finding(command: Command, check: str) -> dict[str, Any]:
    found: dict[str, Any]
    [found] = [one for one in command("doctor", "--json").data["findings"] if one["check"] == check]
    return found


@pytest.mark.network
def test_doctor_names_the_extra_of_the_developer_tools(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert finding(command, "developer tools")["state"] == "ok"
    monkeypatch.setitem(sys.modules, "jinja2", None)
    found = finding(command, "developer tools")
    assert (found["state"], found["fix"]) == ("note", 'pip install "genkit-rag[dev]"')
    assert "jinja2" in found["found"]


@pytest.mark.network
def test_doctor_notes_a_port_in_use(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr("genkit_rag._cli.apps.start.FIRST_PORT", taken.getsockname()[1])
        assert "--port" in finding(command, "port")["fix"]
    monkeypatch.setattr("genkit_rag._cli.apps.start.FIRST_PORT", closed_port())
    assert finding(command, "port")["state"] == "ok"


@pytest.mark.network
def test_doctor_finds_the_files_of_apps_that_are_gone(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / ".genkit/runtimes"
    folder.mkdir(parents=True)
    (folder / "old.json").write_text(json.dumps({"reflectionServerUrl": f"http://127.0.0.1:{closed_port()}"}))
    (folder / "broken.json").write_text("{")
    found = finding(command, "runtime files")
    assert found["state"] == "note"
    assert "2 left behind" in found["found"]
    assert str(folder / "old.json") in found["fix"]


@pytest.mark.network
def test_doctor_looks_into_the_trace_store(command: Command, tmp_path: Path) -> None:
    path = tmp_path / ".genkit_rag/traces.db"
    assert finding(command, "traces")["state"] == "ok"
    assert not path.exists()
    TraceStore(path).close()
    assert "0 traces" in finding(command, "traces")["found"]
    path.chmod(0o644)
    assert finding(command, "traces")["fix"] == f"chmod 600 '{path}'"
    path.write_bytes(b"nonsense" * 1000)
    assert finding(command, "traces")["state"] == "broken"


@pytest.mark.network
def test_doctor_says_whether_the_provider_can_be_reached(
    command: Command, server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert finding(command, "provider")["state"] == "ok"
    for address in (f"http://127.0.0.1:{closed_port()}/v1", "http://nowhere.invalid/v1", "http://[", "nonsense"):
        monkeypatch.setenv("OPENAI_BASE_URL", address)
        found = finding(command, "provider")
        assert found["state"] == "note", address
        assert "OPENAI_BASE_URL" in found["fix"] + found["found"]
