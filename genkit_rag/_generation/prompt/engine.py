"""The Handlebars engine, with limits; the only module that uses its library."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from genkit_rag._core.errors import GenkitError, require_extra

with require_extra("prompts", "dotpromptz_handlebars"):
    from dotpromptz_handlebars import Block, HelperOptions, InlinePartial, Partial, PartialBlock
    from dotpromptz_handlebars._render import (  # pyright: ignore[reportPrivateUsage] - the public API hides the nodes
        compile_template,
        render_program,
    )

MAX_SOURCE = 1_000_000
"""The maximum number of characters of a template."""

MAX_DEPTH = 64
"""The maximum nesting of blocks and partials, which also ends a partial that includes itself."""

EngineHelper = Callable[[list[Any], HelperOptions], Any]


class OverBudget(GenkitError):
    """The error of a rendering that exceeds its budget."""

    def __init__(self) -> None:
        super().__init__("RESOURCE_EXHAUSTED", "The rendering exceeds its budget.")


@dataclass(slots=True)
class Budget:
    """The remaining budget of one rendering.

    Attributes:
        steps: Template pieces to render.
        characters: Characters to produce.
    """

    steps: int
    characters: int

    def spend(self, steps: int, characters: int) -> None:
        """Take from the budget; raises `OverBudget` when it is exceeded."""
        self.steps -= steps
        self.characters -= characters
        if self.steps < 0 or self.characters < 0:
            raise OverBudget


_budget: ContextVar[Budget | None] = ContextVar("genkit_rag_prompt_budget", default=None)


class Counted(str):
    """A text of the input that is taken from the budget when a template prints it."""

    __slots__ = ()

    def __str__(self) -> str:
        _spend(0, len(self))
        return super().__str__()


class Program(list[Any]):
    """The pieces of a template or block, taken from the budget at each rendering."""

    __slots__ = ("characters", "partials")

    def __init__(self, nodes: list[Any]) -> None:
        super().__init__(nodes)
        self.characters = sum(len(getattr(node, "value", "")) for node in nodes)
        self.partials = frozenset(_partial_names(nodes))

    def __iter__(self) -> Iterator[Any]:
        _spend(1 + len(self), self.characters)
        return super().__iter__()


def compile_source(source: str, where: str, line: int = 1) -> Program:
    """Compile a template.

    Args:
        source: The template.
        where: The name of the template in error messages, such as a file.
        line: The line of the file in which the template begins.

    Raises:
        GenkitError: INVALID_ARGUMENT with the place and the line of the invalid tag.
    """
    if len(source) > MAX_SOURCE:
        raise GenkitError("INVALID_ARGUMENT", f"{where}: the template has more than {MAX_SOURCE:,} characters.")
    source = _with_spaces_kept(source)
    problem = _problem(source)
    if isinstance(problem, Program):
        return problem
    at = line + source.count("\n", 0, _position(source, problem))
    raise template_error(where, at, problem)


def _with_spaces_kept(source: str) -> str:
    """Insert an empty tag before blank space between two tags of one line, so that the space is kept.

    The parser drops the space after a block or partial at the beginning of a line when a tag follows; Handlebars drops
    it only at the end of a line.
    """
    if "{{{{" in source:  # in a raw block tags are text
        return source
    return re.sub(r"(?<!~)\}\}([ \t]+)(?=\{\{)", r'}}{{""}}\1', source)


def template_error(where: str, line: int | None, problem: str, cause: BaseException | None = None) -> GenkitError:
    """Create the INVALID_ARGUMENT error of a template that cannot be compiled or rendered."""
    place = where if line is None else f"{where}, line {line}"
    hint = "Tags are Handlebars: {{name}}, {{#if x}}...{{/if}}, {{> partial}}; write \\{{ for two braces."
    details = {"source": where, "line": line}
    return GenkitError("INVALID_ARGUMENT", f"{place}: {problem}.", hint=hint, details=details, cause=cause)


def render(
    program: Program,
    values: Any,
    *,
    data: Mapping[str, Any],
    helpers: dict[str, EngineHelper],
    partials: Mapping[str, Program],
    budget: Budget,
) -> str:
    """Render a program; raises `OverBudget` and the errors of the engine and the helpers.

    Args:
        program: The result of `compile_source`.
        values: The values of `{{name}}`: JSON-compatible data with `Counted` texts.
        data: The values of `{{@name}}`, likewise.
        helpers: Functions by name.
        partials: Programs by name.
        budget: The budget of the rendering.
    """
    token = _budget.set(budget)
    try:
        return render_program(
            program,
            values,
            data=dict(data),
            helpers=helpers,
            partials=dict(partials),
            escape_html=False,
            strict=False,
            max_depth=MAX_DEPTH,
        )
    finally:
        _budget.reset(token)


def spend_text(text: str) -> str:
    """Take a text from the budget of the current rendering and return it."""
    _spend(0, len(text))
    return text


def _spend(steps: int, characters: int) -> None:
    budget = _budget.get()
    if budget is not None:  # None when a helper uses a text after the rendering
        budget.spend(steps, characters)


def _problem(source: str) -> Program | str:
    """Return the program, or a description of the error in the source."""
    try:
        return _bounded(compile_template(source, max_depth=MAX_DEPTH))
    except RecursionError:
        return f"blocks are nested more than {MAX_DEPTH} deep"
    except Exception as error:  # the parser raises IndexError and the like for malformed tags
        return str(error) if type(error) is ValueError else "a tag is malformed"


def _bounded(nodes: list[Any]) -> Program:
    """Convert nodes, and the nodes inside them, to programs."""
    for node in nodes:
        if isinstance(node, Block):
            node.body = _bounded(node.body)
            node.inverse = _bounded(node.inverse)
        elif isinstance(node, PartialBlock | InlinePartial):
            node.body = _bounded(node.body)
    return Program(nodes)


_UNCLOSED = "unclosed block"
_SEARCH = 5_000_000
"""The maximum number of characters to compile in the search for the line of an error."""


def _position(source: str, problem: str) -> int:
    """Return the position of the tag with the problem, which the parser does not report.

    It is the last tag before which the source compiles, apart from blocks that are not closed yet. An unclosed block
    begins at the last tag before which the source compiles completely.
    """
    fine = (_UNCLOSED,) if problem != _UNCLOSED else ()
    left = _SEARCH
    for match in reversed(list(re.finditer(r"\{\{", source))):
        left -= match.start()
        found = _problem(source[: match.start()])
        if isinstance(found, Program) or found in fine:
            return match.start()
        if left < 0:
            break
    return 0


def line_of(source: str, name: str, line: int) -> int | None:
    """Return the line of the first tag with a name; None without such a tag."""
    found = re.search(r"\{\{[^{}]*?" + re.escape(name), source)
    return None if found is None else line + source.count("\n", 0, found.end())


def _partial_names(nodes: list[Any]) -> Iterator[str]:
    """Yield the names of the included partials; a name in parentheses is known only at rendering."""
    for node in nodes:
        if isinstance(node, Partial | PartialBlock):
            yield node.name
        for inner in ("body", "inverse"):
            yield from getattr(getattr(node, inner, None), "partials", ())
