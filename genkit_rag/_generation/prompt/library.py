"""The prompts of an application, defined in code or in files."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from genkit_rag._core.action import Action, ActionMetadata
from genkit_rag._core.errors import GenkitError
from genkit_rag._core.registry import Plugin, Registry
from genkit_rag._core.threads import run_in_thread
from genkit_rag._generation.prompt.building import build_from_code, build_from_file, build_from_function
from genkit_rag._generation.prompt.environment import PromptEnvironment, already_defined
from genkit_rag._generation.prompt.files import prompt_key
from genkit_rag._generation.prompt.options import PromptKwargs
from genkit_rag._generation.prompt.prompt import ExecutablePrompt

logger = logging.getLogger("genkit_rag.prompt")
_VALUE = "promptLibrary"


class PromptLibrary(PromptEnvironment):
    """The prompts of a registry, and their environment."""

    def __init__(self, registry: Registry) -> None:
        super().__init__(registry)
        self._prompts: dict[str, ExecutablePrompt] = {}

    def add(self, prompt: ExecutablePrompt) -> ExecutablePrompt:
        """Add a prompt, register its actions, and return it; raises ALREADY_EXISTS for a key in use."""
        if prompt.key in self._prompts:
            raise already_defined("prompt", prompt.key)
        for action in prompt.actions:
            self.registry.register(action)
        self._prompts[prompt.key] = prompt
        return prompt

    async def get(self, name: str, variant: str | None = None) -> ExecutablePrompt:
        """Return a prompt; the NOT_FOUND error lists the defined prompts."""
        key = prompt_key(name, variant)
        found = await self.find(key)
        if found is not None:
            return found
        keys = sorted({*self._prompts, *self._files})
        close = difflib.get_close_matches(key, keys, n=1)
        known = f"Defined prompts: {', '.join(keys)}." if keys else "Define one with ai.define_prompt or prompt_dir=."
        hint = f"Did you mean `{close[0]}`? {known}" if close else known
        raise GenkitError(
            "NOT_FOUND",
            f"Unknown prompt `{key}`.",
            hint=hint,
            details={"kind": "prompt", "name": key, "names": keys},
        )

    async def find(self, key: str) -> ExecutablePrompt | None:
        """Return a prompt, built from its file at the first look-up; None for an unknown key."""
        if key in self._prompts:
            return self._prompts[key]
        await self._read_folders()
        file = self._files.get(key)
        if file is None:
            return None
        built = await run_in_thread(build_from_file, self, file)
        # A concurrent look-up may have added it already.
        return self._prompts[key] if key in self._prompts else self.add(built)

    async def all(self) -> list[ExecutablePrompt]:
        """Return all prompts; invalid files are logged and skipped."""
        await self._read_folders()
        for key in self._files:
            try:
                await self.find(key)
            except (GenkitError, ImportError) as error:
                logger.warning("skipped an invalid prompt file: %s", error)
        return list(self._prompts.values())


class PromptFiles(Plugin):
    """A plugin that makes the prompts in files available in the registry."""

    name = "prompts"
    kinds = ("prompt", "executable-prompt")

    def __init__(self, library: PromptLibrary) -> None:
        self._library = library

    async def init(self) -> Sequence[Action[Any, Any, Any]]:
        """Return no actions; prompts are read at their first look-up."""
        return []

    async def resolve(self, kind: str, name: str) -> Action[Any, Any, Any] | None:
        """Return an action of a prompt in a file."""
        if kind not in self.kinds:
            return None
        found = await self._library.find(name)
        return next((action for action in found.actions if action.kind == kind), None) if found else None

    async def list_actions(self) -> Sequence[ActionMetadata]:
        """List the actions of the prompts in files."""
        return [
            ActionMetadata(action.kind, action.name, action.description, action.metadata)
            for prompt in await self._library.all()
            for action in prompt.actions
        ]


def library_of(registry: Registry) -> PromptLibrary:
    """Return the prompt library of a registry, which is that of its root."""
    while registry.parent is not None:
        registry = registry.parent
    if _VALUE not in registry.values:
        registry.values[_VALUE] = PromptLibrary(registry)
    found: PromptLibrary = registry.values[_VALUE]
    return found


def load_prompt_dir(registry: Registry, path: str | Path) -> None:
    """Add the `.prompt` files of a folder to the registry; each is read at its first look-up."""
    library = library_of(registry)
    if not any(isinstance(plugin, PromptFiles) for plugin in registry.plugins):
        registry.add_plugin(PromptFiles(library))
    library.add_folder(path)


def define_prompt(
    library: PromptLibrary, name: str, variant: str | None, texts: Mapping[str, Any], options: PromptKwargs
) -> ExecutablePrompt:
    """Define a prompt in code; see `build_from_code`."""
    return library.add(build_from_code(library, name, variant, texts, options))


def define_prompt_function(
    library: PromptLibrary, fn: Callable[..., Any], name: str | None, variant: str | None, options: PromptKwargs
) -> ExecutablePrompt:
    """Define the prompt of a function `(input)` or `(input, ctx)`; see `build_from_function`."""
    return library.add(build_from_function(library, fn, name, variant, options))
