"""Help, errors, exit codes and streams: what holds for every command."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Command

COMMANDS = [
    "ingest",
    "query",
    "ask",
    "doctor",
    "store",
    "store stats",
    "store verify",
    "models",
    "models list",
    "models pull",
    "models path",
    "models verify",
    "models remove",
    "start",
    "flow",
    "flow run",
    "flow list",
    "flow batch",
    "eval",
    "eval flow",
    "eval run",
    "eval list",
    "eval show",
    "eval compare",
    "trace",
    "trace list",
    "trace show",
    "trace tail",
    "config",
    "config show",
]
WORDS = "genkit-rag "


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(command: Command, name: str) -> None:
    ran = command(*name.split(), "--help")
    assert ran.code == 0
    assert "Examples:" in ran.out
    assert f"{WORDS}{name}" in ran.out.partition("Examples:")[2]
    assert "\x1b" not in ran.out


def test_without_arguments_the_help_is_shown(command: Command) -> None:
    ran = command()
    assert (ran.code, ran.err) == (0, "")
    assert all(name in ran.out for name in ("ingest", "query", "ask", "doctor"))


def test_version_is_the_installed_one(command: Command) -> None:
    from importlib.metadata import version

    assert command("--version").out == f"genkit-rag {version('genkit-rag')}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("qurey", "x"), "query"),
        (("query",), "text"),
        (("query", "x", "--foo"), "--foo"),
        (("query", "x", "--k", "0"), "--k"),
        (("query", "x", "--mode", "guess"), "hybrid"),
        (("query", "x", "--mode", "vectro"), "Did you mean `vector`?"),
        (("strat",), "'start'"),
        (("trace", "list", "--status", "eror"), "Did you mean `error`?"),
        (("trace", "list", "--since", "soon"), "30s"),
        (("trace", "list", "--limi", "3"), "--limit"),
        (("query", "  "), "empty"),
        (("query", "x", "--filter", "{"), "JSON"),
        (("query", "x", "--filter", '{"a": {"$near": 1}}'), "$near"),
        (("query", "x", "--filter", "[1]"), "--filter"),
        (("query", "x", "--rerank", "late-interacton/x"), "late-interaction"),
        (("ingest", ".", "--chunk-tokens", "10", "--overlap", "10"), "--overlap"),
        (("models", "pull"), "names"),
        (("store",), "command"),
    ],
)
def test_wrong_usage_says_what_and_leaves_with_2(command: Command, arguments: tuple[str, ...], said: str) -> None:
    ran = command(*arguments)
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.startswith("error: ")
    assert said in ran.err
    assert "\nfix: " in ran.err


@pytest.mark.parametrize(
    "arguments",
    [("query", "x", "--foo"), ("query", ""), ("query", "x", "--filter", "{"), ("query", "x", "--rerank", "?")],
)
def test_wrong_usage_is_json_where_that_was_asked_for(command: Command, arguments: tuple[str, ...]) -> None:
    ran = command(*arguments, "--json")
    assert ran.code == 2
    error = ran.data["error"]
    assert error["status"] == "INVALID_ARGUMENT"
    assert error["message"]
    assert error["hint"]


@pytest.mark.parametrize("name", ["query x", "ask x", "store stats", "store verify"])
def test_a_store_that_is_not_there_is_an_error_and_is_not_made(command: Command, name: str) -> None:
    ran = command(*name.split(), "--json")
    assert ran.code == 1
    assert ran.data["error"]["status"] == "NOT_FOUND"
    assert "genkit-rag ingest" in ran.data["error"]["hint"]
    assert not Path(".genkit_rag").exists()


def test_a_misspelt_store_is_guessed(command: Command) -> None:
    (Path(".genkit_rag/faiss/handbook")).mkdir(parents=True)
    Path(".genkit_rag/faiss/handbook/FORMAT").write_text('{"format": 1, "min_reader": 1}')
    assert "Did you mean `handbook`?" in command("query", "x", "--store", "handbok").err


def test_a_path_that_is_not_there_fails(command: Command) -> None:
    ran = command("ingest", "nowhere", "--json")
    assert ran.code == 1
    assert ran.data["error"]["status"] == "NOT_FOUND"
    assert "nowhere" in ran.err


def test_weights_that_nobody_knows_fail_with_those_there_are(command: Command) -> None:
    ran = command("models", "pull", "gpt-9")
    assert ran.code == 1
    assert "all-minilm-l6-v2" in ran.err


def test_missing_weights_name_the_command_that_pulls_them(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENKIT_RAG_CACHE", str(tmp_path / "cache"))
    (tmp_path / "a.txt").write_text("Words.")
    ran = command("ingest", "a.txt")
    assert ran.code == 1
    assert "genkit-rag models pull all-minilm-l6-v2" in ran.err
    assert command("models", "path", "smollm2-135m").code == 1


def test_models_list_says_what_is_here(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENKIT_RAG_CACHE", str(tmp_path / "cache"))
    listed = {item["name"]: item for item in command("models", "list", "--json").data["models"]}
    assert {"all-minilm-l6-v2", "smollm2-135m"} <= set(listed)
    assert not any(item["installed"] for item in listed.values())
    assert command("models", "verify").code == 0
    assert command("models", "remove", "smollm2-135m", "--json").data == {"name": "smollm2-135m", "freed_bytes": 0}


def test_a_traceback_is_shown_only_when_asked_for(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Traceback" not in command("query", "x").err
    monkeypatch.setenv("GENKIT_RAG_DEBUG", "1")
    assert "Traceback" in command("query", "x").err


def test_a_defect_is_an_error_without_a_traceback(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genkit_rag._cli.stores.query.read_text", lambda _: 1 / 0)
    ran = command("query", "x", "--json")
    assert ran.code == 1
    assert ran.data["error"]["status"] == "INTERNAL"
    assert "Traceback" not in ran.err


def test_a_missing_extra_is_an_error_with_the_command_that_installs_it(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("Words.")
    for name in [name for name in sys.modules if name.split(".")[0] == "genkit_rag_faiss"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "faiss", None)
    ran = command("ingest", "a.txt", "--json")
    assert ran.code == 1
    assert 'pip install "genkit-rag[faiss]"' in ran.data["error"]["hint"]


def test_without_typer_the_command_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from genkit_rag._cli import main

    monkeypatch.setitem(sys.modules, "typer", None)
    monkeypatch.delitem(sys.modules, "genkit_rag._cli.app", raising=False)
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert 'pip install "genkit-rag[cli]"' in said.err


@pytest.mark.network
def test_doctor_has_a_fix_for_all_that_is_not_fine(command: Command) -> None:
    findings = command("doctor", "--json").data["findings"]
    assert {"python", "sqlite", "plugin faiss", "embedding", "disk", "ollama", "key OPENAI_API_KEY"} <= {
        one["check"] for one in findings
    }
    assert [one for one in findings if one["state"] != "ok" and not one["fix"]] == []


@pytest.mark.network
def test_doctor_never_shows_a_key(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-value")
    for arguments in (("doctor",), ("doctor", "--json")):
        ran = command(*arguments)
        assert "secret" not in ran.out + ran.err
    [key] = [one for one in ran.data["findings"] if one["check"] == "key OPENAI_API_KEY"]
    assert (key["state"], key["found"]) == ("ok", "set")


@pytest.mark.network
def test_doctor_fails_when_nothing_can_embed(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENKIT_RAG_CACHE", str(tmp_path / "cache"))
    ran = command("doctor", "--json")
    assert ran.code == 1
    broken = [one["check"] for one in ran.data["findings"] if one["state"] == "broken"]
    assert broken == ["embedding"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("PYTHON", (9, 0)), ("DISK_NEEDED", 1 << 62)],
)
@pytest.mark.network
def test_doctor_fails_when_something_needed_is_missing(
    command: Command, monkeypatch: pytest.MonkeyPatch, name: str, value: object
) -> None:
    monkeypatch.setattr(f"genkit_rag._cli.doctor.checks.{name}", value)
    if name == "DISK_NEEDED":
        monkeypatch.setattr("genkit_rag._cli.doctor.checks.DISK_WISHED", value)
    ran = command("doctor", "--json")
    assert ran.code == 1
    assert {"PYTHON": "python", "DISK_NEEDED": "disk"}[name] in {
        one["check"] for one in ran.data["findings"] if one["state"] == "broken"
    }


@pytest.mark.network
def test_doctor_notes_an_old_sqlite_and_does_not_fail_for_it(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sqlite3.sqlite_version_info", (3, 51, 2))
    [finding] = [one for one in command("doctor", "--json").data["findings"] if one["check"] == "sqlite"]
    assert finding["state"] == "note"
    monkeypatch.setattr("sqlite3.sqlite_version_info", (3, 51, 3))
    [finding] = [one for one in command("doctor", "--json").data["findings"] if one["check"] == "sqlite"]
    assert finding["state"] == "ok"
