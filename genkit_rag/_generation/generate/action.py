"""`/util/generate`: the generate loop on the wire."""

from __future__ import annotations

from genkit_rag._core.action import Action, ActionKind
from genkit_rag._core.context import ActionContext
from genkit_rag._core.registry import Registry
from genkit_rag._generation.generate.loop import GenerateCall
from genkit_rag._generation.generate.options import first_request
from genkit_rag._generation.generate.wire_options import GenerateActionOptions
from genkit_rag._generation.model import ModelResponse, ModelResponseChunk

GenerateAction = Action[GenerateActionOptions, ModelResponse, ModelResponseChunk]


def generate_action(registry: Registry) -> GenerateAction:
    """Returns the action `/util/generate` over a registry; the caller registers it."""

    async def run(wire: GenerateActionOptions, ctx: ActionContext) -> ModelResponse:
        options = wire.to_options()
        return await GenerateCall(registry, options).run(first_request(options), ctx)

    return Action(
        ActionKind.UTIL,
        "generate",
        run,
        input_type=GenerateActionOptions,
        output_type=ModelResponse,
        chunk_type=ModelResponseChunk,
        description="Asks a model and runs the tools that it asks for, until there is an answer.",
    )
