"""The command line with a `genkit_rag.toml`: every store plugin, and models and embedders by configured names."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.fakes.openai_api import FakeOpenAI
from tests.indexers.postgres import needs_postgres, running

pytestmark = pytest.mark.network

Configure = Callable[[str], None]
SERVER = """
[plugins.mine]
plugin = "openai"
base_url = "env:OPENAI_BASE_URL"
"""


@pytest.fixture
def configure(command: Command, server: FakeOpenAI) -> Configure:
    """Write `genkit_rag.toml`, with the local server as the plugin `mine`."""
    return lambda text: Path("genkit_rag.toml").write_text(f"{text}\n{SERVER}", "utf-8") and None


@pytest.fixture(params=["faiss", "chroma", pytest.param("pgvector", marks=needs_postgres)])
def store(request: pytest.FixtureRequest, configure: Configure, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A store of each plugin that keeps its documents, as the default store."""
    plugin: str = request.param
    defaults = f'[defaults]\nstore = "{plugin}/notes"\nembedder = "mine/text-embedding-3-small"\nmodel = "mine/echo"'
    if plugin != "pgvector":
        configure(defaults)
        yield f"{plugin}/notes"
        return
    with running() as postgres:
        monkeypatch.setenv("NOTES_DSN", postgres.dsn)
        configure(f'{defaults}\n[plugins.pgvector]\ndsn = "env:NOTES_DSN"')
        yield "pgvector/notes"


def test_every_command_works_on_the_store_of_every_plugin(command: Command, store: str, docs: Path) -> None:
    missing = command("query", "x", "--json")
    assert (missing.code, missing.data["error"]["status"]) == (1, "NOT_FOUND")
    ran = command("ingest", str(docs), "--json")
    assert ran.code == 0, ran.err
    assert (ran.data["store"], ran.data["added"]) == (store.removeprefix("faiss/"), 3)
    assert command("ingest", str(docs), "--store", store, "--json").data["unchanged"] == 3
    hits = command("query", "tokens renewed", "--store", "notes", "--rerank", "mmr", "--json").data
    assert hits["mode"] == "hybrid"
    assert {hit["source"] for hit in hits["hits"]} == {"docs/auth.md", "docs/hostile.txt", "docs/terms.txt"}
    answer = command("ask", "refunds", "--json")
    assert answer.code == 0, answer.err
    assert answer.data["model"] == "mine/echo"
    assert command("store", "stats", "--json").data["documents"] == 3
    verified = command("store", "verify", "--json")
    if store.startswith("faiss"):
        assert verified.data["ok"]
    else:
        assert verified.data["error"]["status"] == "UNIMPLEMENTED"
    findings = {one["check"]: one for one in command("doctor", "--json").data["findings"]}
    assert findings["config mine"]["state"] == "ok"
    assert findings["plugin pgvector"]["found"].startswith("indexers and retrievers")
    misspelt = command("query", "x", "--store", f"{store}s")
    assert f"Did you mean `{store.partition('/')[2]}`?" in misspelt.err


def test_a_store_is_filled_by_a_wrapped_embedder_and_read_by_the_one_below(
    command: Command, configure: Configure, docs: Path
) -> None:
    configure('[plugins.wrapped.embedders.small]\nembedder = "mine/text-embedding-3-small"\ncache = "vectors.db"')
    ran = command("ingest", str(docs), "--embedder", "wrapped/small", "--json")
    assert ran.code == 0, ran.err
    assert Path("vectors.db").is_file()
    assert len(command("query", "tokens", "--json").data["hits"]) == 3
    assert command("query", "tokens", "--embedder", "wrapped/small").code == 0


def test_a_default_reranker_is_used_unless_the_option_says_none(
    command: Command, configure: Configure, docs: Path
) -> None:
    configure('[defaults]\nembedder = "mine/text-embedding-3-small"\nreranker = "mmr"')
    assert command("ingest", str(docs)).code == 0
    assert "mmr" in command("query", "tokens", "--json").data["hits"][0]["stages"]
    assert "mmr" not in command("query", "tokens", "--reranker", "none", "--json").data["hits"][0]["stages"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[plugins.faiss]\npth = 1", "`plugins.faiss`"),
        ("[default]", "unknown key `default`"),
        ('[defaults]\nstore = "minilm/docs"', "the plugin `minilm` has no indexers"),
        ('[defaults]\nstore = "nowhere/docs"', "no plugin is called `nowhere`"),
    ],
)
def test_a_wrong_file_is_an_error_with_a_fix_everywhere(
    command: Command, configure: Configure, text: str, said: str
) -> None:
    configure(text)
    ran = command("query", "x")
    assert ran.code in (1, 2)
    assert said in ran.err
    assert "\nfix: " in ran.err
    assert "Traceback" not in ran.err


def test_doctor_reports_a_wrong_table_and_goes_on(command: Command, configure: Configure) -> None:
    configure('[plugins.pgvector]\ndsn = "env:NO_SUCH_VARIABLE"\nstores = ["docs"]')
    ran = command("doctor", "--json")
    assert ran.code == 1
    findings = {one["check"]: one for one in ran.data["findings"]}
    assert "NO_SUCH_VARIABLE is not set" in findings["config pgvector"]["found"]
    assert findings["store pgvector/docs"]["state"] == "broken"
    Path("genkit_rag.toml").write_text("[plugin]")
    assert {one["check"]: one["state"] for one in command("doctor", "--json").data["findings"]}["config"] == "broken"


def test_config_show_lists_the_file_and_never_a_secret(
    command: Command, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY", "canary-secret-value")
    configure(
        '[defaults]\nstore = "pgvector/docs"\n'
        '[plugins.pgvector]\ndsn = "postgresql://ada:canary-secret-value@db/x"\nhalfvec = false\n'
        '[plugins.openai]\napi_key = "canary-secret-value"\n'
        '[plugins.other]\nplugin = "openai"\napi_key = "env:CANARY"'
    )
    for arguments in (("config", "show"), ("config", "show", "--json")):
        ran = command(*arguments, "--store", "faiss/docs")
        assert ran.code == 0, ran.err
        assert "canary" not in ran.out + ran.err
    found = {one["name"]: one["value"] for one in json.loads(ran.out)["settings"]}
    assert found["plugins.other.api_key"] == "env:CANARY"
    assert found["plugins.pgvector.halfvec"] == "False"
    assert found["defaults.store"] == "pgvector/docs"
    assert "wrapped" in found["plugins"]
