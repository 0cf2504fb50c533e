"""Simulated constrained generation middleware: instructions in place of constrained output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from genkit_rag._generation.formats import simulate_constrained
from genkit_rag._generation.middleware.base import Middleware, ModelParams, Next, WireConfig
from genkit_rag._generation.model import ModelAction, ModelRequest, ModelResponse, model_supports

InstructionsRenderer = Callable[[dict[str, Any] | None], str | None]
"""`(JSON Schema) -> instructions`; None for none."""


@dataclass(frozen=True)
class SimulateConstrainedGeneration(Middleware):
    """A middleware that replaces constrained output by instructions, for models that do not support it.

    `generate(output_schema=...)` does this automatically with the instructions of the format; use this middleware for
    other instructions, or for a model that is called without `generate`. A request to a model that supports
    constrained output is unchanged.

    Args:
        instructions_renderer: Returns the instructions for a schema; by default those of the output format.
    """

    wire_config: ClassVar[WireConfig] = {}

    instructions_renderer: InstructionsRenderer | None = None

    async def wrap_model(self, params: ModelParams, next: Next[ModelParams, ModelResponse], /) -> ModelResponse:
        """Call the model with instructions in place of constrained output."""
        request = params.request
        if not _constrains(params.model, request):
            request = simulate_constrained(request, self.instructions_renderer, registry=params.registry)
        return await next(replace(params, request=request))


def _constrains(model: ModelAction, request: ModelRequest) -> bool:
    can = model_supports(model).get("constrained")
    return can == "all" or (can == "no-tools" and not request.tools)


simulate_constrained_generation = SimulateConstrainedGeneration
