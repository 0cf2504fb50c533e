"""The stores of a folder, and a `Genkit` over one of them."""

from __future__ import annotations

import difflib
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from genkit_rag._cli.stores.plugins import PLUGINS, action_name, make_plugin, plugin_class
from genkit_rag._core.errors import GenkitError

if TYPE_CHECKING:
    from genkit_rag._ai.genkit import Genkit
    from genkit_rag._rag.vector_store import StoreInfo, VectorStore

DEFAULT_EMBEDDER = "minilm/all-minilm-l6-v2"
STORE_FOLDER = "faiss"


@dataclass(frozen=True, slots=True)
class Project:
    """A folder of stores, and which of them is meant.

    Attributes:
        folder: `.genkit_rag` or another one.
        store: The store's name.
        embedder: The embedder's name when it was given; else the one that filled the store.
    """

    folder: Path
    store: str = "docs"
    embedder: str | None = None

    @property
    def action(self) -> str:
        """The name of the store's indexer and retriever."""
        return f"faiss/{self.store}"

    @property
    def stores_folder(self) -> Path:
        """Where the stores' own folders are."""
        return self.folder / STORE_FOLDER

    @property
    def exists(self) -> bool:
        """Whether the store is there."""
        return self.store in store_names(self.stores_folder)

    def require(self) -> None:
        """Raises NOT_FOUND, with the stores that there are, when this one is not."""
        if self.exists:
            return
        names = store_names(self.stores_folder)
        if not names:
            hint = f"Make it: genkit-rag ingest PATH --store {self.store}"
        else:
            close = difflib.get_close_matches(self.store, names, n=1)
            hint = f"{f'Did you mean `{close[0]}`? ' if close else ''}Stores there: {', '.join(names)}."
        raise GenkitError("NOT_FOUND", f"There is no store `{self.store}` in {self.stores_folder}.", hint=hint)


@dataclass(frozen=True, slots=True)
class Opened:
    """A `Genkit` whose store is open, with the store and what it said of itself when it was opened."""

    ai: Genkit
    store: VectorStore
    info: StoreInfo
    embedder: str


@asynccontextmanager
async def opened(
    project: Project, *, create: bool = False, embeds: bool = True, actions: Sequence[str] = ()
) -> AsyncGenerator[Opened]:
    """Gives the project's store in a `Genkit` with all plugins that are needed; closes them afterwards.

    Args:
        project: Which store.
        create: Whether the store is made when it is not there; otherwise that is an error.
        embeds: Whether its embedder is needed.
        actions: Names of further actions whose plugins are needed, such as a model or a reranker.
    """
    from genkit_rag._ai.genkit import Genkit

    if not create:
        project.require()
    given = project.embedder and action_name(project.embedder, "embedder", "--embedder")
    stores = plugin_class("faiss")(
        [project.store], path=project.stores_folder, mode="hybrid", embedder=given or DEFAULT_EMBEDDER
    )
    async with Genkit([stores]) as ai:
        store = await ai.store(project.action)
        info = await store.describe()
        embedder = given or _embedder_of(info)
        stores.handle(project.store).embedder_name = embedder  # known only now, and not used before
        needed = [_known(embedder, project.store), *actions] if embeds else list(actions)
        for plugin in dict.fromkeys(name.partition("/")[0] for name in needed):
            ai.registry.add_plugin(make_plugin(plugin, embedder))
        yield Opened(ai, store, info, embedder)


def store_names(folder: Path) -> list[str]:
    """Returns the stores in a folder, by name."""
    try:
        return sorted(entry.name for entry in folder.iterdir() if (entry / "FORMAT").is_file())
    except OSError:
        return []


def _known(embedder: str, store: str) -> str:
    if embedder.partition("/")[0] in PLUGINS:
        return embedder
    raise GenkitError(
        "FAILED_PRECONDITION",
        f"The store `{store}` was filled by `{embedder}`, an embedder of your own that this command does not have.",
        hint="Search it by words with --mode text, or from your program.",
    )


def _embedder_of(info: StoreInfo) -> str:
    if info.fingerprint is None:
        return DEFAULT_EMBEDDER
    return f"{info.fingerprint.provider}/{info.fingerprint.model}"
