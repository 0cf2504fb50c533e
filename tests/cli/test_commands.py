"""What the commands do, through the whole stack: the real store, a real HTTP server for embedder and model."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from tests.cli.conftest import Command, Ran
from tests.fakes.openai_api import FakeOpenAI

pytestmark = pytest.mark.network

CONTROL = set(map(chr, [*range(9), *range(11, 32), *range(0x7F, 0xA0)])) | {"\u202e"}
EMBEDDER = ("--embedder", "openai/text-embedding-3-small")


def has_control(text: str) -> bool:
    return not CONTROL.isdisjoint(text)


def test_ingest_reports_what_it_did(filled: Ran) -> None:
    report = filled.data
    assert (report["store"], report["added"], report["chunks_added"], report["failed"]) == ("docs", 3, 3, [])
    assert "3 files to look at" in filled.err


def test_a_second_ingest_embeds_nothing(command: Command, filled: Ran, server: FakeOpenAI, docs: Path) -> None:
    server.requests.clear()
    again = command("ingest", str(docs), "--json").data
    assert (again["unchanged"], again["chunks_added"]) == (3, 0)
    assert server.requests == []


def test_a_file_that_is_gone_leaves_the_store_unless_told_otherwise(command: Command, filled: Ran, docs: Path) -> None:
    (docs / "terms.txt").unlink()
    assert command("ingest", str(docs), "--no-prune", "--json").data["removed"] == 0
    assert command("ingest", str(docs), "--json").data["removed"] == 1
    assert command("store", "stats", "--json").data["documents"] == 2


def test_one_unreadable_file_is_reported_and_does_not_stop_the_run(
    command: Command, server: FakeOpenAI, docs: Path
) -> None:
    (docs / "broken.pdf").write_bytes(b"not a pdf")
    ran = command("ingest", str(docs), *EMBEDDER)
    assert ran.code == 0
    assert "failed: docs/broken.pdf" in ran.err
    assert [line.split() for line in ran.out.splitlines() if line.startswith(("added", "failed"))] == [
        ["added", "3", "3"],
        ["failed", "1"],
    ]


def test_an_ingest_of_which_every_file_fails_has_failed(command: Command, server: FakeOpenAI, tmp_path: Path) -> None:
    (tmp_path / "broken.pdf").write_bytes(b"not a pdf")
    ran = command("ingest", "broken.pdf", *EMBEDDER, "--json")
    assert ran.code == 1
    assert len(ran.data["failed"]) == 1


def test_a_dry_run_makes_no_store_and_asks_no_embedder(command: Command, server: FakeOpenAI, docs: Path) -> None:
    ran = command("ingest", str(docs), *EMBEDDER, "--dry-run", "--json")
    assert (ran.code, ran.data["added"], ran.data["dry_run"]) == (0, 3, True)
    assert server.requests == []
    assert not Path(".genkit_rag/faiss").exists()


def test_a_dry_run_over_a_store_changes_nothing(command: Command, filled: Ran, docs: Path) -> None:
    (docs / "more.txt").write_text("More.")
    (docs / "terms.txt").unlink()
    ran = command("ingest", str(docs), "--dry-run", "--json").data
    assert (ran["added"], ran["removed"], ran["unchanged"]) == (1, 1, 2)
    assert command("store", "stats", "--json").data["documents"] == 3


def test_chunks_are_as_long_as_asked_for(command: Command, server: FakeOpenAI, tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("One two three four five six seven eight. " * 40)
    few = command("ingest", "long.txt", *EMBEDDER, "--store", "a", "--json").data["chunks_added"]
    many = command(
        "ingest", "long.txt", *EMBEDDER, "--store", "b", "--chunk-tokens", "40", "--overlap", "0", "--json"
    ).data["chunks_added"]
    assert many >= 4 * few


def test_names_of_sources_do_not_depend_on_where_the_command_runs(
    command: Command, filled: Ran, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(".genkit_rag").absolute()
    monkeypatch.chdir(docs)
    assert command("ingest", ".", "--dir", str(folder), "--json").data["unchanged"] == 3


def test_query_ranks_passages_and_says_where_they_are(command: Command, filled: Ran) -> None:
    ran = command("query", "tokens renewed", "--mode", "text", "--explain")
    assert ran.code == 0
    head, stages, snippet = ran.out.splitlines()[:3]
    assert head.startswith("1 ████████ ")
    assert head.endswith("docs/auth.md:0  Access")
    assert stages.strip().startswith("text ")
    assert "Tokens are renewed every hour." in snippet


def test_query_as_json_has_every_stage(command: Command, filled: Ran) -> None:
    ran = command("query", "tokens renewed", "--rerank", "mmr", "--json")
    hits = ran.data["hits"]
    assert ran.data["mode"] == "hybrid"
    assert [hit["rank"] for hit in hits] == [1, 2, 3]
    assert sorted((hit["score"] for hit in hits), reverse=True) == [hit["score"] for hit in hits]
    [stages] = [hit["stages"] for hit in hits if hit["source"] == "docs/auth.md"]
    assert set(stages) == {"vector", "text", "fused", "mmr"}


def test_query_keeps_to_the_filter(command: Command, filled: Ran) -> None:
    ran = command("query", "tokens refunds sneaky", "--filter", '{"source": "docs/terms.txt"}', "--json")
    assert [hit["source"] for hit in ran.data["hits"]] == ["docs/terms.txt"]


def test_query_reads_stdin(command: Command, filled: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("refunds\n"))
    assert command("query", "-", "--mode", "text", "--json").data["query"] == "refunds"


def test_a_query_without_hits_says_so(command: Command, filled: Ran) -> None:
    ran = command("query", "zebra", "--mode", "text")
    assert (ran.code, ran.out) == (0, "")
    assert "Nothing found among 3 passages" in ran.err


def test_a_query_uses_the_embedder_that_filled_the_store(command: Command, filled: Ran, server: FakeOpenAI) -> None:
    server.requests.clear()
    assert command("query", "tokens").code == 0
    assert [request["model"] for request in server.requests] == ["text-embedding-3-small"]


def test_an_embedder_that_did_not_fill_the_store_is_refused(command: Command, filled: Ran, docs: Path) -> None:
    (docs / "new.txt").write_text("New.")
    ran = command("ingest", str(docs), "--embedder", "openai/text-embedding-3-large")
    assert ran.code == 1
    assert "error: " in ran.err
    assert "Traceback" not in ran.err
    assert command("store", "stats", "--json").data["documents"] == 3


def answers(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Makes the server's models say the text."""
    answer = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    monkeypatch.setattr("tests.fakes.openai_api._answer", lambda _: answer)


