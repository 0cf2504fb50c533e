"""`genkit_rag.toml`: what it may hold, and the plugins that it configures."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from genkit_rag import Document, Genkit, GenkitError, MissingExtra, Plugin
from genkit_rag._config import ProjectConfig, load_config, make_plugin
from genkit_rag._core.installed import GROUP, installed_plugins, plugin_class
from genkit_rag._core.schema import hints
from genkit_rag.plugin_api import StorePlugin
from genkit_rag.testing import FakeEmbedder

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes the file into the working directory and reads it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GENKIT_RAG_CONFIG", raising=False)

    def write(text: str) -> ProjectConfig:
        Path("genkit_rag.toml").write_text(text)
        return load_config()

    return write


# -- discovery


def test_every_plugin_of_this_project_is_an_entry_point() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][GROUP]
    shelves = ("embedders", "indexers", "retrievers", "rerankers", "models")
    packages = {path.parent.name for shelf in shelves for path in (ROOT / shelf).glob("*/__init__.py")}
    assert {value.partition(":")[0] for value in declared.values()} == packages
    assert set(declared) <= set(installed_plugins()), "reinstall the project: its entry points have changed"


@pytest.mark.parametrize("name", installed_plugins())
def test_an_installed_plugin_says_what_it_provides_and_can_be_configured(name: str) -> None:
    try:
        found = plugin_class(name)
    except MissingExtra as error:
        pytest.skip(str(error))
    assert issubclass(found, Plugin)
    assert found.provides
    assert hints(found.__init__), "the annotations of its constructor cannot be resolved"


def test_a_plugin_that_is_not_installed_is_an_error_with_a_guess() -> None:
    with pytest.raises(GenkitError, match=r"NOT_FOUND: No plugin named `opnai`.*Did you mean `openai`\?"):
        plugin_class("opnai")


# -- the file


def test_without_a_file_everything_has_its_defaults(config: Any) -> None:
    assert load_config() == ProjectConfig()
    with pytest.raises(GenkitError, match=r"NOT_FOUND: There is no configuration file `genkit_rag.toml`"):
        load_config(required=True)
    with pytest.raises(GenkitError, match="NOT_FOUND"):
        load_config("other.toml")


def test_a_variable_or_an_argument_names_another_file(
    config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config('[defaults]\nmodel = "a/a"')
    (tmp_path / "b.toml").write_text('[defaults]\nmodel = "b/b"')
    (tmp_path / "c.toml").write_text('[defaults]\nmodel = "c/c"')
    monkeypatch.setenv("GENKIT_RAG_CONFIG", "b.toml")
    assert load_config().defaults.model == "b/b"
    assert load_config(tmp_path / "c.toml").defaults.model == "c/c"


@pytest.mark.parametrize(
    ("text", "problem", "hint"),
    [
        ("[plugin.faiss]", "unknown key `plugin`", "Allowed keys: defaults, plugins."),
        (
            '[defaults]\nmodle = "x/y"',
            "unknown key `defaults.modle`",
            "Allowed keys: model, embedder, store",
        ),
        ("[defaults]\nmodel = 3", "`defaults.model` must be the name of an action, got 3", "PLUGIN/NAME"),
        ("plugins = 3", "`plugins` must be a table, got 3", "[plugins]"),
        ("[plugins]\nfaiss = true", "`plugins.faiss` must be a table, got True", "[plugins.faiss]"),
        ("[plugins.a]\nplugin = 3", "`plugins.a.plugin` must be the name of a plugin", "openai"),
        ('[plugins."a/b"]', "must be a name without spaces and slashes", "[plugins.openai]"),
        ("a = ", "cannot be read", "Correct the file."),
        ('[defaults]\nmodel = "env:NO_SUCH_VARIABLE"', "NO_SUCH_VARIABLE is not set", "export NO_SUCH_VARIABLE="),
    ],
)
def test_a_file_that_is_wrong_says_where_and_what_is_allowed(config: Any, text: str, problem: str, hint: str) -> None:
    with pytest.raises(GenkitError) as caught:
        config(text)
    assert problem in caught.value.message
    assert hint in (caught.value.hint or "")


# -- plugins


@pytest.mark.parametrize(
    ("text", "problem", "hint"),
    [
        ("[plugins.openai]\nbase = 1", "unknown key `plugins.openai.base`", "Allowed keys: plugin, base_url, api_key"),
        ('[plugins.openai]\nname = "x"', "unknown key `plugins.openai.name`", "Allowed keys: plugin, base_url"),
        (
            "[plugins.faiss]\nnlist = 1",
            "`plugins.faiss`: The option `nlist` is not valid",
            "Known options: mode, index",
        ),
        (
            '[plugins.wrapped.embedders.s]\nembedder = "a/b"\ncash = "x"',
            "unknown key `plugins.wrapped.embedders.s.cash`",
            "Allowed keys: embedder, cache",
        ),
        ('[plugins.minilm]\nthreads = "many"', "`plugins.minilm.threads` is not valid", "Its type is int."),
        ("[plugins.minilm]\nthreads = 0", "`plugins.minilm`: `threads` must be at least 1, got 0", ""),
        ("[plugins.http-rerank]", "`plugins.http-rerank` needs `api`", "[plugins.http-rerank] api = ..."),
        ("[plugins.hyde]\nretrievers = {}", "`plugins.hyde` needs `model`", "[plugins.hyde] model = ..."),
        ("[plugins.opnai]", "No plugin named `opnai` is installed", "Did you mean `openai`?"),
        ('[plugins.openai]\napi_key = "env:NO_SUCH_VARIABLE"', "`plugins.openai.api_key` is `env:NO_SUCH", "export"),
        (
            '[plugins.wrapped.embedders.s]\nembedder = "a/b"\ncache_bytes = 3',
            "`cache_bytes` needs a `cache`",
            "cache='vectors.db'",
        ),
    ],
)
def test_a_plugin_table_that_is_wrong_says_where_and_what_is_allowed(
    config: Any, text: str, problem: str, hint: str
) -> None:
    loaded = config(text)
    with pytest.raises(GenkitError) as caught:
        make_plugin(loaded, *loaded.plugins)
    assert problem in caught.value.message
    assert hint in (caught.value.hint or "")


def test_a_table_becomes_the_arguments_of_the_constructor(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RERANK_KEY", "sk-x")
    loaded = config(
        """
        [plugins.hybrid.retrievers]
        all = ["faiss/a", "memory/b"]
        [plugins.boost.retrievers.recent]
        retriever = "faiss/a"
        decay = {field = "date", half_life = 30}
        [plugins.router]
        choose = {embedder = "openai/e"}
        routes.docs = {retriever = "faiss/a", description = "the manual"}
        [plugins.cohere]
        plugin = "http-rerank"
        api = "cohere"
        model = "rerank-v3.5"
        api_key = "env:RERANK_KEY"
        [plugins.memory]
        stores = ["a", "b"]
        required_filter = {team = "x"}
        """
    )
    made = {name: make_plugin(loaded, name) for name in loaded.plugins}
    assert [plugin.name for plugin in made.values()] == list(loaded.plugins)
    boost: Any = made["boost"]
    assert boost.retrievers["recent"].decay.half_life == 30
    assert type(made["cohere"]).__name__ == "HttpRerank"
    memory = made["memory"]
    assert isinstance(memory, StorePlugin)
    assert memory.access.required_filter == {"team": "x"}


def test_defaults_fill_the_models_that_a_plugin_needs_and_names_none_of(config: Any) -> None:
    loaded = config(
        """
        [defaults]
        model = "openai/m"
        embedder = "openai/e"
        [plugins.hyde]
        retrievers = {docs = "faiss/docs"}
        [plugins.memory]
        embedder = "ollama/e"
        [plugins.cohere]
        plugin = "http-rerank"
        api = "jina"
        api_key = "x"
        """
    )
    plugins: dict[str, Any] = {name: make_plugin(loaded, name) for name in ("hyde", "memory", "faiss", "mmr", "cohere")}
    assert plugins["hyde"].model == "openai/m"
    assert plugins["memory"].embedder == "ollama/e"
    assert plugins["faiss"].embedder == "openai/e"
    assert plugins["mmr"]._embedder == "openai/e"
    assert plugins["cohere"]._model is None, "the model of a server is not one of ours"


# -- Genkit.from_config


async def test_genkit_has_the_plugins_and_the_model_of_the_file(config: Any) -> None:
    config('[defaults]\nmodel = "openai/m"\nembedder = "fake/words"\n[plugins.memory]\nstores = ["notes"]')
    async with Genkit.from_config(plugins=[FakeEmbedder()]) as ai:
        assert ai.model == "openai/m"
        await ai.index("memory/notes", [Document("apples", id="a")])
        assert [found.id for found in await ai.retrieve("memory/notes", "apples")] == ["a"]


async def test_a_plugin_without_a_table_is_added_when_it_is_first_used(config: Any) -> None:
    config("")
    async with Genkit.from_config() as ai:
        assert "rrf" not in [plugin.name for plugin in ai.registry.plugins]
        documents = [Document("a", id="a", score=0.5)]
        assert [found.id for found in await ai.rerank("rrf", "a", documents)] == ["a"]
        assert "rrf" in [plugin.name for plugin in ai.registry.plugins]
        with pytest.raises(GenkitError, match="NOT_FOUND: Unknown reranker `rff`"):
            await ai.rerank("rff", "a", documents)


async def test_a_plugin_that_is_given_replaces_its_table(config: Any) -> None:
    config("[plugins.memory]\nstores = ['a']")
    mine = make_plugin(ProjectConfig(), "memory", stores=["b"])
    async with Genkit.from_config(plugins=[mine]) as ai:
        names = [action.name for action in await ai.registry.list_actions() if action.kind == "indexer"]
    assert names == ["memory/b"]


def test_genkit_without_a_file_says_so(config: Any) -> None:
    with pytest.raises(GenkitError, match="NOT_FOUND: There is no configuration file"):
        Genkit.from_config()
