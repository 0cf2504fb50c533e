"""The plugin: named stores in one Chroma database, each with an indexer and a retriever."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from genkit_rag.plugin_api import GenkitError, SearchMode, StorePlugin, invalid
from genkit_rag_chroma._catalog import check_store_name
from genkit_rag_chroma._embedded import EmbeddedEngine
from genkit_rag_chroma._engine import Engine
from genkit_rag_chroma._http import HttpEngine
from genkit_rag_chroma._options import ChromaConfig
from genkit_rag_chroma._store import ChromaStore

DEFAULT_PATH = ".genkit_rag/chroma"


class Chroma(StorePlugin):
    """Vector stores in Chroma: `/indexer/chroma/<store>` and `/retriever/chroma/<store>`.

    Args:
        stores: The names of its stores; each is opened at its first use.
        embedder: The name of the embedder action that fills and queries them.
        path: The folder of an embedded database. Stores that exist there are found by their names even when not named
            here. `.genkit_rag/chroma` when there is neither a path nor a URL.
        url: A server instead, such as `http://127.0.0.1:8000`.
        mode: How a retrieval searches when it does not say: by vectors, by words, or both fused.
        name: The plugin's name, the first part of its actions' names.
        **options: `required_filter` and `required_namespace`, as every store plugin has them, and `ChromaConfig` by
            name: `ef_search=200`, `headers={...}`, `timeout=10`.
    """

    def __init__(
        self,
        stores: Sequence[str] = ("docs",),
        *,
        embedder: str = "minilm/all-minilm-l6-v2",
        path: str | os.PathLike[str] | None = None,
        url: str | None = None,
        mode: SearchMode = "vector",
        name: str = "chroma",
        **options: Any,
    ) -> None:
        if path is not None and url is not None:
            raise invalid(
                "url",
                url,
                f"and path={str(path)!r} exclude each other",
                hint="`path` is a database in this process, `url` a server.",
            )
        self.url = None if url is None else _checked(url)
        self.path = None if url is not None else Path(path or DEFAULT_PATH)
        rules = {rule: options.pop(rule) for rule in ("required_filter", "required_namespace") if rule in options}
        self.options = ChromaConfig().changed(options)
        super().__init__(stores, name=name, embedder=embedder, mode=mode, **rules)
        for store in stores:
            check_store_name(store)

    async def open_store(self, store: str) -> ChromaStore:
        """Open the store with this name."""
        check_store_name(store)
        engine: Engine
        if self.path is None:
            engine = HttpEngine(str(self.url), self.options)
        else:
            engine = await EmbeddedEngine.open(self.path, _lock_file(self.path, store), self.options.lock_timeout)
        return ChromaStore(store, engine, self.options)

    async def list_stores(self) -> Sequence[str] | None:
        """Return the names of the stores in the folder, sorted; None for a server."""
        if self.path is None:
            return None
        locks = self.path.glob(_lock_file(self.path, "*").name) if self.path.is_dir() else ()
        return sorted(lock.name.removeprefix("genkit_rag.").removesuffix(".lock") for lock in locks)

    def knows(self, store: str) -> bool:
        """Return whether the folder has a store with this name; a server is not asked."""
        if self.path is None:
            return False
        try:
            return _lock_file(self.path, check_store_name(store)).is_file()  # made by the first write
        except GenkitError:
            return False


def _lock_file(path: Path, store: str) -> Path:
    return path / f"genkit_rag.{store}.lock"


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
        raise invalid("url", url, "must be the address of a Chroma server", hint="Write http://127.0.0.1:8000.")
    return url.rstrip("/")