def test_ask_shows_the_answer_and_the_passages_that_it_cites(
    command: Command, filled: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, "Within fourteen days [2], they say [9].")
    ran = command("ask", "refunds", "--model", "openai/echo")
    assert ran.code == 0
    answer, _, passages = ran.out.partition("\n\n")
    assert answer == "Within fourteen days [2], they say [9]."
    assert passages.startswith("[2] docs/")
    assert len(passages.splitlines()) == 2
    assert "openai/echo (as named), 3 passages" in ran.err
    assert "The answer names passages that it was not given: 9" in ran.err


def test_ask_prints_the_answer_while_it_comes(command: Command, filled: Ran) -> None:
    ran = command("ask", "refunds", "--model", "openai/cut")
    assert ran.code == 1
    assert ran.out.startswith("You said: ")


def test_ask_takes_a_model_of_the_configured_server(command: Command, filled: Ran) -> None:
    ran = command("ask", "refunds", "--json")
    assert ran.data["model"] == "openai/echo"
    assert "OPENAI_BASE_URL" in ran.data["reason"]
    assert [passage["key"] for passage in ran.data["passages"]] == ["1", "2", "3"]


def test_ask_shows_the_passages_of_an_answer_that_names_none(
    command: Command, filled: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, "Soon.")
    ran = command("ask", "refunds", "--model", "openai/echo")
    assert ran.code == 0
    assert "The answer names no passage. It was given these:" in ran.err
    assert [ran.out.count(f"[{key}] docs/") for key in (1, 2, 3)] == [1, 1, 1]


