"""The Handlebars engine, bounded; the one module that knows the library behind it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from genkit_rag._core.errors import GenkitError, require_extra

with require_extra("prompts", "dotpromptz_handlebars"):
    from dotpromptz_handlebars import Block, HelperOptions, InlinePartial, Partial, PartialBlock
    from dotpromptz_handlebars._render import (  # pyright: ignore[reportPrivateUsage] - the public door hides the nodes
        compile_template,
        render_program,
    )

MAX_SOURCE = 1_000_000
"""How many characters a template may have."""

MAX_DEPTH = 64
"""How deep blocks and partials may be nested; a partial that includes itself ends here."""

EngineHelper = Callable[[list[Any], HelperOptions], Any]


class TooMuch(GenkitError):
    """A rendering took more steps or made more text than its budget allows."""

    def __init__(self) -> None:
        super().__init__("RESOURCE_EXHAUSTED", "The rendering is over its budget.")


@dataclass(slots=True)
class Budget:
    """What one rendering may still do.

    Attributes:
        steps: Pieces of templates to render.
        characters: Text to produce.
    """

    steps: int
    characters: int

    def spend(self, steps: int, characters: int) -> None:
        """Takes from the budget; raises `TooMuch` when it is used up."""
        self.steps -= steps
        self.characters -= characters
        if self.steps < 0 or self.characters < 0:
            raise TooMuch


_budget: ContextVar[Budget | None] = ContextVar("genkit_rag_prompt_budget", default=None)


class Counted(str):
    """A text of the input: takes itself from the budget where a template prints it."""

    __slots__ = ()

    def __str__(self) -> str:
        _spend(0, len(self))
        return super().__str__()


class Program(list[Any]):
    """The pieces of a template or block: takes itself from the budget whenever it is rendered."""

    __slots__ = ("characters", "partials")

    def __init__(self, nodes: list[Any]) -> None:
        super().__init__(nodes)
        self.characters = sum(len(getattr(node, "value", "")) for node in nodes)
        self.partials = frozenset(_partial_names(nodes))

    def __iter__(self) -> Iterator[Any]:
        _spend(1 + len(self), self.characters)
        return super().__iter__()


def compile_source(source: str, where: str, line: int = 1) -> Program:
    """Returns the program of a template.

    Args:
        source: The template.
        where: What it is called in errors: a prompt's name or a file.
        line: The line of the file in which it begins.

    Raises:
        GenkitError: INVALID_ARGUMENT that names the place and the line of the tag that is wrong.
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
    """Returns the source with a tag that prints nothing before blank space between two tags of one line.

    The parser takes a block or partial that begins a line and is followed by blank space and a tag for one that stands
    alone on its line, and drops the space; Handlebars does so only where a line ends.
    """
    if "{{{{" in source:  # in a raw block tags are text
        return source
    return re.sub(r"(?<!~)\}\}([ \t]+)(?=\{\{)", r'}}{{""}}\1', source)


def template_error(where: str, line: int | None, problem: str, cause: BaseException | None = None) -> GenkitError:
    """Returns INVALID_ARGUMENT for a template that cannot be compiled or rendered."""
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
    """Returns the text of a program; raises `TooMuch`, or whatever the engine or a helper raises.

    Args:
        program: From `compile_source`.
        values: What `{{name}}` reads: JSON-compatible data whose texts are `Counted`.
        data: What `{{@name}}` reads; likewise.
        helpers: Functions by name.
        partials: Programs by name.
        budget: What the rendering may do.
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
    """Returns the text after taking it from the budget of the rendering that is going on."""
    _spend(0, len(text))
    return text


def _spend(steps: int, characters: int) -> None:
    budget = _budget.get()
    if budget is not None:  # a helper may have kept a text for later
        budget.spend(steps, characters)


def _problem(source: str) -> Program | str:
    """Returns the program, or what is wrong with the source."""
    try:
        return _bounded(compile_template(source, max_depth=MAX_DEPTH))
    except RecursionError:
        return f"blocks are nested more than {MAX_DEPTH} deep"
    except Exception as error:  # the parser runs into IndexError and the like on broken tags
        return str(error) if type(error) is ValueError else "a tag is malformed"


def _bounded(nodes: list[Any]) -> Program:
    """Returns nodes, and those inside of them, as programs."""
    for node in nodes:
        if isinstance(node, Block):
            node.body = _bounded(node.body)
            node.inverse = _bounded(node.inverse)
        elif isinstance(node, PartialBlock | InlinePartial):
            node.body = _bounded(node.body)
    return Program(nodes)


_UNCLOSED = "unclosed block"
_SEARCH = 5_000_000
"""How many characters are compiled at most to find a line."""


def _position(source: str, problem: str) -> int:
    """Returns where the tag begins that the problem is about; the parser does not say.

    The source up to that tag compiles, or lacks nothing but ends of blocks; no longer piece of it does. A block that
    is never closed begins where everything before it compiles.
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
    """Returns the line of the first tag that holds a name; None when there is none."""
    found = re.search(r"\{\{[^{}]*?" + re.escape(name), source)
    return None if found is None else line + source.count("\n", 0, found.end())


def _partial_names(nodes: list[Any]) -> Iterator[str]:
    """Yields the names of the partials that the nodes include; one in parentheses is known only when rendered."""
    for node in nodes:
        if isinstance(node, Partial | PartialBlock):
            yield node.name
        for inner in ("body", "inverse"):
            yield from getattr(getattr(node, inner, None), "partials", ())
