"""`/util/render`: on the wire, the request that a generation would send."""

from __future__ import annotations

from genkit_rag._core.action import Action, ActionKind
from genkit_rag._core.context import ActionContext
from genkit_rag._core.registry import Registry
from genkit_rag._generation.generate.render import render
from genkit_rag._generation.generate.wire_options import GenerateActionOptions
from genkit_rag._generation.model import ModelRequest


def render_action(registry: Registry) -> Action[GenerateActionOptions, ModelRequest, None]:
    """Returns the action `/util/render` over a registry; the caller registers it."""

    async def run(wire: GenerateActionOptions, ctx: ActionContext) -> ModelRequest:
        return await render(registry, wire.to_options(), context=ctx.context)

    return Action(
        ActionKind.UTIL,
        "render",
        run,
        input_type=GenerateActionOptions,
        output_type=ModelRequest,
        description="Shows what would be sent to the model first; asks no model and runs no tool.",
    )
