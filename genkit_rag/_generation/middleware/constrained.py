"""Simulated constrained generation: a model that cannot be held to a schema is asked for it in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from genkit_rag._generation.formats import simulate_constrained
from genkit_rag._generation.middleware.base import Middleware, ModelParams, Next, WireConfig
from genkit_rag._generation.model import ModelAction, ModelRequest, ModelResponse, model_supports

InstructionsRenderer = Callable[[dict[str, Any] | None], str | None]
"""`(JSON Schema) -> words`; None for none."""


@dataclass(frozen=True)
class SimulateConstrainedGeneration(Middleware):
    """Asks in words for output that the model cannot be held to, and takes the output's form out of the request.

    `generate(output_schema=...)` does it by itself with the format's words; use this for other words, or on a model
    that is called without `generate`. A model that supports constrained output gets the request as it is.

    Args:
        instructions_renderer: Gives the words for a schema; the output format's by default.
    """

    wire_config: ClassVar[WireConfig] = {}

    instructions_renderer: InstructionsRenderer | None = None

    async def wrap_model(self, params: ModelParams, next: Next[ModelParams, ModelResponse], /) -> ModelResponse:
        """Returns the response to the request that asks in words."""
        request = params.request
        if not _constrains(params.model, request):
            request = simulate_constrained(request, self.instructions_renderer, registry=params.registry)
        return await next(replace(params, request=request))


def _constrains(model: ModelAction, request: ModelRequest) -> bool:
    can = model_supports(model).get("constrained")
    return can == "all" or (can == "no-tools" and not request.tools)


simulate_constrained_generation = SimulateConstrainedGeneration
