"""Where the messages of a prompt come from: templates, fixed messages, functions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from genkit_rag._core.action import adapt
from genkit_rag._core.context import ActionContext
from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._documents.part import Content, Message, Part, Role, to_parts
from genkit_rag._generation.generate import GenerateOptions
from genkit_rag._generation.prompt.markers import Assembly
from genkit_rag._generation.prompt.template import Inputs, Template

if TYPE_CHECKING:
    from genkit_rag._generation.prompt.library import PromptLibrary

ContentLike = Content | Sequence[Message] | Callable[..., Any]
"""A template, parts, messages, or a function `(input)` or `(input, ctx)` that gives text, parts or messages."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What one rendering of a prompt works with.

    Attributes:
        value: The input, typed.
        inputs: What templates are rendered with.
        library: What templates share.
        ctx: For functions; `ctx.metadata["messages"]` holds the conversation so far.
    """

    value: Any
    inputs: Inputs
    library: PromptLibrary
    ctx: ActionContext


Source = Callable[[Turn], Awaitable[Assembly | GenerateOptions]]


def source_of(content: ContentLike, role: Role, where: str) -> Source:
    """Returns what gives the messages of a content; a text is a template, what a function gives is never one."""
    if isinstance(content, str):
        return template_source(Template(content, where), role)
    if callable(content):
        return _function_source(content, role, where)
    fixed = _said(content, role, where)
    if isinstance(fixed, GenerateOptions):
        raise invalid(where, content, "takes text, parts or messages")

    async def same(_turn: Turn) -> Assembly:
        return Assembly(list(fixed.messages))

    return same


def template_source(template: Template, role: Role) -> Source:
    """Returns what renders a template; `role` speaks first in it, and alone when it is `system`."""

    async def render(turn: Turn) -> Assembly:
        around = await turn.library.surroundings(partials=template.includes)
        made = await template.messages(turn.inputs, around, role)
        if role == "system" and any(message.role != "system" for message in made.messages):
            raise GenkitError(
                "INVALID_ARGUMENT",
                f"{template.where}: only `system` speaks in it.",
                hint="Other roles go into `messages=` or `prompt=`.",
            )
        return made

    return render


def _function_source(fn: Callable[..., Any], role: Role, where: str) -> Source:
    handler = adapt(fn)

    async def call(turn: Turn) -> Assembly | GenerateOptions:
        return _said(await handler(turn.value, turn.ctx), role, where)

    return call


def _said(content: Any, role: Role, where: str) -> Assembly | GenerateOptions:
    """Returns the messages of text, parts or messages, as they are."""
    if isinstance(content, GenerateOptions):
        return content
    if isinstance(content, str | Part | Message):
        content = [content]
    if content is None or content == []:
        return Assembly()
    items: list[Any] = list(content) if isinstance(content, Sequence) else []
    if items and all(isinstance(item, Message) for item in items):
        return Assembly(items)
    if items and all(isinstance(item, str | Part) for item in items):
        return Assembly([Message(role=role, content=to_parts(items))])
    raise invalid(where, content, "must be text, parts or messages", hint="A list holds either parts or messages.")


def messages_of(options: GenerateOptions) -> list[Message]:
    """Returns the messages that options hold, in the order of a request."""
    system = [Message.system(options.system)] if options.system is not None else []
    prompt = [Message.user(options.prompt)] if options.prompt is not None else []
    return [*system, *(options.messages or ()), *prompt]
