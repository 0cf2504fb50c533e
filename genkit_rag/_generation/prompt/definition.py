"""The definition of a prompt, and its metadata for Genkit's tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from genkit_rag._core import schema
from genkit_rag._core.action import Action
from genkit_rag._generation.prompt.contents import Source
from genkit_rag._generation.prompt.options import RunKwargs

_SECRET = ("api_key", "apiKey")


@dataclass(frozen=True, slots=True)
class Definition:
    """The definition of a prompt.

    Attributes:
        name: The name.
        variant: The variant; several prompts may have the same name and different variants.
        sources: The sources of the messages, in order.
        options: The options of `generate` that the prompt sets.
        input_type: A type or JSON Schema; None accepts anything.
        input_default: Default values for missing fields of the input.
        description: One sentence.
        metadata: Further metadata.
        template: The template, for the metadata.
    """

    name: str
    variant: str | None
    sources: Sequence[Source]
    options: RunKwargs = field(default_factory=RunKwargs)
    input_type: Any = None
    input_default: Mapping[str, Any] | None = None
    description: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    template: str | None = None


def listed_metadata(definition: Definition, input_schema: dict[str, Any] | None) -> dict[str, Any]:
    """Return the metadata of a prompt's actions, JSON-compatible and without the API keys of providers."""
    options = definition.options
    output = {"format": options.get("output_format"), "schema": _output_schema(options.get("output_schema"))}
    prompt: dict[str, Any] = {
        "name": definition.name,
        "variant": definition.variant,
        "model": _name(options.get("model")),
        "config": _config(options.get("config")),
        "input": _present({"schema": input_schema, "default": dict(definition.input_default or {}) or None}),
        "output": _present(output) or None,
        "tools": [_name(tool) for tool in options.get("tools") or ()] or None,
        "toolChoice": options.get("tool_choice"),
        "maxTurns": options.get("max_turns"),
        "template": definition.template,
    }
    known = definition.metadata.get("prompt") or {}
    shown = {**definition.metadata, "prompt": {**known, **_present(prompt)}}
    return dict(to_jsonable_python(shown, by_alias=True, fallback=str))


def _present(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value is not None}


def _name(thing: Any) -> str | None:
    if thing is None or isinstance(thing, str):
        return thing
    return thing.name if isinstance(thing, Action) else getattr(thing, "__name__", str(thing))


def _config(config: Any) -> Any:
    if isinstance(config, BaseModel):
        config = config.model_dump(by_alias=True, exclude_unset=True)
    return {key: value for key, value in config.items() if key not in _SECRET} if isinstance(config, dict) else None


def _output_schema(source: Any) -> Any:
    return None if source is None else schema.json_schema(source)
