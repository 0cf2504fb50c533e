"""The registry: names to actions, resolved through plugins when first asked for."""

from __future__ import annotations

import asyncio
import concurrent.futures
import difflib
import logging
import threading
from collections.abc import Collection, Sequence
from contextvars import ContextVar
from typing import Any, ClassVar, TypeVar

from genkit_rag._core.action import Action, ActionMetadata
from genkit_rag._core.errors import GenkitError
from genkit_rag._core.installed import installed_plugins

logger = logging.getLogger("genkit_rag.registry")

AnyAction = Action[Any, Any, Any]
A = TypeVar("A", bound=AnyAction)

_starting: ContextVar[tuple[Plugin, ...]] = ContextVar("genkit_rag_starting", default=())


class Plugin:
    """A source of actions. Override what you need; every method has a do-nothing default.

    Attributes:
        name: The first part of the names of its actions: the plugin `faiss` owns `faiss/docs`.
        kinds: Kinds of actions that this plugin is asked for under any name, not only under its own. Prompts in files
            need it, because they are named after their files.
        registry: The registry that resolves other actions, such as the embedder of a store. Set by `add_plugin`.
        provides: The kinds of actions that the plugin registers, for the command line and the error messages.
        default_action: The rest of an action's name when the command line gets only the plugin's name: `minilm` stands
            for `minilm/all-minilm-l6-v2`. Empty if the plugin's name is the name of its only action.
    """

    name: str = ""
    kinds: Collection[str] = ()
    registry: Registry
    provides: ClassVar[Collection[str]] = ()
    default_action: ClassVar[str | None] = None

    async def init(self) -> Sequence[AnyAction]:
        """Return the actions that are known without a look-up; called once, before the first look-up."""
        return []

    async def resolve(self, kind: str, name: str) -> AnyAction | None:
        """Return the action `name` (the full name, `<plugin>/<rest>`) if `init` did not return it; None if unknown."""
        return None

    async def list_actions(self) -> Sequence[ActionMetadata]:
        """Return the metadata of actions that `resolve` can return, beyond those of `init`."""
        return []

    async def close(self) -> None:
        """Release files, connections and processes. May be called twice."""


