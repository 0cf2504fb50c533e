"""The options of a prompt and of a call of a prompt."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic import BaseModel
from pydantic.alias_generators import to_camel

from genkit_rag._core.errors import GenkitError
from genkit_rag._generation.generate import GenerateOptions
from genkit_rag._generation.generate.options import CallKwargs
from genkit_rag._generation.middleware.base import MiddlewareRef
from genkit_rag._generation.prompt.front_matter import FrontMatter, UseFields


class RunKwargs(CallKwargs, total=False):
    """The options of `generate` that a prompt and its calls may set; see `Genkit.generate`."""

    output_schema: Any


class PromptKwargs(RunKwargs, total=False):
    """The keyword arguments of `Genkit.define_prompt` beside the texts.

    Attributes:
        input_schema: A type or JSON Schema of the input, or the name of a schema from `define_schema`.
        input_default: Default values for missing fields of the input.
        description: One sentence for people and models.
        metadata: Further metadata for Genkit's tools; JSON-compatible.
    """

    input_schema: Any
    input_default: Mapping[str, Any] | None
    description: str | None
    metadata: Mapping[str, Any] | None


_MESSAGES = ("prompt", "system", "messages")
RUN_NAMES = tuple(field.name for field in dataclasses.fields(GenerateOptions) if field.name not in _MESSAGES)
OWN_NAMES = ("input_schema", "input_default", "description", "metadata")


def check_names(options: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raise INVALID_ARGUMENT for an unknown option."""
    for name in options:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            raise GenkitError(
                "INVALID_ARGUMENT",
                f"Unknown prompt option `{name}`.",
                hint=f"{f'Did you mean `{close[0]}`? ' if close else ''}Known options: {', '.join(known)}.",
                details={"argument": name},
            )


def merged(*layers: Mapping[str, Any]) -> RunKwargs:
    """Merge layers of options; later layers take precedence, and `config` is merged by its keys."""
    found: dict[str, Any] = {}
    for layer in layers:
        config = _merged_config(found.get("config"), layer.get("config"))
        found |= layer
        if config is not None:
            found["config"] = config
    return cast(RunKwargs, found)


def _merged_config(base: Any, over: Any) -> Any:
    if base is None or over is None:
        return base if over is None else over
    base, over = _as_mapping(base), _as_mapping(over)
    if not isinstance(base, Mapping) or not isinstance(over, Mapping):
        return over
    named = {to_camel(str(key)) for key in cast("Mapping[str, Any]", over)}
    kept = {key: value for key, value in cast("Mapping[str, Any]", base).items() if to_camel(str(key)) not in named}
    return {**kept, **cast("Mapping[str, Any]", over)}


def _as_mapping(config: Any) -> Any:
    return config.model_dump(exclude_unset=True) if isinstance(config, BaseModel) else config


def set_options(options: GenerateOptions) -> dict[str, Any]:
    """Return the options that differ from the defaults, without the messages."""
    default = GenerateOptions()
    found = {name: getattr(options, name) for name in RUN_NAMES}
    return {name: value for name, value in found.items() if value is not getattr(default, name)}


def file_options(fields: FrontMatter) -> RunKwargs:
    """Return the options that the front matter of a file sets, without the output schema, which may need a look-up."""
    output = fields.output
    found: dict[str, Any] = {
        "model": fields.model,
        "config": fields.config,
        "tools": fields.tools,
        "tool_choice": fields.tool_choice,
        "max_turns": fields.max_turns,
        "return_tool_requests": fields.return_tool_requests,
        "docs": fields.docs,
        "output_format": output.format,
        "output_constrained": output.constrained,
        "output_instructions": output.instructions,
        "output_content_type": output.content_type,
        "use": None if fields.use is None else [_middleware(item) for item in fields.use],
    }
    return cast(RunKwargs, {name: value for name, value in found.items() if value is not None})


def _middleware(item: str | UseFields) -> str | MiddlewareRef:
    return MiddlewareRef(item.name, item.config) if isinstance(item, UseFields) else item
