"""What Genkit's tools are shown of a prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from genkit_rag._core import schema
from genkit_rag._core.action import Action

if TYPE_CHECKING:
    from genkit_rag._generation.prompt.prompt import Definition

_SECRET = ("api_key", "apiKey")


def listed_metadata(made: Definition, input_schema: dict[str, Any] | None) -> dict[str, Any]:
    """Returns the metadata of a prompt's actions, JSON-compatible; keys of providers are left out."""
    options = made.options
    output = {"format": options.get("output_format"), "schema": _output_schema(options.get("output_schema"))}
    prompt: dict[str, Any] = {
        "name": made.name,
        "variant": made.variant,
        "model": _name(options.get("model")),
        "config": _config(options.get("config")),
        "input": _present({"schema": input_schema, "default": dict(made.input_default or {}) or None}),
        "output": _present(output) or None,
        "tools": [_name(tool) for tool in options.get("tools") or ()] or None,
        "toolChoice": options.get("tool_choice"),
        "maxTurns": options.get("max_turns"),
        "template": made.template,
    }
    known = made.metadata.get("prompt") or {}
    shown = {**made.metadata, "prompt": {**known, **_present(prompt)}}
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
