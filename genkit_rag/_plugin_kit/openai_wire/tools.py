"""Tools in function-calling form: definitions, calls and results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from genkit_rag._core.errors import invalid
from genkit_rag._documents.part import Media, Part, ToolRequest, ToolResponse
from genkit_rag._generation.model import ModelRequest, ToolDefinition

Json = dict[str, Any]

_LONE = "value"


def function_tools(tools: Sequence[ToolDefinition]) -> list[Json]:
    """Convert tools to function tools.

    Parameters must be a JSON object there: a tool that takes anything else (a string, say) is shown as a function of
    one parameter, `value`, and `tool_input` takes it out again.
    """
    functions = [
        {"name": tool.name, "description": tool.description, "parameters": _parameters(tool)} for tool in tools
    ]
    return [{"type": "function", "function": function} for function in functions]


def wrapped_tools(request: ModelRequest) -> frozenset[str]:
    """Return the names of the request's tools whose input is not an object."""
    return frozenset(tool.name for tool in request.tools or () if not _takes_object(tool.input_schema))


def tool_input(arguments: Any, name: str, wrapped: frozenset[str]) -> Any:
    """Parse the arguments of a call to the tool's input.

    Arguments that are not JSON stay the text they are, so that the check of the tool's input reports them and the
    model may see it; for a tool of one plain value, which might take any text, they stay wrapped.
    """
    value = arguments
    if isinstance(arguments, str):
        try:
            value = json.loads(arguments, parse_constant=_no_constant) if arguments.strip() else {}
        except (ValueError, RecursionError):
            return {_LONE: arguments} if name in wrapped else arguments
    if name in wrapped and isinstance(value, dict) and list(cast(Json, value)) == [_LONE]:
        return cast(Json, value)[_LONE]
    return {} if value is None else value


def tool_arguments(call: ToolRequest, wrapped: frozenset[str]) -> Any:
    """Return the arguments of an earlier call, as data; the inverse of `tool_input`."""
    if call.name in wrapped:
        return {_LONE: call.input}
    return {} if call.input is None else call.input


def tool_result(result: ToolResponse) -> tuple[str, list[Media]]:
    """Convert a tool's result to text (a string unchanged, anything else as JSON) and media."""
    pieces: list[str] = []
    media: list[Media] = []
    if result.output is not None or not result.content:
        pieces.append(result.output if isinstance(result.output, str) else json_text(result.output))
    for raw in result.content or ():
        part = raw if isinstance(raw, Part) else Part.model_validate(raw)
        if part.media is not None:
            media.append(part.media)
        elif part.text is not None:
            pieces.append(part.text)
        elif part.is_data:
            pieces.append(json_text(part.data))
        elif part.reasoning is None:
            raise invalid(
                "messages",
                part,
                f"hold a part that cannot stand in the result of the tool `{result.name}`",
                hint="Let the tool return text, data or media.",
            )
    return "\n".join(pieces), media


def json_text(value: Any) -> str:
    """Serialise as JSON text; values without a JSON form become strings."""
    return json.dumps(value, ensure_ascii=False, default=str)


def _takes_object(schema: Mapping[str, Any] | None) -> bool:
    return not schema or schema.get("type") == "object" or "properties" in schema


def _parameters(tool: ToolDefinition) -> Json:
    schema = tool.input_schema
    if not schema:
        return {"type": "object", "properties": {}}
    if _takes_object(schema):
        return {"type": "object", "properties": {}, **schema}
    lone = {key: value for key, value in schema.items() if key != "$defs"}
    wrapped: Json = {"type": "object", "properties": {_LONE: lone}, "required": [_LONE], "additionalProperties": False}
    return {**wrapped, "$defs": schema["$defs"]} if "$defs" in schema else wrapped


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
