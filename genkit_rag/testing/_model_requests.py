"""The requests of the model contract, and the model under test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from genkit_rag._core.errors import Status
from genkit_rag._documents.part import Message
from genkit_rag._generation.model import (
    ModelAction,
    ModelRequest,
    ModelResponse,
    ModelResponseChunk,
    ToolDefinition,
)

WEATHER = ToolDefinition(
    name="weather",
    description="Says how the weather is in a city.",
    input_schema={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
CITY_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 30}, "large": {"type": "boolean"}},
    "required": ["city", "large"],
    "additionalProperties": False,
}
COLOUR_SCHEMA: dict[str, Any] = {"type": "string", "enum": ["red", "blue"]}
COLOURS_SCHEMA: dict[str, Any] = {"type": "array", "items": COLOUR_SCHEMA, "minItems": 1, "maxItems": 3}

QUESTION = "How is the weather in Lisbon? Use the tool."
both_ways = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


@dataclass(frozen=True, slots=True)
class ModelUnderTest:
    """A model and its capabilities; tests of a capability that is None, False or empty are skipped.

    Attributes:
        action: The model.
        tools: It calls tools.
        tool_choice: It can be forced to call one (`tool_choice='required'`).
        json_schema: It constrains its answer to a JSON Schema with any root.
        several_calls: A model that requests several tools at once.
        empty: A model whose answer is empty.
        broken: Models whose streamed answer breaks off after some text, by the status of the error: `UNAVAILABLE` for a
            closed connection, `DEADLINE_EXCEEDED` for one without data, `INTERNAL` for invalid data.
        unknown: A model that the provider does not have.
        unreachable: A model of a provider that does not run.
        wrong_key: A model that is called with a wrong API key.
        key: That key.
    """

    action: ModelAction
    tools: bool = False
    tool_choice: bool = False
    json_schema: bool = False
    several_calls: ModelAction | None = None
    empty: ModelAction | None = None
    broken: Mapping[Status, ModelAction] = field(default_factory=dict[Status, ModelAction])
    unknown: ModelAction | None = None
    unreachable: ModelAction | None = None
    wrong_key: ModelAction | None = None
    key: str = ""


def ask(*messages: Message | str, **fields: Any) -> ModelRequest:
    """Create a request for a short answer; a string is a user message."""
    said = [Message.user(message) if isinstance(message, str) else message for message in messages]
    fields.setdefault("config", {"temperature": 0, "max_output_tokens": 48})
    return ModelRequest(messages=said, **fields)


async def run(action: ModelAction, request: ModelRequest, streamed: bool) -> ModelResponse:
    """Run the model and return the response; with streaming, compare the chunks with it."""
    if not streamed:
        return await action(request)
    chunks: list[ModelResponseChunk] = []
    response = await action(request, on_chunk=chunks.append)
    assert "".join(chunk.text for chunk in chunks) == response.text
    sent = [part.tool_request for chunk in chunks for part in chunk.content if part.tool_request]
    assert sent in ([], [part.tool_request for part in response.tool_requests])
    return response
