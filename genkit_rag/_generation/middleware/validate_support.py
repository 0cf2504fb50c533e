"""Support check middleware: rejects requests that use features the model does not support."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from genkit_rag._core.errors import GenkitError
from genkit_rag._documents.part import Part
from genkit_rag._generation.middleware.base import Middleware, ModelParams, Next, WireConfig
from genkit_rag._generation.model import ModelRequest, ModelResponse, model_supports


@dataclass(frozen=True)
class ValidateSupport(Middleware):
    """A middleware that raises INVALID_ARGUMENT for a request with a feature that the model does not support.

    Checked are media, tools, several messages (not counting system messages), system messages and a tool choice. A
    feature is rejected when the model's `supports` is false for it; an absent entry allows it.
    """

    wire_config: ClassVar[WireConfig] = {}

    async def wrap_model(self, params: ModelParams, next: Next[ModelParams, ModelResponse], /) -> ModelResponse:
        """Check the request, then call the model."""
        can = model_supports(params.model)
        for ability, (asks, what, hint) in _CHECKS.items():
            if can.get(ability) is False and asks(params.request):
                raise GenkitError(
                    "INVALID_ARGUMENT",
                    f"The model `{params.model.name}` does not support {what}.",
                    hint=hint,
                    details={"model": params.model.name, "supports": ability},
                )
        return await next(params)


def _has_media(request: ModelRequest) -> bool:
    return any(_is_media(part) for message in request.messages for part in message.content) or any(
        document.media for document in request.docs or ()
    )


def _is_media(part: Part) -> bool:
    if part.tool_response is not None:
        return any(Part.model_validate(item).media is not None for item in part.tool_response.content or ())
    return part.media is not None


def _has_turns(request: ModelRequest) -> bool:
    return sum(message.role != "system" for message in request.messages) > 1


_CHECKS: dict[str, Any] = {
    "media": (_has_media, "media", "Describe the media as text, or use a model that supports media."),
    "tools": (lambda r: bool(r.tools), "tools", "Omit the tools, or use a model that supports tools."),
    "multiturn": (_has_turns, "more than one message", "Put the conversation into one message."),
    "systemRole": (
        lambda r: any(m.role == "system" for m in r.messages),
        "system messages",
        "Put `simulate_system_prompt()` before `validate_support()`.",
    ),
    "toolChoice": (lambda r: r.tool_choice not in (None, "auto"), "a tool choice", "Omit `tool_choice`."),
}

validate_support = ValidateSupport
