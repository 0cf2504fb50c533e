"""Support checks: what a model cannot do is refused before it is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from genkit_rag._core.errors import GenkitError
from genkit_rag._documents.part import Part
from genkit_rag._generation.middleware.base import Middleware, ModelParams, Next, WireConfig
from genkit_rag._generation.model import ModelRequest, ModelResponse, model_supports


@dataclass(frozen=True)
class ValidateSupport(Middleware):
    """Refuses a request that the model says it cannot serve: INVALID_ARGUMENT that names what it is.

    Media, tools, several messages (system messages apart), system messages and a tool choice are refused where the
    model's `supports` says false; what it does not speak of is allowed.
    """

    wire_config: ClassVar[WireConfig] = {}

    async def wrap_model(self, params: ModelParams, next: Next[ModelParams, ModelResponse], /) -> ModelResponse:
        """Returns the response to a request that the model supports."""
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
    "media": (_has_media, "media", "Describe the media in words, or ask a model that takes them."),
    "tools": (lambda r: bool(r.tools), "tools", "Leave the tools out, or ask a model that calls them."),
    "multiturn": (_has_turns, "more than one message", "Put the conversation into one message."),
    "systemRole": (
        lambda r: any(m.role == "system" for m in r.messages),
        "system messages",
        "Put `simulate_system_prompt()` before `validate_support()`.",
    ),
    "toolChoice": (lambda r: r.tool_choice not in (None, "auto"), "a tool choice", "Leave `tool_choice` out."),
}

validate_support = ValidateSupport
