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
        """Define a prompt: call it with an input, stream it, render it, or offer it as a tool.

        `prompt`, `system` and `messages` are each a text with Handlebars tags, parts or messages, or a function
        `(input)` or `(input, ctx)` that returns text, parts or messages. Returned text is never a template.

        Args:
            name: `greeting`, or `mail/greeting`.
            prompt: The user's message; comes last.
            variant: The variant, for several prompts of that name: the prompt is called `name.variant`.
            system: Instructions; come first.
            messages: The messages between the two.
            template: The text of a `.prompt` file with front matter, instead of the three.
            **options: `input_schema`, `input_default`, `description`, `metadata`, and the options of `generate`
                (`model`, `config`, `tools`, `output_schema`, `docs`, `use` and so on), which override those of the
                template.

        Raises:
            GenkitError: INVALID_ARGUMENT for a wrong template, with the line, and for an unknown option; ALREADY_EXISTS
                if the name is taken.
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
        """Decorate a function as a prompt, with or without parentheses.

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
        """Return a prompt that was defined in code or in the prompt folder.

        Raises:
            GenkitError: NOT_FOUND with the known prompts; INVALID_ARGUMENT, with file and line, for a wrong file.
        """
        return await library_of(self.registry).get(name, variant)

    def define_partial(self, name: str, source: str) -> None:
        """Define a template that others include with `{{> name}}`."""
        library_of(self.registry).define_partial(name, source)

    def define_helper(self, name: str, fn: Helper) -> None:
        """Define a function that templates call: `{{name value key=value}}` is `fn(value, key=value)`.

        A function with a parameter `block` may be called as a block and receives a `HelperBlock`. It must be fast and
        sync, and may run twice for one rendering. Its result is text, never a template.
        """
        library_of(self.registry).define_helper(name, fn)

    def define_schema(self, name: str, type_or_schema: Any) -> None:
        """Define a type or JSON Schema that schemas of prompts refer to: `schema: Recipe`."""
        library_of(self.registry).define_schema(name, type_or_schema)
