"""The plugin: where actions come from."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from genkit_rag._core.action import Action, ActionMetadata

if TYPE_CHECKING:
    from genkit_rag._core.registry import Registry


class Plugin:
    """A source of actions. Override what you need; every method has a do-nothing default.

    Attributes:
        name: The first part of the names of its actions: plugin `faiss` owns `faiss/docs`.
        kinds: Kinds of which it is asked for any name, beyond those that begin with its own: prompts in files are
            called as the files are.
        registry: Where other actions are found (a store finds its embedder there); set when the plugin is added.
    """

    name: str = ""
    kinds: Collection[str] = ()
    registry: Registry

    async def init(self) -> Sequence[Action[Any, Any, Any]]:
        """Returns the actions that are known at once; called at most once, at the first look-up that needs it."""
        return []

    async def resolve(self, kind: str, name: str) -> Action[Any, Any, Any] | None:
        """Returns the action `name` (the full name, `<plugin>/<rest>`), or None; called when `init` did not give it."""
        return None

    async def list_actions(self) -> Sequence[ActionMetadata]:
        """Returns the metadata of actions that `resolve` could give, beyond those of `init`."""
        return []

    async def close(self) -> None:
        """Frees what the plugin holds: files, connections, processes. Safe to call twice."""
