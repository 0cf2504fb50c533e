"""Simulated system prompt: for models that know only users."""

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
    """Tells a model the system prompt as the user's first words, for models without a system role.

    The first system message becomes a user message that begins with the preface, and an answer of the model; the
    conversation in the response is as it was.

    Args:
        preface: What stands before the instructions.
        acknowledgement: What the model is taken to have answered.
    """

    wire_config: ClassVar[WireConfig] = {"preface": str, "acknowledgement": str}

    preface: str = PREFACE
    acknowledgement: str = ACKNOWLEDGEMENT

    async def wrap_model(self, params: ModelParams, next: Next[ModelParams, ModelResponse], /) -> ModelResponse:
        """Returns the response to the request without a system message."""
        return await next(replace(params, request=self.apply(params.request)))

    def apply(self, request: ModelRequest) -> ModelRequest:
        """Returns the request with two messages for the first system message; the same request when there is none."""
        for at, message in enumerate(request.messages):
            if message.role == "system":
                told = Message(
                    role="user", content=[Part(text=self.preface), *message.content], metadata=message.metadata
                )
                around = request.messages[:at], request.messages[at + 1 :]
                messages = [*around[0], told, Message.model(self.acknowledgement), *around[1]]
                return request.model_copy(update={"messages": messages})
        return request


simulate_system_prompt = SimulateSystemPrompt
