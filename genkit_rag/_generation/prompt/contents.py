"""The sources of a prompt's messages: templates, fixed messages and functions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from genkit_rag._core.action import adapt
from genkit_rag._core.context import ActionContext
from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._documents.part import Content, Message, Part, Role, to_parts
from genkit_rag._generation.generate import GenerateOptions
from genkit_rag._generation.prompt.environment import PromptEnvironment
from genkit_rag._generation.prompt.markers import Assembly
from genkit_rag._generation.prompt.template import Inputs, Template

ContentLike = Content | Sequence[Message] | Callable[..., Any]
"""A template, parts, messages, or a function `(input)` or `(input, ctx)` that returns text, parts or messages."""


@dataclass(frozen=True, slots=True)
class RenderInput:
    """The input of one rendering of a prompt.

    Attributes:
        value: The input, typed.
        inputs: The input of templates.
        environment: The environment of the prompt.
        ctx: The context of functions; `ctx.metadata["messages"]` holds the conversation so far.
    """

    value: Any
    inputs: Inputs
    environment: PromptEnvironment
    ctx: ActionContext


Source = Callable[[RenderInput], Awaitable[Assembly | GenerateOptions]]


def source_of(content: ContentLike, role: Role, where: str) -> Source:
    """Create the source of a content; a text is a template, but a text that a function returns is not."""
    if isinstance(content, str):
        return template_source(Template(content, where), role)
    if callable(content):
        return _function_source(content, role, where)
    fixed = _to_messages(content, role, where)
    if isinstance(fixed, GenerateOptions):
        raise invalid(where, content, "must be text, parts or messages")

    async def same(_given: RenderInput) -> Assembly:
        return Assembly(list(fixed.messages))

    return same


def template_source(template: Template, role: Role) -> Source:
    """Create the source of a template; `role` is its first role, and its only one for `system`."""

    async def render(given: RenderInput) -> Assembly:
        environment = await given.environment.for_templates(partials=template.includes)
        made = await template.messages(given.inputs, environment, role)
        if role == "system" and any(message.role != "system" for message in made.messages):
            raise GenkitError(
                "INVALID_ARGUMENT",
                f"{template.where}: a system template must not contain other roles.",
                hint="Put other roles into `messages=` or `prompt=`.",
            )
        return made

    return render


def _function_source(fn: Callable[..., Any], role: Role, where: str) -> Source:
    handler = adapt(fn)

    async def call(given: RenderInput) -> Assembly | GenerateOptions:
        return _to_messages(await handler(given.value, given.ctx), role, where)

    return call


def _to_messages(content: Any, role: Role, where: str) -> Assembly | GenerateOptions:
    """Convert text, parts or messages to messages."""
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
    """Return the messages of generate options, in the order of a request."""
    system = [Message.system(options.system)] if options.system is not None else []
    prompt = [Message.user(options.prompt)] if options.prompt is not None else []
    return [*system, *(options.messages or ()), *prompt]