class Registry:
    """Maps (kind, name) to actions. A child sees its parent's actions and keeps its own to itself."""

    def __init__(self, parent: Registry | None = None) -> None:
        self.parent = parent
        self._actions: dict[tuple[str, str], AnyAction] = {}
        self._plugins: dict[str, Plugin] = {}
        self._started: dict[str, concurrent.futures.Future[bool]] = {}
        self._lock = threading.Lock()
        self.values: dict[str, Any] = {}

    def child(self) -> Registry:
        """Create a registry for one call; what is registered in it is discarded with it."""
        return Registry(self)

    def register(self, action: A) -> A:
        """Register and return the action; raise ALREADY_EXISTS if its key is taken."""
        key = (action.kind, action.name)
        with self._lock:
            if key in self._actions:
                raise GenkitError(
                    "ALREADY_EXISTS",
                    f"`{action.key}` is registered already.",
                    hint="Give one of the two another name.",
                )
            self._actions[key] = action
        return action

    def add_plugin(self, plugin: Plugin) -> None:
        """Add a plugin; none of its code runs until one of its actions is requested."""
        if not plugin.name:
            raise GenkitError("INVALID_ARGUMENT", f"The plugin {plugin!r} has no name.", hint="Set its `name`.")
        with self._lock:
            if plugin.name in self._plugins:
                raise GenkitError(
                    "ALREADY_EXISTS",
                    f"Two plugins are named `{plugin.name}`.",
                    hint="Give one of them another name: most plugins take `name=`.",
                )
            self._plugins[plugin.name] = plugin
        plugin.registry = self

    @property
    def plugins(self) -> list[Plugin]:
        """The plugins, in the order in which they were added."""
        return list(self._plugins.values())

    def lookup(self, kind: str, name: str) -> AnyAction | None:
        """Return the action if it is registered here or in a parent; do not ask plugins."""
        action = self._actions.get((kind, name))
        if action is None and self.parent is not None:
            return self.parent.lookup(kind, name)
        return action

    def registered(self, kind: str | None = None) -> list[AnyAction]:
        """Return the actions registered here, of one kind or all; do not ask plugins or parents."""
        with self._lock:
            return [action for action in self._actions.values() if kind is None or action.kind == kind]

    async def resolve(self, kind: str, name: str) -> AnyAction | None:
        """Return the action, asking the plugin with its prefix if it is not registered; None if it does not exist."""
        action = self.lookup(kind, name)
        if action is not None:
            return action
        if self.parent is not None:
            return await self.parent.resolve(kind, name)
        owner = name.split("/", 1)[0]
        for plugin in self.plugins:
            if plugin.name != owner and kind not in plugin.kinds:
                continue
            await self._start(plugin)
            action = self._actions.get((kind, name)) or await plugin.resolve(kind, name)
            if action is not None:
                with self._lock:  # a concurrent look-up may have been faster: the first one stays
                    return self._actions.setdefault((kind, name), action)
        return None

    async def get(self, kind: str, name: str) -> AnyAction:
        """Return the action; NOT_FOUND lists the registered ones."""
        action = self.lookup(kind, name) or await self.resolve(kind, name)
        if action is None:
            raise await self._not_found(kind, name)
        return action

    async def list_actions(self) -> list[ActionMetadata]:
        """Return everything that is registered or that a plugin can resolve, sorted by key.

        A plugin that cannot say (no key, no server) is logged and left out: the others are listed all the same.
        """
        found: dict[str, ActionMetadata] = {}
        if self.parent is not None:
            found = {item.key: item for item in await self.parent.list_actions()}
        for plugin in self.plugins:
            try:
                await self._start(plugin)
                found |= {item.key: item for item in await plugin.list_actions()}
            except Exception as error:
                logger.warning("the plugin `%s` cannot list its actions: %s", plugin.name, error)
        found |= {a.key: ActionMetadata(a.kind, a.name, a.description, a.metadata) for a in self.registered()}
        return [found[key] for key in sorted(found)]

    async def close(self) -> None:
        """Close the plugins in reverse order; raise the first error after all of them are closed."""
        errors: list[BaseException] = []
        for plugin in reversed(self.plugins):
            try:
                await plugin.close()
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]

    async def _start(self, plugin: Plugin) -> None:
        """Initialise the plugin once for all tasks, threads and event loops; a failed initialisation may be retried."""
        if plugin in _starting.get():
            return  # its own `init` asks: waiting for itself would never end
        while True:
            with self._lock:
                future = self._started.get(plugin.name)
                if future is None:
                    future = self._started[plugin.name] = concurrent.futures.Future()
                    break
            if future.result() if future.done() else await asyncio.shield(asyncio.wrap_future(future)):
                return
        token = _starting.set((*_starting.get(), plugin))
        try:
            for action in await plugin.init():
                self.register(action)
        except BaseException as error:
            with self._lock:
                del self._started[plugin.name]
            if isinstance(error, Exception):
                future.set_exception(error)
            else:
                future.set_result(False)  # this caller was cancelled, those who wait were not: one of them goes on
            raise
        finally:
            _starting.reset(token)
        future.set_result(True)

    def _plugin_names(self) -> set[str]:
        own = {plugin.name for plugin in self.plugins}
        return own if self.parent is None else own | self.parent._plugin_names()

    async def _not_found(self, kind: str, name: str) -> GenkitError:
        names = sorted(item.name for item in await self.list_actions() if item.kind == kind)
        owner = name.partition("/")[0]
        close = difflib.get_close_matches(name, names, n=1)
        registered = f"Registered {kind}s: {', '.join(f'`{one}`' for one in names)}." if names else ""
        problem = f"Unknown {kind} `{name}`"
        if close:
            hint = f"Did you mean `{close[0]}`? {registered}"
        elif owner in installed_plugins() and owner not in self._plugin_names():
            problem += f": no plugin named `{owner}` is loaded"
            hint = f"Add `{installed_plugins()[owner].attr}()` to `Genkit(plugins=[...])`. {registered}".rstrip()
        else:
            hint = registered or f"No {kind} is registered: define one, or pass its plugin to `Genkit(plugins=[...])`."
        return GenkitError(
            "NOT_FOUND",
            f"{problem}.",
            hint=hint,
            details={"kind": kind, "name": name, "names": names},
        )
