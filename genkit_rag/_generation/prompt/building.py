"""Building prompts from texts and functions in code, and from `.prompt` sources and files."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, cast

from genkit_rag._core.action import input_type_of
from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._generation.prompt.contents import ContentLike, Source, source_of, template_source
from genkit_rag._generation.prompt.definition import Definition
from genkit_rag._generation.prompt.environment import PromptEnvironment
from genkit_rag._generation.prompt.files import PromptFile, check_key
from genkit_rag._generation.prompt.front_matter import PromptSource, parse_source
from genkit_rag._generation.prompt.options import (
    OWN_NAMES,
    RUN_NAMES,
    PromptKwargs,
    RunKwargs,
    check_names,
    file_options,
    merged,
)
from genkit_rag._generation.prompt.prompt import ExecutablePrompt
from genkit_rag._generation.prompt.template import Template


def build_from_code(
    environment: PromptEnvironment, name: str, variant: str | None, texts: Mapping[str, Any], options: PromptKwargs
) -> ExecutablePrompt:
    """Build a prompt from texts, parts, messages and functions.

    Args:
        environment: The environment of the prompt.
        name: The name.
        variant: The variant; several prompts may have the same name and different variants.
        texts: `template`, or any of `system`, `messages` and `prompt`; None means absent.
        options: All other options.
    """
    key = check_key(name if variant is None else f"{name}.{variant}")
    check_names(options, (*OWN_NAMES, *RUN_NAMES))
    given = {kind: text for kind, text in texts.items() if text is not None}
    if "template" in given:
        if len(given) > 1:
            raise invalid(
                "template",
                given["template"],
                "cannot be combined with `prompt`, `system` or `messages`",
                hint="Put all roles into the template, with {{role}}.",
            )
        source = parse_source(given["template"], f"the prompt `{key}`")
        return ExecutablePrompt(environment, _of_source(environment, (name, variant), source, options))
    if not given:
        raise GenkitError(
            "INVALID_ARGUMENT",
            f"The prompt `{key}` has no text.",
            hint="Pass `prompt=`, `system=`, `messages=` or `template=`.",
        )
    sources = [
        source_of(cast(ContentLike, given[kind]), "system" if kind == "system" else "user", f"`{kind}` of `{key}`")
        for kind in ("system", "messages", "prompt")
        if kind in given
    ]
    template = given.get("prompt")
    made = _of_code(environment, (name, variant), sources, options, template if isinstance(template, str) else None)
    return ExecutablePrompt(environment, made)


def build_from_function(
    environment: PromptEnvironment, fn: Callable[..., Any], name: str | None, variant: str | None, options: PromptKwargs
) -> ExecutablePrompt:
    """Build the prompt of a function `(input)` or `(input, ctx)`."""
    check_names(options, (*OWN_NAMES, *RUN_NAMES))
    name = check_key(name or str(getattr(fn, "__name__", "")))
    given: Any = {"description": _first_line(fn), "input_schema": input_type_of(fn), **options}
    made = _of_code(environment, (name, variant), [source_of(fn, "user", f"the function of `{name}`")], given, None)
    return ExecutablePrompt(environment, made)


def build_from_file(environment: PromptEnvironment, file: PromptFile) -> ExecutablePrompt:
    """Build the prompt of a file; the INVALID_ARGUMENT error names the file and the line."""
    folder, slash, last = file.key.rpartition("/")
    name, _, variant = last.partition(".")
    source = parse_source(file.read(), file.where)
    at: PromptKwargs = {}
    if file.root is not None:  # the developer UI saves changes to this file
        at["metadata"] = {"prompt": {"file": {"folder": str(file.root), "path": file.where}}}
    made = _of_source(environment, (f"{folder}{slash}{name}", variant or None), source, at)
    return ExecutablePrompt(environment, made)


def _of_code(
    environment: PromptEnvironment,
    name: tuple[str, str | None],
    sources: list[Source],
    options: PromptKwargs,
    template: str | None,
) -> Definition:
    given: dict[str, Any] = dict(options)
    input_type = given.get("input_schema")
    return Definition(
        *name,
        sources,
        options=_run_options(environment, given),
        input_type=_checked(environment.schema(input_type) if isinstance(input_type, str) else input_type),
        input_default=given.get("input_default"),
        description=given.get("description"),
        metadata=given.get("metadata") or {},
        template=template,
    )


def _of_source(
    environment: PromptEnvironment, name: tuple[str, str | None], source: PromptSource, options: PromptKwargs
) -> Definition:
    """Return the definition of a `.prompt` source; options in code take precedence."""
    fields, given = source.fields, cast("dict[str, Any]", options)
    from_file = file_options(fields)
    output_schema = _schema(environment, source, "output", fields.output.schema_)
    if output_schema is not None:
        from_file["output_schema"] = output_schema
    facts = {**(fields.metadata or {}), **(given.get("metadata") or {})}
    if source.ext:
        facts["prompt"] = {"ext": source.ext, **(facts.get("prompt") or {})}
    input_type = given.get("input_schema")
    if input_type is None:
        input_type = _schema(environment, source, "input", fields.input.schema_)
    elif isinstance(input_type, str):
        input_type = environment.schema(input_type)
    return Definition(
        *name,
        [template_source(Template(source.template, source.where, source.line), "user")],
        options=merged(from_file, _run_options(environment, given)),
        input_type=_checked(input_type),
        input_default={**(fields.input.default or {}), **(given.get("input_default") or {})} or None,
        description=given.get("description") or fields.description,
        metadata=facts,
        template=source.template,
    )


def _run_options(environment: PromptEnvironment, given: Mapping[str, Any]) -> RunKwargs:
    found = {name: given[name] for name in RUN_NAMES if given.get(name) is not None}
    if isinstance(found.get("output_schema"), str):
        found["output_schema"] = environment.schema(found["output_schema"])
    return cast(RunKwargs, found)


def _schema(environment: PromptEnvironment, source: PromptSource, kind: str, written: Any) -> Any:
    """Return a schema of the front matter; the error of an invalid schema names its line."""
    if written is None:
        return None
    try:
        return _checked(environment.schema(written))
    except GenkitError as error:
        line = source.schema_line.get(kind)
        place = f"{source.where}, line {line}: `{kind}.schema`"
        details = {**error.details, "source": source.where, "line": line, "argument": f"{kind}.schema"}
        raise GenkitError(error.status, f"{place}: {error.message}", hint=error.hint, details=details) from error


def _checked(type_or_schema: Any) -> Any:
    """Return the type or schema; raises INVALID_ARGUMENT for an invalid JSON Schema."""
    if isinstance(type_or_schema, Mapping):
        from jsonschema import SchemaError, validators  # importing takes 40 ms, so do it only for a raw schema

        made = dict(cast("Mapping[str, Any]", type_or_schema))
        try:
            validators.validator_for(made).check_schema(made)
        except SchemaError as error:
            raise invalid("schema", type_or_schema, f"is not a valid JSON Schema ({error.message})") from error
    return type_or_schema


def _first_line(fn: Callable[..., Any]) -> str | None:
    doc = inspect.getdoc(fn)
    return doc.strip().splitlines()[0] if doc and doc.strip() else None
