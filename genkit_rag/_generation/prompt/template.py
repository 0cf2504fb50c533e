"""Templates: texts with tags that are rendered to messages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from genkit_rag._core.errors import GenkitError
from genkit_rag._core.threads import run_in_thread
from genkit_rag._documents.part import Message, Role
from genkit_rag._generation.prompt.helpers import Helper, adapt_helper, engine_helpers
from genkit_rag._generation.prompt.markers import Assembly, Mark, Markers, assemble
from genkit_rag._generation.prompt.values import counted, nothing

if TYPE_CHECKING:
    from genkit_rag._generation.prompt.engine import Program

MAX_STEPS = 200_000
"""The maximum number of values and template pieces (texts, tags, loop iterations) of one rendering."""

MAX_CHARACTERS = 10_000_000
"""The maximum number of characters that one rendering may produce."""

_QUICK_STEPS = 1000
_QUICK_CHARACTERS = 200_000
# Larger inputs are rendered again in a worker thread to keep the event loop responsive.

_NOT_DATA = ("root", "partial-block")  # reserved by the engine


@dataclass(frozen=True, slots=True)
class Inputs:
    """The inputs of a template.

    Attributes:
        values: The values of `{{name}}`.
        context: The values of `{{@name}}`.
        history: The messages of `{{history}}`.
    """

    values: Any = None
    context: Mapping[str, Any] = field(default_factory=dict[str, Any])
    history: Sequence[Message] = ()


@dataclass(frozen=True, slots=True)
class TemplateEnvironment:
    """The partials and helpers of the application, by name."""

    partials: Mapping[str, Template] = field(default_factory=dict[str, "Template"])
    helpers: Mapping[str, Helper] = field(default_factory=dict[str, Helper])


class Template:
    """A template, which is compiled if it has tags.

    Args:
        source: The text; text without `{{` needs no engine.
        where: The name of the template in error messages.
        line: The line of the file in which the template begins.

    Raises:
        GenkitError: INVALID_ARGUMENT with the place and the line.
        MissingExtra: The template has tags and the engine is not installed.
    """

    def __init__(self, source: str, where: str, line: int = 1) -> None:
        self.source = source
        self.where = where
        self.line = line
        self._program: Program | None = None
        if "{{" in source:
            self.program()

    @property
    def includes(self) -> bool:
        """Whether the template includes partials."""
        return self._program is not None and bool(self._program.partials)

    def program(self) -> Program:
        """Return the compiled template."""
        if self._program is None:
            from genkit_rag._generation.prompt.engine import compile_source

            self._program = compile_source(self.source, self.where, self.line)
        return self._program

    async def messages(self, inputs: Inputs, environment: TemplateEnvironment, first: Role = "user") -> Assembly:
        """Render the messages; `first` is the role before the first `{{role}}`.

        Raises:
            GenkitError: INVALID_ARGUMENT for a tag that fails, RESOURCE_EXHAUSTED beyond the limits.
        """
        return assemble(await self._pieces(inputs, environment), inputs.history, first)

    async def _pieces(self, inputs: Inputs, environment: TemplateEnvironment) -> list[str | Mark]:
        if self._program is None:
            return [self.source]
        from genkit_rag._generation.prompt.engine import Budget, OverBudget

        try:
            return self._render(inputs, environment, Budget(_QUICK_STEPS, _QUICK_CHARACTERS))
        except OverBudget:
            pass
        try:
            return await run_in_thread(self._render, inputs, environment, Budget(MAX_STEPS, MAX_CHARACTERS))
        except OverBudget as error:
            raise GenkitError(
                "RESOURCE_EXHAUSTED",
                f"{self.where}: rendering takes more than {MAX_STEPS:,} steps or {MAX_CHARACTERS:,} characters.",
                hint="Reduce the input or the loops.",
                details={"source": self.where},
            ) from error

    def _render(self, inputs: Inputs, environment: TemplateEnvironment, budget: Any) -> list[str | Mark]:
        from genkit_rag._generation.prompt import engine

        markers = Markers()
        values = counted(inputs.values, "input", engine.Counted, budget.spend)
        context = {key: value for key, value in inputs.context.items() if key not in _NOT_DATA}
        helpers = {name: adapt_helper(name, fn, engine.spend_text) for name, fn in environment.helpers.items()}
        helpers |= {
            "role": markers.role,
            "history": markers.history,
            "section": markers.section,
            "media": markers.media,
            **engine_helpers(engine.spend_text),
        }
        program = self.program()
        try:
            text = engine.render(
                program,
                {} if values is None else values,
                data=counted(context, "context", engine.Counted, budget.spend, nothing),
                helpers=helpers,
                partials=_reachable(program, environment.partials),
                budget=budget,
            )
        except engine.OverBudget:
            raise
        except Exception as error:
            raise self._failure(error, environment) from error
        return markers.split(text)

    def _failure(self, error: Exception, environment: TemplateEnvironment) -> GenkitError:
        """Convert an error of the engine to INVALID_ARGUMENT, with the line of the tag if it can be found."""
        from genkit_rag._generation.prompt import engine

        if isinstance(error, RecursionError):
            problem = f"partials or blocks are nested more than {engine.MAX_DEPTH} deep"
            return engine.template_error(self.where, None, problem, error)
        if isinstance(error, GenkitError):
            named, problem = str(error.details.get("argument", "")), error.message.rstrip(".")
        else:
            problem = (str(error) or type(error).__name__).rstrip(".")
            found = re.search(r'partial (\S+) could|helper: "(.+)"|(#\w+)', problem)
            named = next((name for name in found.groups() if name), "") if found else ""
        failure = engine.template_error(
            self.where, engine.line_of(self.source, named, self.line) if named else None, problem, error
        )
        if isinstance(error, GenkitError):
            failure.status, failure.hint = error.status, error.hint
        elif "partial" in problem:
            failure.hint = (
                f"Defined partials: {', '.join(sorted(environment.partials)) or 'none'}; see ai.define_partial."
            )
        elif "Missing helper" in problem:
            failure.hint = f"Defined helpers: {', '.join(sorted(environment.helpers)) or 'none'}; see ai.define_helper."
        return failure


def _reachable(program: Program, partials: Mapping[str, Template]) -> dict[str, Program]:
    """Return the programs of the partials that a program includes, directly or indirectly."""
    found: dict[str, Program] = {}
    names = list(program.partials)
    while names:
        name = names.pop()
        if name.startswith("("):  # the name is known only at rendering
            names += [other for other in partials if other not in found]
        elif name in partials and name not in found:
            found[name] = partials[name].program()
            names += found[name].partials
    return found
