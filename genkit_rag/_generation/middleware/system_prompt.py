"""Simulated system prompt middleware, for models without a system role."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from genkit_rag._documents.part import Message, Part
from genkit_rag._generation.middleware.base import Middleware, ModelParams, Next, WireConfig
from genkit_rag._generation.model import ModelRequest, ModelResponse

PREFACE = "SYSTEM INSTRUCTIONS:\n"
ACKNOWLEDGEMENT = "Understood."


@dataclass(frozen=True)
class SimulateSystemPrompt(Middleware):
    """A middleware that sends the system prompt as a user message, for models without a system role.

    The first system message becomes a user message that begins with the preface, followed by a model message. The
    conversation in the response keeps the system message.

    Args:
        preface: The text before the instructions.
        acknowledgement: The text of the model message.
    """

    wire_config: ClassVar[WireConfig] = {"preface": str, "acknowledgement": str}

    preface: str = PREFACE
    acknowledgement: str = ACKNOWLEDGEMENT

    async def wrap_model(self, params: ModelParams, next: Next[ModelParams, ModelResponse], /) -> ModelResponse:
        """Call the model without a system message."""
        return await next(replace(params, request=self.apply(params.request)))

    def apply(self, request: ModelRequest) -> ModelRequest:
        """Replace the first system message by a user and a model message; a request without one is unchanged."""
        for at, message in enumerate(request.messages):
            if message.role == "system":
                user = Message(
                    role="user", content=[Part(text=self.preface), *message.content], metadata=message.metadata
                )
                before, after = request.messages[:at], request.messages[at + 1 :]
                messages = [*before, user, Message.model(self.acknowledgement), *after]
                return request.model_copy(update={"messages": messages})
        return request


simulate_system_prompt = SimulateSystemPrompt
