"""The actions of a vector store: its indexer, its retriever and the deletion of documents."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, get_args

from genkit_rag._core.action import Action, ActionKind
from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._core.registry import Plugin, Registry
from genkit_rag._rag.options import RetrieverOptions
from genkit_rag._rag.retrieval import (
    indexer_action,
    make_retriever,
)
from genkit_rag._rag.stores.access import Access, RequiredFilter, RequiredNamespace
from genkit_rag._rag.stores.handle import DeleteRequest, DeleteResponse, StoreHandle
from genkit_rag._rag.stores.inspection import inspection_actions
from genkit_rag._rag.stores.search import retrieve
from genkit_rag._rag.vector_store import SearchMode, VectorStore


class StorePlugin(Plugin):
    """A plugin that owns stores: for each it registers an indexer and a retriever over one store object.

    A subclass overrides `open_store`, and `knows` when stores that were not named can be found.

    Args:
        stores: The names of its stores; `docs` gives `/indexer/<plugin>/docs` and `/retriever/<plugin>/docs`.
        name: The plugin's name.
        embedder: The name of the embedder action that all its stores use.
        mode: The search mode when a call names none.
        required_filter: A filter that holds for every call: a mapping, or a function of the action's context such as
            `lambda ctx: {"tenant": ctx.context["tenant"]}`. No call can drop or widen it.
        required_namespace: The only namespace that calls use: a name, or a function of the action's context.
    """

    provides = (ActionKind.INDEXER, ActionKind.RETRIEVER)

    def __init__(
        self,
        stores: Sequence[str],
        *,
        name: str,
        embedder: str,
        mode: SearchMode = "vector",
        required_filter: RequiredFilter | None = None,
        required_namespace: RequiredNamespace | None = None,
    ) -> None:
        self.name = name
        self.embedder = embedder
        if mode not in get_args(SearchMode):
            raise invalid("mode", mode, f"must be one of {', '.join(get_args(SearchMode))}")
        self.mode: SearchMode = mode
        self.access = Access(required_filter, required_namespace)
        self._handles: dict[str, StoreHandle] = {}
        if isinstance(stores, str):
            raise invalid("stores", stores, "must be a list of names", hint=f"Write [{stores!r}].")
        for store in stores:
            self.handle(store)

    async def open_store(self, store: str) -> VectorStore:
        """Open the store with this name; called once for each store, when it is first needed."""
        raise NotImplementedError

    def knows(self, store: str) -> bool:
        """Return whether a store exists that was not named; if so, it is found by its name."""
        return False

    async def list_stores(self) -> Sequence[str] | None:
        """Return the names of the stores that exist, or None if the plugin cannot list them."""
        return None

    def handle(self, store: str) -> StoreHandle:
        """Return the handle of a store; create it at the first call."""
        found = self._handles.get(store)
        if found is None:
            found = self._handles[store] = StoreHandle(
                self,
                f"{self.name}/{store}",
                lambda: self.open_store(store),
                embedder=self.embedder,
                mode=self.mode,
                access=self.access,
            )
        return found

    async def init(self) -> Sequence[Action[Any, Any, Any]]:
        """Return the actions of the named stores without opening them."""
        return [action for handle in self._handles.values() for action in store_actions(handle)]

    async def resolve(self, kind: str, name: str) -> Action[Any, Any, Any] | None:
        """Return an action of a store that exists but was not named."""
        store = name.split("/")[1] if "/" in name else ""
        if not store or not self.knows(store):
            return None
        actions = store_actions(self.handle(store))
        return next((action for action in actions if (action.kind, action.name) == (kind, name)), None)

    async def close(self) -> None:
        """Close the opened stores; raise the first error after all of them are closed."""
        results = await asyncio.gather(*(handle.close() for handle in self._handles.values()), return_exceptions=True)
        for result in results:
            if result is not None:
                raise result


async def find_store(registry: Registry, name: str) -> StoreHandle:
    """Find the handle of a vector store by the name of its indexer.

    Args:
        registry: The registry with the plugin that owns the store.
        name: `<plugin>/<store>`, for example `faiss/docs`.

    Raises:
        GenkitError: NOT_FOUND if no indexer has this name, or if it belongs to no store.
    """
    await registry.get(ActionKind.INDEXER, name)
    for plugin in registry.plugins:
        if isinstance(plugin, StorePlugin) and name.startswith(f"{plugin.name}/"):
            return plugin.handle(name.partition("/")[2])
    owners = ", ".join(p.name for p in registry.plugins if isinstance(p, StorePlugin)) or "none"
    raise GenkitError("NOT_FOUND", f"No plugin owns a store `{name}`.", hint=f"Plugins with stores: {owners}.")


def store_actions(handle: StoreHandle) -> list[Action[Any, Any, Any]]:
    """Create the actions of a store: indexer, retriever, `/util/<name>/delete` and inspection."""
    return [
        indexer_action(handle.name, handle.index),
        make_retriever(
            handle.name, partial(retrieve, handle), options_type=RetrieverOptions, metadata={"store": handle.name}
        ),
        Action(
            ActionKind.UTIL,
            f"{handle.name}/delete",
            handle.delete,
            input_type=DeleteRequest,
            output_type=DeleteResponse,
            description=f"Deletes documents of {handle.name} by id, filter or source.",
        ),
        *inspection_actions(handle),
    ]