def test_ask_fails_when_the_model_says_nothing(command: Command, filled: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, " ")
    ran = command("ask", "refunds", "--model", "openai/echo")
    assert ran.code == 1
    assert "The model gave no answer." in ran.err


def test_ask_asks_no_model_without_passages(command: Command, filled: Ran, server: FakeOpenAI) -> None:
    server.requests.clear()
    ran = command("ask", "refunds", "--model", "openai/echo", "--filter", '{"source": "nowhere"}')
    assert (ran.code, ran.out) == (1, "")
    assert "no model was asked" in ran.err
    assert all("messages" not in request for request in server.requests)


@pytest.mark.parametrize("model", ["cut", "late-error", "broken", "status-500", "unheard-of"])
def test_a_failing_model_fails_the_command_with_an_error_and_a_fix(command: Command, filled: Ran, model: str) -> None:
    ran = command("ask", "refunds", "--model", f"openai/{model}")
    assert ran.code == 1
    assert "\nerror: " in ran.err
    assert "\nfix: " in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("query", "sneaky"),
        ("query", "sneaky", "--json"),
        ("query", "sneaky", "--explain"),
        ("ask", "sneaky", "--model", "openai/echo"),
        ("ask", "sneaky", "--model", "openai/echo", "--json"),
        ("ask", "\x1b[31mgo", "--model", "openai/\x1b[2Jgone"),
        ("query", "\x1b]0;title\x07 x", "--store", "\x1b[5m"),
    ],
)
def test_nothing_from_documents_models_or_arguments_steers_the_terminal(
    command: Command, filled: Ran, arguments: tuple[str, ...]
) -> None:
    ran = command(*arguments)
    assert ran.out + ran.err
    assert not has_control(ran.out)
    assert not has_control(ran.err)


def test_markup_in_a_document_is_printed_as_it_stands(command: Command, filled: Ran) -> None:
    assert "[red]b[/red]" in command("query", "sneaky", "--mode", "text").out


def test_json_gives_hostile_text_back_as_it_was(command: Command, filled: Ran) -> None:
    [hit] = command("query", "sneaky", "--mode", "text", "--json").data["hits"]
    assert "\x1b]8;;http://evil\x07link" in hit["text"]
    assert "\u202e" in hit["text"]


def test_a_hostile_file_name_is_neutralised(command: Command, server: FakeOpenAI, tmp_path: Path) -> None:
    (tmp_path / "a\x1b[31mb.pdf").write_bytes(b"no")
    (tmp_path / "c\x1b[31md.txt").write_text("Some words.")
    ran = command("ingest", str(tmp_path), *EMBEDDER)
    assert ran.code == 0
    assert not has_control(ran.out + ran.err)
    assert not has_control(command("query", "words").out)


def test_store_verify_finds_damage(command: Command, filled: Ran) -> None:
    assert command("store", "verify").code == 0
    store = Path(".genkit_rag/faiss/docs/store.db")
    raw = store.read_bytes()
    assert b"Refunds are paid" in raw
    store.write_bytes(raw.replace(b"Refunds are paid", b"Refunds are late"))
    ran = command("store", "verify", "--json")
    assert ran.code == 1
    assert ran.data["ok"] is False
    assert "fix: " in ran.err


def test_doctor_finds_a_damaged_store(command: Command, filled: Ran) -> None:
    Path(".genkit_rag/faiss/docs/store.db").write_bytes(b"not a database at all" * 100)
    ran = command("doctor", "--json")
    assert ran.code == 1
    [finding] = [one for one in ran.data["findings"] if one["check"] == "store docs"]
    assert (finding["state"], bool(finding["fix"])) == ("broken", True)
