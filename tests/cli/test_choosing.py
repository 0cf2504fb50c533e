"""Which model answers when none is named."""

from __future__ import annotations

import pytest

from genkit_rag import GenkitError
from genkit_rag._cli.stores.choosing import choose_model, ollama_address, ollama_models
from genkit_rag._config import ProjectConfig
from tests.cli.conftest import Command
from tests.fakes.ollama_api import FakeOllama
from tests.fakes.openai_api import FakeOpenAI
from tests.fakes.serving import serve

pytestmark = pytest.mark.network


@pytest.fixture(autouse=True)
def _clean_environment(command: Command) -> None:
    """No key and no server, as `command` has it."""


async def test_the_named_model_is_taken() -> None:
    assert (await choose_model(ProjectConfig(), "ollama/llama3.2:1b")).model == "ollama/llama3.2:1b"
    assert (await choose_model(ProjectConfig(), "llama-cpp")).model == "llama-cpp/smollm2-135m"
    with pytest.raises(GenkitError, match="the plugin `minilm` has no models"):
        await choose_model(ProjectConfig(), "minilm/x")


async def test_a_configured_server_goes_before_a_key_and_a_local_server(
    server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    assert (await choose_model(ProjectConfig(), None)).model == "openai/echo"


async def test_a_key_goes_before_a_local_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with serve(FakeOllama().app) as url:
        monkeypatch.setenv("OLLAMA_HOST", url)
        choice = await choose_model(ProjectConfig(), None)
    assert choice.model.startswith("openai/")
    assert "secret" not in choice.reason


async def test_a_running_ollama_goes_before_the_embedded_model(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(FakeOllama().app) as url:
        monkeypatch.setenv("OLLAMA_HOST", url)
        choice = await choose_model(ProjectConfig(), None)
        assert choice.model == "ollama/echo"
        assert ollama_address() in choice.reason
        monkeypatch.setattr("tests.fakes.ollama_api.CAPABILITIES", {"nomic-embed-text:latest": ["embedding"]})
        assert (await choose_model(ProjectConfig(), None)).model == "llama-cpp/smollm2-135m"


async def test_with_nothing_else_the_embedded_model_answers() -> None:
    choice = await choose_model(ProjectConfig(), None)
    assert choice.model == "llama-cpp/smollm2-135m"
    assert "Ollama does not run" in choice.reason


def test_what_is_no_ollama_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(FakeOpenAI().app) as url:
        monkeypatch.setenv("OLLAMA_HOST", url)
        assert ollama_models() is None


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("", "127.0.0.1:11434"),
        ("0.0.0.0:8080", "127.0.0.1:8080"),
        (":9000", "127.0.0.1:9000"),
        ("lan", "lan:11434"),
        ("https://ollama.lan", "ollama.lan:443"),
        ("http://ollama.lan/", "ollama.lan:80"),
    ],
)
def test_ollama_host_may_be_written_in_many_ways(monkeypatch: pytest.MonkeyPatch, given: str, address: str) -> None:
    monkeypatch.setenv("OLLAMA_HOST", given)
    assert ollama_address() == address


def test_a_broken_ollama_host_is_said_and_is_no_failure_of_the_doctor(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:port")
    [finding] = [one for one in command("doctor", "--json").data["findings"] if one["check"] == "ollama"]
    assert finding["state"] == "note"
    assert "OLLAMA_HOST" in finding["found"]
