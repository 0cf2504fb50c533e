"""Fills a prompt and asks a model."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from string import Formatter
from typing import Any

from genkit_rag._core.action import ActionKind
from genkit_rag._core.errors import invalid
from genkit_rag._core.registry import Registry
from genkit_rag._documents.part import Message
from genkit_rag._generation.model import ModelRequest, ModelResponse


def check_prompt_template(prompt: str, fields: Collection[str]) -> None:
    """Raise INVALID_ARGUMENT for a prompt with an unknown placeholder or without the query."""
    hint = f"Fields: {', '.join(f'{{{field}}}' for field in fields)}; write {{{{ and }}}} for braces."
    try:
        parsed = list(Formatter().parse(prompt))
    except ValueError as error:
        raise invalid("prompt", prompt, f"is no template ({error})", hint=hint) from error
    named = [(field, spec, conversion) for _, field, spec, conversion in parsed if field is not None]
    for field, spec, conversion in named:
        if field not in fields or spec or conversion:
            raise invalid("prompt", prompt, f"has the unknown field {field!r}", hint=hint)
    if "query" not in {field for field, _, _ in named}:
        raise invalid("prompt", prompt, "must hold {query}", hint=hint)


async def generate_text(registry: Registry, model: str, prompt: str, config: Mapping[str, Any] | None) -> str:
    """Generate text with a named model; return it without reasoning and invalid Unicode."""
    action = await registry.get(ActionKind.MODEL, model)
    message = Message.user(prompt)
    response: ModelResponse = await action(ModelRequest(messages=[message], config=dict(config) if config else None))
    # Models that reason aloud do so between tags; some servers leave the opening one out.
    answer = response.text.rpartition("</think>")[2].partition("<think>")[0]
    return answer.encode("utf-8", "replace").decode()
