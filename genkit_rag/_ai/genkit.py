"""The class that users hold: a registry, plugins and the verbs over them."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from genkit_rag._ai.dev import Dev
from genkit_rag._ai.evaluation import Evaluation, add_built_in_evaluators
from genkit_rag._ai.generation import Generation
from genkit_rag._ai.ingestion import Ingestion
from genkit_rag._ai.middleware import MiddlewareDefinitions
from genkit_rag._ai.operations import Operations
from genkit_rag._ai.prompts import Prompts
from genkit_rag._ai.retrieval import Retrieval
from genkit_rag._ai.steps import Steps
from genkit_rag._core.action import Action
from genkit_rag._core.errors import invalid
from genkit_rag._core.registry import Plugin, Registry
from genkit_rag._generation.generate import DEFAULT_MODEL, generate_action, render_action
from genkit_rag._generation.prompt import load_prompt_dir

T = TypeVar("T")
AnyAction = Action[Any, Any, Any]


class Genkit(Evaluation, Generation, Ingestion, MiddlewareDefinitions, Operations, Prompts, Retrieval, Steps):
    """A registry of actions and the verbs over them. Use it as an async context manager, which closes the plugins.

    Args:
        plugins: Sources of actions; nothing of them runs until one of their actions is asked for.
        model: The name of the model that `generate` uses when it is given none.
        prompt_dir: A folder of `.prompt` files; nothing is read before a prompt is asked for.
    """

    def __init__(
        self,
        plugins: Sequence[Plugin] = (),
        *,
        model: str | AnyAction | None = None,
        prompt_dir: str | Path | None = None,
    ) -> None:
        self.registry = Registry()
        if isinstance(plugins, Plugin):
            raise invalid("plugins", plugins, "must be a list", hint="Write Genkit(plugins=[MiniLM()]).")
        for plugin in plugins:
            if not isinstance(plugin, Plugin):
                raise invalid("plugins", plugin, "must hold plugin objects", hint="Write Genkit(plugins=[MiniLM()]).")
            self.registry.add_plugin(plugin)
        add_built_in_evaluators(self.registry)
        self.registry.register(generate_action(self.registry))
        self.registry.register(render_action(self.registry))
        if isinstance(model, Action):
            if self.registry.lookup(model.kind, model.name) is None:
                self.registry.register(model)
            model = model.name
        if model is not None:
            self.registry.values[DEFAULT_MODEL] = model
        if prompt_dir is not None:
            load_prompt_dir(self.registry, prompt_dir)
        self._dev = Dev(self.registry)

    @classmethod
    def from_config(
        cls,
        path: str | Path | None = None,
        *,
        plugins: Sequence[Plugin] = (),
        model: str | AnyAction | None = None,
        prompt_dir: str | Path | None = None,
    ) -> Self:
        """Create an instance with the plugins and the default model of `genkit_rag.toml`.

        A plugin without a table is added with its defaults when one of its actions is first used.

        Args:
            path: The file. By default `$GENKIT_RAG_CONFIG`, or else `genkit_rag.toml` in the working directory.
            plugins: Further plugins. A plugin given here replaces the table of the same name.
            model: The default model instead of the file's.
            prompt_dir: A folder of `.prompt` files.

        Raises:
            GenkitError: NOT_FOUND for a missing file; INVALID_ARGUMENT for an unknown key or an invalid value.
            MissingExtra: The library of a configured plugin is not installed.
        """
        from genkit_rag._config import ConfiguredPlugins, load_config, make_plugin

        config = load_config(path, required=True)
        given = {plugin.name for plugin in plugins}
        made = [make_plugin(config, name) for name in config.plugins if name not in given]
        return cls(
            [*plugins, *made, ConfiguredPlugins(config)], model=model or config.defaults.model, prompt_dir=prompt_dir
        )

    @property
    def model(self) -> str | None:
        """The name of the default model."""
        return self.registry.values.get(DEFAULT_MODEL)

    async def __aenter__(self) -> Self:
        await self._dev.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the plugins (stores, connections, processes) in reverse order."""
        await self._dev.close()
        await self.registry.close()

    def run_main(self, main: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in a new event loop, close the plugins and return its result."""
        if not inspect.isawaitable(main):
            raise invalid("main", main, "must be a coroutine", hint="Call the function: ai.run_main(main()).")

        async def run() -> T:
            async with self:
                result = await main
                await self._dev.hold()
                return result

        return asyncio.run(run())
