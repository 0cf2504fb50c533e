"""The store that a command works on, and a `Genkit` over it."""

from __future__ import annotations

import difflib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genkit_rag._cli.failures import WrongUsage
from genkit_rag._cli.stores.plugins import action_name
from genkit_rag._core.errors import GenkitError

if TYPE_CHECKING:
    from genkit_rag._ai.genkit import Genkit
    from genkit_rag._config import ProjectConfig
    from genkit_rag._rag.stores.actions import StorePlugin
    from genkit_rag._rag.vector_store import StoreInfo, VectorStore

DEFAULT_STORE = "faiss/docs"
DEFAULT_EMBEDDER = "minilm/all-minilm-l6-v2"


class Project:
    """The configuration of the working directory, and the store that a command works on.

    Args:
        folder: The folder of the FAISS stores and of the ingestion state, `.genkit_rag` by default.
        store: The value of `--store`: `PLUGIN/NAME`, or a name alone for a store of the default store's plugin.
        embedder: The value of `--embedder`.
    """

    def __init__(self, folder: Path, store: str | None = None, embedder: str | None = None) -> None:
        self.folder = folder
        self._store = store
        self._embedder = embedder

    @cached_property
    def config(self) -> ProjectConfig:
        """The contents of `genkit_rag.toml`."""
        from genkit_rag._config import load_config

        return load_config()

    @cached_property
    def action(self) -> str:
        """The name of the store's indexer and retriever, `<plugin>/<store>`."""
        default = self.config.defaults.store or DEFAULT_STORE
        given = self._store or default
        if "/" not in given:
            given = f"{default.partition('/')[0]}/{given}"
        return action_name(self.config, given, "indexer", "--store")

    @property
    def plugin_name(self) -> str:
        """The name of the plugin that owns the store."""
        return self.action.partition("/")[0]

    @property
    def store(self) -> str:
        """The name of the store within its plugin."""
        return self.action.partition("/")[2]

    @property
    def label(self) -> str:
        """The store as the user names it: without the plugin if it is a FAISS store."""
        return self.action.removeprefix("faiss/")

    @property
    def state_name(self) -> str:
        """The name of the files with the ingestion state of the store."""
        return self.label.replace("/", "-")

    @cached_property
    def embedder(self) -> str | None:
        """The embedding model of an option or the plugin's table; None for the one that filled the store."""
        given: str | None = self._embedder or self.config.plugins.get(self.plugin_name, {}).get("embedder")
        return action_name(self.config, given, "embedder", "--embedder") if given else None

    @property
    def default_embedder(self) -> str:
        """The embedding model of a new store."""
        given = self.embedder or self.config.defaults.embedder or DEFAULT_EMBEDDER
        return action_name(self.config, given, "embedder", "--embedder")

    def plugin(self, *stores: str) -> StorePlugin:
        """Create the plugin that owns the store. FAISS stores are in `--dir` unless a table says otherwise."""
        from genkit_rag._config import make_plugin
        from genkit_rag._rag.stores.actions import StorePlugin

        overrides: dict[str, Any] = {"stores": list(stores)}
        if self.plugin_name == "faiss" and "path" not in self.config.plugins.get("faiss", {}):
            overrides["path"] = self.folder / "faiss"
        made = make_plugin(self.config, self.plugin_name, **overrides)
        if not isinstance(made, StorePlugin):
            raise WrongUsage(f"`--store`: `{self.plugin_name}` has no stores.", hint="Name a store plugin.")
        return made

    async def exists(self) -> bool:
        """Return whether the store exists; True if its plugin cannot list its stores."""
        names = await self.plugin().list_stores()
        return names is None or self.store in names

    async def require(self) -> None:
        """Raise NOT_FOUND with the existing stores if the store does not exist."""
        names = await self.plugin().list_stores()
        if names is None or self.store in names:
            return
        if not names:
            hint = f"Create it: genkit-rag ingest PATH --store {self.label}"
        else:
            close = difflib.get_close_matches(self.store, names, n=1)
            hint = f"{f'Did you mean `{close[0]}`? ' if close else ''}Existing stores: {', '.join(names)}."
        raise GenkitError("NOT_FOUND", f"There is no store `{self.action}` (in {self.folder}).", hint=hint)


@dataclass(frozen=True, slots=True)
class Opened:
    """An open store, and the `Genkit` that its actions are registered in.

    Attributes:
        ai: The `Genkit`. Plugins of other actions are added when they are first used.
        store: The store.
        info: The description of the store when it was opened.
        embedder: The name of its embedding model.
    """

    ai: Genkit
    store: VectorStore
    info: StoreInfo
    embedder: str


@asynccontextmanager
async def opened(
    project: Project, *, create: bool = False, write: bool = True, embeds: bool = True
) -> AsyncGenerator[Opened]:
    """Open the project's store in a `Genkit`; close both afterwards.

    Args:
        project: The project with the store.
        create: Create the store if it does not exist, instead of raising NOT_FOUND.
        write: With False, a store that does not exist is an empty one in memory: nothing is created.
        embeds: Raise FAILED_PRECONDITION if no installed plugin has the store's embedding model.
    """
    from genkit_rag._ai.genkit import Genkit
    from genkit_rag._cli.stores.open_store import OpenStore
    from genkit_rag._config import ConfiguredPlugins

    if not create:
        await project.require()
    owner = project.plugin(project.store)
    if write or await project.exists():
        store = await owner.open_store(project.store)
    else:
        store = _empty_store(project.store)
    try:
        info = await store.describe()
        embedder = project.embedder or _embedder_of(info) or project.default_embedder
        if embeds:
            _check_available(project, embedder)
    except BaseException:
        await store.close()
        raise
    # The embedding model of the store is also the one of rerankers that need one and name none, such as MMR.
    config = replace(project.config, defaults=replace(project.config.defaults, embedder=embedder))
    async with Genkit([OpenStore(owner, project.store, store, embedder), ConfiguredPlugins(config)]) as ai:
        await ai.store(project.action)  # from here on the plugin closes it
        yield Opened(ai, store, info, embedder)
    await owner.close()


def _empty_store(name: str) -> VectorStore:
    from genkit_rag_memory import MemoryStore

    return MemoryStore(name)


def _check_available(project: Project, embedder: str) -> None:
    from genkit_rag._config.plugins import class_of, is_available

    owner = embedder.partition("/")[0]
    if is_available(project.config, owner):
        class_of(project.config, owner)  # raises MissingExtra
        return
    raise GenkitError(
        "FAILED_PRECONDITION",
        f"The store `{project.label}` was filled by `{embedder}`, but no plugin named `{owner}` is installed or "
        "configured.",
        hint=f"Configure it in genkit_rag.toml as [plugins.{owner}], or use keyword search: --mode text.",
    )


def _embedder_of(info: StoreInfo) -> str | None:
    return None if info.fingerprint is None else f"{info.fingerprint.provider}/{info.fingerprint.model}"
