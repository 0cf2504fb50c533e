"""A template: text with tags, rendered to messages."""

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
"""How many values and pieces of templates (texts, tags, rounds of loops) one rendering may go through."""

MAX_CHARACTERS = 10_000_000
"""How many characters one rendering may put together."""

_QUICK_STEPS = 1000
_QUICK_CHARACTERS = 200_000
# What is over this is rendered once more in a worker thread: the event loop is not to wait for it.

_NOT_DATA = ("root", "partial-block")  # the engine's own


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a template is rendered with.

    Attributes:
        values: What `{{name}}` reads.
        context: What `{{@name}}` reads.
        history: What `{{history}}` stands for.
    """

    values: Any = None
    context: Mapping[str, Any] = field(default_factory=dict[str, Any])
    history: Sequence[Message] = ()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What templates share: partials by name and the helpers of the application."""

    partials: Mapping[str, Template] = field(default_factory=dict[str, "Template"])
    helpers: Mapping[str, Helper] = field(default_factory=dict[str, Helper])


class Template:
    """A template, compiled when it has tags.

    Args:
        source: The text; text without `{{` needs no engine.
        where: What it is called in errors.
        line: The line of the file in which it begins.

    Raises:
        GenkitError: INVALID_ARGUMENT that names the place and the line.
        MissingExtra: It has tags and the engine is not installed.
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
        """Whether it includes partials."""
        return self._program is not None and bool(self._program.partials)

    def program(self) -> Program:
        """Returns the compiled template."""
        if self._program is None:
            from genkit_rag._generation.prompt.engine import compile_source

            self._program = compile_source(self.source, self.where, self.line)
        return self._program

    async def messages(self, inputs: Inputs, around: Surroundings, first: Role = "user") -> Assembly:
        """Returns the messages; `first` speaks before the first `{{role}}`.

        Raises:
            GenkitError: INVALID_ARGUMENT for a tag that fails, RESOURCE_EXHAUSTED for a rendering without bounds.
        """
        return assemble(await self._pieces(inputs, around), inputs.history, first)

    async def _pieces(self, inputs: Inputs, around: Surroundings) -> list[str | Mark]:
        if self._program is None:
            return [self.source]
        from genkit_rag._generation.prompt.engine import Budget, TooMuch

        try:
            return self._render(inputs, around, Budget(_QUICK_STEPS, _QUICK_CHARACTERS))
        except TooMuch:
            pass
        try:
            return await run_in_thread(self._render, inputs, around, Budget(MAX_STEPS, MAX_CHARACTERS))
        except TooMuch as error:
            raise GenkitError(
                "RESOURCE_EXHAUSTED",
                f"{self.where}: rendering takes more than {MAX_STEPS:,} steps or {MAX_CHARACTERS:,} characters.",
                hint="Pass less, or shorten the loops.",
                details={"source": self.where},
            ) from error

    def _render(self, inputs: Inputs, around: Surroundings, budget: Any) -> list[str | Mark]:
        from genkit_rag._generation.prompt import engine

        markers = Markers()
        values = counted(inputs.values, "input", engine.Counted, budget.spend)
        context = {key: value for key, value in inputs.context.items() if key not in _NOT_DATA}
        helpers = {name: adapt_helper(name, fn, engine.spend_text) for name, fn in around.helpers.items()}
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
                partials=_reachable(program, around.partials),
                budget=budget,
            )
        except engine.TooMuch:
            raise
        except Exception as error:
            raise self._failure(error, around) from error
        return markers.split(text)

    def _failure(self, error: Exception, around: Surroundings) -> GenkitError:
        """Returns what the engine ran into as INVALID_ARGUMENT, with the line of the tag where it can be told."""
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
            failure.hint = f"Partials: {', '.join(sorted(around.partials)) or 'none'}; see ai.define_partial."
        elif "Missing helper" in problem:
            failure.hint = f"Helpers of your own: {', '.join(sorted(around.helpers)) or 'none'}; see ai.define_helper."
        return failure


def _reachable(program: Program, partials: Mapping[str, Template]) -> dict[str, Program]:
    """Returns the programs of the partials that a program includes, and those that these include."""
    found: dict[str, Program] = {}
    names = list(program.partials)
    while names:
        name = names.pop()
        if name.startswith("("):  # a name that only the rendering knows
            names += [other for other in partials if other not in found]
        elif name in partials and name not in found:
            found[name] = partials[name].program()
            names += found[name].partials
    return found
