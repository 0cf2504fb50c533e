"""What the prompts of one application share: partials, helpers, schemas, and the folders they are in."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genkit_rag._core import schema
from genkit_rag._core.action import Action, ActionMetadata
from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._core.registry import Plugin, Registry
from genkit_rag._core.threads import run_in_thread
from genkit_rag._generation.prompt.files import PromptFile, check_key, prompt_key, read_folder
from genkit_rag._generation.prompt.helpers import Helper, check_helper
from genkit_rag._generation.prompt.picoschema import SCALARS, named_schema, to_json_schema
from genkit_rag._generation.prompt.template import Surroundings, Template

if TYPE_CHECKING:
    from genkit_rag._generation.prompt.engine import Program
    from genkit_rag._generation.prompt.prompt import ExecutablePrompt

logger = logging.getLogger("genkit_rag.prompt")
_VALUE = "promptLibrary"


class PromptLibrary:
    """The prompts of a registry, and what their templates share."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._partials: dict[str, Template] = {}
        self._helpers: dict[str, Helper] = {}
        self._schemas: dict[str, Any] = {}
        self._prompts: dict[str, ExecutablePrompt] = {}
        self._files: dict[str, PromptFile] = {}
        self._folders: list[Path] = []

    # -- what an application adds

    def add_folder(self, path: str | Path) -> None:
        """Adds a folder of prompt files; nothing is read before the first look-up, listing or use of a partial."""
        self._folders.append(Path(path))

    def define_partial(self, name: str, source: str) -> None:
        """Adds a template that others include with `{{> name}}`; it wins over a file of that name."""
        if check_key(name) in self._partials:
            raise _taken("partial", name)
        self._partials[name] = Template(source, f"the partial `{name}`")

    def define_helper(self, name: str, fn: Helper) -> None:
        """Adds a function that templates call."""
        check_helper(name, fn)
        if name in self._helpers:
            raise _taken("helper", name)
        self._helpers[name] = fn

    def define_schema(self, name: str, type_or_schema: Any) -> None:
        """Adds a type or JSON Schema that picoschemas name."""
        if name in SCALARS or "," in name or "(" in name or not name.strip():
            raise invalid("name", name, "is no name for a schema", hint="Write define_schema('Recipe', Recipe).")
        if name in self._schemas:
            raise _taken("schema", name)
        self._schemas[name] = type_or_schema

    def add(self, prompt: ExecutablePrompt) -> ExecutablePrompt:
        """Returns the prompt after adding it and its actions; raises ALREADY_EXISTS when its key is taken."""
        if prompt.key in self._prompts:
            raise _taken("prompt", prompt.key)
        for action in prompt.actions:
            self.registry.register(action)
        self._prompts[prompt.key] = prompt
        return prompt

    # -- look-ups

    def schema(self, source: Any) -> Any:
        """Returns the type or JSON Schema of a picoschema; the type itself for nothing but a name."""
        name = named_schema(source)
        return self._schemas[name] if name in self._schemas else to_json_schema(source, self._json_schema)

    def _json_schema(self, name: str) -> dict[str, Any] | None:
        return schema.json_schema(self._schemas[name]) or {} if name in self._schemas else None

    async def surroundings(self, *, partials: bool) -> Surroundings:
        """Returns what templates are rendered with; reads the folders first when partials are needed."""
        if partials:
            await self._read()
        return Surroundings(self._partials, self._helpers)

    async def get(self, name: str, variant: str | None = None) -> ExecutablePrompt:
        """Returns a prompt; raises NOT_FOUND that says which there are."""
        key = prompt_key(name, variant)
        found = await self.find(key)
        if found is not None:
            return found
        keys = sorted({*self._prompts, *self._files})
        close = difflib.get_close_matches(key, keys, n=1)
        there = f"There are: {', '.join(keys)}." if keys else "None is defined: see ai.define_prompt and prompt_dir=."
        hint = f"Did you mean `{close[0]}`? {there}" if close else there
        raise GenkitError(
            "NOT_FOUND",
            f"There is no prompt `{key}`.",
            hint=hint,
            details={"kind": "prompt", "name": key, "names": keys},
        )

    async def find(self, key: str) -> ExecutablePrompt | None:
        """Returns a prompt, made of its file when it was not asked for before; None when there is none."""
        if key in self._prompts:
            return self._prompts[key]
        await self._read()
        file = self._files.get(key)
        if file is None:
            return None
        from genkit_rag._generation.prompt.definition import prompt_of_file

        made = await run_in_thread(prompt_of_file, self, file)
        # A concurrent look-up may have been faster.
        return self._prompts[key] if key in self._prompts else self.add(made)

    async def all(self) -> list[ExecutablePrompt]:
        """Returns all prompts; files that are wrong are logged and left out."""
        await self._read()
        for key in self._files:
            try:
                await self.find(key)
            except (GenkitError, ImportError) as error:
                logger.warning("left out: %s", error)
        return list(self._prompts.values())

    async def _read(self) -> None:
        for folder in list(self._folders):
            for file in await run_in_thread(read_folder, folder):
                if not file.is_partial:
                    self._files.setdefault(file.key, file)
                else:
                    self._partials.setdefault(file.key, LazyTemplate(file))
            if folder in self._folders:  # a concurrent reading may have been faster
                self._folders.remove(folder)


class LazyTemplate(Template):
    """A partial in a file: compiled when something includes it, so that a wrong one harms no other prompt."""

    def __init__(self, file: PromptFile) -> None:
        super().__init__("", file.where)
        self._file = file

    def program(self) -> Program:
        """Returns the compiled template; raises what is wrong with the file."""
        self.source = self._file.read()
        return super().program()


class PromptFiles(Plugin):
    """Makes the prompts in files known to the registry."""

    name = "prompts"
    kinds = ("prompt", "executable-prompt")

    def __init__(self, library: PromptLibrary) -> None:
        self._library = library

    async def init(self) -> Sequence[Action[Any, Any, Any]]:
        """Returns nothing: prompts are read when they are asked for."""
        return []

    async def resolve(self, kind: str, name: str) -> Action[Any, Any, Any] | None:
        """Returns an action of a prompt in a file."""
        if kind not in self.kinds:
            return None
        found = await self._library.find(name)
        return next((action for action in found.actions if action.kind == kind), None) if found else None

    async def list_actions(self) -> Sequence[ActionMetadata]:
        """Returns what there is in files."""
        return [
            ActionMetadata(action.kind, action.name, action.description, action.metadata)
            for prompt in await self._library.all()
            for action in prompt.actions
        ]


def library_of(registry: Registry) -> PromptLibrary:
    """Returns the prompts of a registry, or of the one at its root."""
    while registry.parent is not None:
        registry = registry.parent
    if _VALUE not in registry.values:
        registry.values[_VALUE] = PromptLibrary(registry)
    found: PromptLibrary = registry.values[_VALUE]
    return found


def load_prompt_dir(registry: Registry, path: str | Path) -> None:
    """Makes the `.prompt` files of a folder prompts of the registry; nothing is read before one is asked for."""
    library = library_of(registry)
    if not any(isinstance(plugin, PromptFiles) for plugin in registry.plugins):
        registry.add_plugin(PromptFiles(library))
    library.add_folder(path)


def _taken(kind: str, name: str) -> GenkitError:
    return GenkitError(
        "ALREADY_EXISTS", f"The {kind} `{name}` is defined already.", hint="Give one of the two another name."
    )
