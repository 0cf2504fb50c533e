"""The documentation is complete: nothing public is missing from it, and the defaults in it are those of the code."""

from __future__ import annotations

import inspect
import re
import tomllib
from typing import Any

import pytest

import genkit_rag
from genkit_rag import Genkit, RetrieverOptions
from genkit_rag.plugin_api import ActionKind, Status
from tests.docs.pages import PAGES, ROOT

SHELVES = ("genkit_rag", "embedders", "indexers", "retrievers", "rerankers", "models")


def commands(command: Any, name: str = "genkit-rag") -> dict[str, Any]:
    """Returns every command of the command line by its full name."""
    inner = getattr(command, "commands", None)
    if inner is None:
        return {name: command}
    found: dict[str, Any] = {name: command}
    for child, one in inner.items():
        found |= commands(one, f"{name} {child}")
    return found


@pytest.fixture(scope="module")
def cli() -> Any:
    typer = pytest.importorskip("typer")
    from genkit_rag._cli.app import app

    return typer.main.get_command(app)


@pytest.fixture(scope="module")
def documentation() -> str:
    return "\n".join(page.read_text() for page in PAGES)


def missing(names: Any, documentation: str) -> list[str]:
    return [name for name in names if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", documentation)]


def test_every_public_name_is_mentioned(documentation: str) -> None:
    assert missing(genkit_rag.__all__, documentation) == []


def test_every_verb_of_genkit_is_mentioned(documentation: str) -> None:
    verbs = [name for name in dir(Genkit) if not name.startswith("_")]
    owner = {"from_config": "Genkit"}  # a class method
    assert missing([f"{owner.get(verb, 'ai')}.{verb}" for verb in verbs], documentation) == []


def test_every_action_kind_in_use_is_in_the_reference() -> None:
    source = "\n".join(path.read_text() for shelf in SHELVES for path in (ROOT / shelf).rglob("*.py"))
    used = [kind.value for kind in ActionKind if re.search(rf"ActionKind\.{kind.name}\b", source)]
    assert len(used) >= 8
    assert missing(used, (ROOT / "docs/reference/actions.md").read_text()) == []


def test_every_option_is_in_the_reference() -> None:
    from genkit_rag import EmbedderOptions, IndexerOptions, RerankerOptions
    from genkit_rag._generation.generate import GenerateOptions
    from genkit_rag.ingest import IngestOptions, LoadLimits, Splitter
    from genkit_rag_faiss import FaissConfig

    page = (ROOT / "docs/reference/options.md").read_text()
    for model in (RetrieverOptions, IndexerOptions, RerankerOptions, EmbedderOptions, LoadLimits):
        assert missing([f"`{name}`" for name in model.model_fields], page) == [], model
    for made in (IngestOptions, Splitter):
        assert missing([f"`{name}`" for name in made.__dataclass_fields__], page) == [], made
    for name in (*GenerateOptions.__dataclass_fields__, "context", "on_chunk"):
        assert missing([f"`{name}`"], page) == []
        assert name == "prompt" or missing([f"{name}:"], inspect.getdoc(Genkit.generate) or "") == []
    store = (ROOT / "docs/reference/store.md").read_text()
    assert missing([f"`{name}`" for name in FaissConfig.model_fields], store) == []


def test_the_parameters_of_every_plugin_are_in_the_reference() -> None:
    from genkit_rag_faiss import Faiss
    from genkit_rag_late_interaction import LateInteraction
    from genkit_rag_llama_cpp import LlamaCpp
    from genkit_rag_memory import Memory
    from genkit_rag_minilm import MiniLM
    from genkit_rag_mmr import MMR
    from genkit_rag_ollama import Ollama
    from genkit_rag_openai import OpenAI

    page = (ROOT / "docs/reference/options.md").read_text()
    for plugin in (Faiss, Memory, MiniLM, LateInteraction, MMR, OpenAI, Ollama, LlamaCpp):
        section = page.partition(f"`{plugin.__name__}(")[2].partition("\n## ")[0].partition("\n### ")[0]
        names = [name for name in inspect.signature(plugin).parameters if name != "options"]
        assert missing([f"`{name}`" for name in names], section) == [], plugin


def defaults(page: str) -> dict[str, str]:
    """Returns the second column by the first, of all tables."""
    return dict(re.findall(r"^\| `(\w+)`[^|]* \| ([^|]*) \|", page, re.MULTILINE))


def shown(value: object) -> str:
    return f"{value:,g}" if isinstance(value, float) else f"{value:,}" if type(value) is int else str(value)


def test_the_defaults_of_the_options_are_those_of_the_code() -> None:
    from genkit_rag._rag.stores.search import EVEN_WORDS, HYBRID_CANDIDATES
    from genkit_rag.ingest import IngestOptions, LoadLimits, Splitter
    from genkit_rag_faiss import FaissConfig

    page = (ROOT / "docs/reference/options.md").read_text()
    retriever = defaults(page.partition("## Retriever options")[2].partition("\n## ")[0])
    assert retriever["vector_weight"] == f"n / (n + {EVEN_WORDS})"
    assert retriever["candidates"].startswith(str(HYBRID_CANDIDATES))
    ingestion = defaults(page.partition("## Ingestion options")[2].partition("\n## ")[0])
    for made in (IngestOptions, Splitter):
        for name, parameter in inspect.signature(made).parameters.items():
            if isinstance(parameter.default, str | int):
                assert shown(parameter.default) in ingestion[name], name
    for name, field in LoadLimits.model_fields.items():
        assert shown(field.default) in ingestion[name], name
    options = defaults((ROOT / "docs/reference/store.md").read_text().partition("## Options of a store")[2])
    for name, field in FaissConfig.model_fields.items():
        if field.default is not None:
            assert shown(field.default).replace(",", "") in options[name], name


def test_the_defaults_of_the_plugins_are_those_of_the_code() -> None:
    from genkit_rag_faiss import Faiss
    from genkit_rag_late_interaction import LateInteraction
    from genkit_rag_llama_cpp import LlamaCpp
    from genkit_rag_ollama import Ollama
    from genkit_rag_openai import OpenAI

    page = (ROOT / "docs/reference/options.md").read_text()
    for plugin in (Faiss, LateInteraction, LlamaCpp, Ollama, OpenAI):
        cells = defaults(page.partition(f"`{plugin.__name__}(")[2].partition("\n### ")[0])
        for name, parameter in inspect.signature(plugin).parameters.items():
            if isinstance(parameter.default, str | int | float):
                assert shown(parameter.default).replace(",", "") in cells[name].replace(",", ""), (plugin, name)


def test_every_filter_operator_is_in_the_reference() -> None:
    from genkit_rag._documents.filters import LOGICAL, OPERATORS

    page = (ROOT / "docs/reference/filters.md").read_text()
    assert [operator for operator in (*OPERATORS, *LOGICAL) if f"`{operator}`" not in page] == []


def test_every_status_is_in_the_reference_with_its_http_code() -> None:
    from genkit_rag._core.errors import HTTP_CODES

    page = (ROOT / "docs/reference/errors.md").read_text()
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| (\d+) \|", page, re.MULTILINE))
    assert {name: int(code) for name, code in rows.items()} == {
        name: code for name, code in HTTP_CODES.items() if name in Status.__args__ and name != "OK"
    }


def test_every_command_and_option_is_in_the_reference(cli: Any) -> None:
    page = (ROOT / "docs/reference/cli.md").read_text()
    for name, command in commands(cli).items():
        assert f"## `{name}`" in page or f"### `{name}`" in page or hasattr(command, "commands"), name
        options = {longest for parameter in command.params for longest in parameter.opts if longest.startswith("--")}
        assert [option for option in options - {"--help"} if f"`{option}`" not in page] == [], name


def test_every_extra_is_mentioned(documentation: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert missing([f"`{extra}`" for extra in extras], documentation) == []


def test_the_weights_are_in_the_reference_with_their_licences() -> None:
    from genkit_rag._weights.manifest import MANIFEST

    page = (ROOT / "docs/reference/models-and-weights.md").read_text()
    for weights in MANIFEST.values():
        row = re.search(rf"^\| `{re.escape(weights.name)}` \|.*$", page, re.MULTILINE)
        assert row, weights.name
        assert f"{weights.size:,}" in row[0]
        assert weights.licence in row[0]
