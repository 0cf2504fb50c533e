"""The environment of the prompts of an application: partials, helpers, schemas and prompt folders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from genkit_rag._core import schema
from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._core.registry import Registry
from genkit_rag._core.threads import run_in_thread
from genkit_rag._generation.prompt.files import PromptFile, check_key, read_folder
from genkit_rag._generation.prompt.helpers import Helper, check_helper
from genkit_rag._generation.prompt.picoschema import SCALARS, named_schema, to_json_schema
from genkit_rag._generation.prompt.template import Template, TemplateEnvironment

if TYPE_CHECKING:
    from genkit_rag._generation.prompt.engine import Program


class PromptEnvironment:
    """The registry of the prompts, and everything that their templates share."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._partials: dict[str, Template] = {}
        self._helpers: dict[str, Helper] = {}
        self._schemas: dict[str, Any] = {}
        self._files: dict[str, PromptFile] = {}
        self._folders: list[Path] = []

    def add_folder(self, path: str | Path) -> None:
        """Add a folder of prompt files; it is read at the first look-up, listing or use of a partial."""
        self._folders.append(Path(path))

    def define_partial(self, name: str, source: str) -> None:
        """Add a template that others include with `{{> name}}`; it takes precedence over a file of the same name."""
        if check_key(name) in self._partials:
            raise already_defined("partial", name)
        self._partials[name] = Template(source, f"the partial `{name}`")

    def define_helper(self, name: str, fn: Helper) -> None:
        """Add a function that templates call."""
        check_helper(name, fn)
        if name in self._helpers:
            raise already_defined("helper", name)
        self._helpers[name] = fn

    def define_schema(self, name: str, type_or_schema: Any) -> None:
        """Add a type or JSON Schema that picoschemas refer to by name."""
        if name in SCALARS or "," in name or "(" in name or not name.strip():
            raise invalid("name", name, "must be a schema name", hint="For example define_schema('Recipe', Recipe).")
        if name in self._schemas:
            raise already_defined("schema", name)
        self._schemas[name] = type_or_schema

    def schema(self, source: Any) -> Any:
        """Resolve a picoschema to a type or JSON Schema; a bare name resolves to the type that was defined."""
        name = named_schema(source)
        return self._schemas[name] if name in self._schemas else to_json_schema(source, self._json_schema)

    def _json_schema(self, name: str) -> dict[str, Any] | None:
        return schema.json_schema(self._schemas[name]) or {} if name in self._schemas else None

    async def for_templates(self, *, partials: bool) -> TemplateEnvironment:
        """Return the partials and helpers for rendering; reads the folders first if partials are needed."""
        if partials:
            await self._read_folders()
        return TemplateEnvironment(self._partials, self._helpers)

    async def _read_folders(self) -> None:
        for folder in list(self._folders):
            for file in await run_in_thread(read_folder, folder):
                if not file.is_partial:
                    self._files.setdefault(file.key, file)
                else:
                    self._partials.setdefault(file.key, LazyTemplate(file))
            if folder in self._folders:  # a concurrent call may have read it already
                self._folders.remove(folder)


class LazyTemplate(Template):
    """A partial in a file, compiled at its first use, so that an invalid one fails only the prompts that include it."""

    def __init__(self, file: PromptFile) -> None:
        super().__init__("", file.where)
        self._file = file

    def program(self) -> Program:
        """Return the compiled template; raises the error of an invalid file."""
        self.source = self._file.read()
        return super().program()


def already_defined(kind: str, name: str) -> GenkitError:
    """Create the error for a name that is defined twice."""
    return GenkitError("ALREADY_EXISTS", f"The {kind} `{name}` is already defined.", hint="Rename one of the two.")
