"""Defining and finding prompts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack

from genkit_rag._core.errors import invalid
from genkit_rag._core.registry import Registry
from genkit_rag._generation.prompt import (
    ContentLike,
    ExecutablePrompt,
    Helper,
    PromptKwargs,
    define_prompt,
    define_prompt_function,
    library_of,
)


class Prompts:
    """The part of `Genkit` that knows prompts."""

    registry: Registry

    def define_prompt(
        self,
        name: str,
        prompt: ContentLike | None = None,
        *,
        variant: str | None = None,
        system: ContentLike | None = None,
        messages: ContentLike | None = None,
        template: str | None = None,
        **options: Unpack[PromptKwargs],
    ) -> ExecutablePrompt:
        """Returns a prompt: call it with an input, stream it, render it, or offer it as a tool.

        `prompt`, `system` and `messages` are each a text with Handlebars tags, parts or messages as they are, or a
        function `(input)` or `(input, ctx)` that gives text, parts or messages, which are never templates.

        Args:
            name: `greeting`, or `mail/greeting`.
            prompt: What the user says; comes last.
            variant: Which of several of that name: the prompt is called `name.variant`.
            system: Instructions; come first.
            messages: What stands between the two.
            template: All of it as the text of a `.prompt` file, front matter included; in place of the three.
            **options: `input_schema`, `input_default`, `description`, `metadata`, and the options of `generate`
                (`model`, `config`, `tools`, `output_schema`, `docs`, `use` and so on), which win over the template's.

        Raises:
            GenkitError: INVALID_ARGUMENT for a wrong template, naming the line, and for an option that there is not;
                ALREADY_EXISTS when the name is taken.
            MissingExtra: A text has tags and the extra `prompts` is not installed.
        """
        texts = {"prompt": prompt, "system": system, "messages": messages, "template": template}
        return define_prompt(library_of(self.registry), name, variant, texts, options)

    def prompt(
        self,
        fn: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        variant: str | None = None,
        **options: Unpack[PromptKwargs],
    ) -> Any:
        """Decorates a function to be a prompt; with or without parentheses.

        The function is `(input)` or `(input, ctx)`, sync or async, and returns text, parts, messages or
        `GenerateOptions`; nothing of it is taken for a template. Its name and the first line of its docstring are
        the prompt's, the annotation of its first parameter is the input's type.
        """

        def define(made: Callable[..., Any]) -> ExecutablePrompt:
            return define_prompt_function(library_of(self.registry), made, name, variant, options)

        if fn is not None and not callable(fn):
            raise invalid("fn", fn, "must be a function", hint=f"A prompt that is there: await ai.get_prompt({fn!r}).")
        return define if fn is None else define(fn)

    async def get_prompt(self, name: str, variant: str | None = None) -> ExecutablePrompt:
        """Returns a prompt that was defined, or that stands in a prompt folder.

        Raises:
            GenkitError: NOT_FOUND that says which there are; INVALID_ARGUMENT, naming file and line, for a wrong file.
        """
        return await library_of(self.registry).get(name, variant)

    def define_partial(self, name: str, source: str) -> None:
        """Defines a template that others include with `{{> name}}`."""
        library_of(self.registry).define_partial(name, source)

    def define_helper(self, name: str, fn: Helper) -> None:
        """Defines a function that templates call: `{{name value key=value}}` is `fn(value, key=value)`.

        A function with a parameter `block` may be called as a block and gets a `HelperBlock` there. It must be quick,
        must not be async, and may run twice for one rendering. What it returns is text, never a template.
        """
        library_of(self.registry).define_helper(name, fn)

    def define_schema(self, name: str, type_or_schema: Any) -> None:
        """Defines a type or JSON Schema that schemas of prompts name: `schema: Recipe`."""
        library_of(self.registry).define_schema(name, type_or_schema)
