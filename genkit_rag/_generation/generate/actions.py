"""The generate loop on the wire: the actions `/util/generate` and `/util/render` and their options."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from genkit_rag._core.action import Action, ActionKind
from genkit_rag._core.context import ActionContext
from genkit_rag._core.registry import Registry
from genkit_rag._documents.document import Document
from genkit_rag._documents.part import Message
from genkit_rag._documents.wire import WireModel
from genkit_rag._generation.generate.loop import run_generation
from genkit_rag._generation.generate.options import MAX_TURNS, GenerateOptions, first_request
from genkit_rag._generation.generate.render import render
from genkit_rag._generation.middleware.base import MiddlewareRef
from genkit_rag._generation.model import ModelRequest, ModelResponse, ModelResponseChunk, ToolChoice
from genkit_rag._generation.tools.interrupts import Resume


class GenerateActionOutput(WireModel):
    """The expected form of the output, on the wire."""

    format: str | None = None
    content_type: str | None = None
    instructions: bool | str | None = None
    json_schema: Any = None
    constrained: bool | None = None


class GenerateActionOptions(WireModel):
    """The options of `generate`, on the wire."""

    model: str | None = None
    docs: list[Document] | None = None
    messages: list[Message]
    tools: list[str] | None = None
    resources: list[str] | None = None
    tool_choice: ToolChoice | None = None
    config: Any = None
    output: GenerateActionOutput | None = None
    resume: Resume | None = None
    return_tool_requests: bool | None = None
    max_turns: int | None = Field(default=None, ge=0)
    step_name: str | None = None
    use: list[MiddlewareRef] | None = None

    def to_options(self) -> GenerateOptions:
        """Convert to the options of `generate`."""
        output = self.output or GenerateActionOutput()
        return GenerateOptions(
            model=self.model,
            messages=self.messages,
            tools=self.tools or (),
            resources=self.resources or (),
            tool_choice=self.tool_choice,
            return_tool_requests=bool(self.return_tool_requests),
            max_turns=MAX_TURNS if self.max_turns is None else self.max_turns,
            resume=self.resume,
            config=self.config,
            docs=self.docs or None,
            output_schema=output.json_schema,
            output_format=output.format,
            output_constrained=output.constrained,
            output_instructions=output.instructions,
            output_content_type=output.content_type,
            use=self.use or (),
            step_name=self.step_name,
        )


GenerateAction = Action[GenerateActionOptions, ModelResponse, ModelResponseChunk]


def generate_action(registry: Registry) -> GenerateAction:
    """Create the action `/util/generate` for a registry; the caller registers it."""

    async def run(wire: GenerateActionOptions, ctx: ActionContext) -> ModelResponse:
        options = wire.to_options()
        return await run_generation(registry, options, first_request(options), ctx)

    return Action(
        ActionKind.UTIL,
        "generate",
        run,
        input_type=GenerateActionOptions,
        output_type=ModelResponse,
        chunk_type=ModelResponseChunk,
        description="Calls a model and runs the tools that it asks for, until it answers.",
    )


def render_action(registry: Registry) -> Action[GenerateActionOptions, ModelRequest, None]:
    """Create the action `/util/render` for a registry; the caller registers it."""

    async def run(wire: GenerateActionOptions, ctx: ActionContext) -> ModelRequest:
        return await render(registry, wire.to_options(), context=ctx.context)

    return Action(
        ActionKind.UTIL,
        "render",
        run,
        input_type=GenerateActionOptions,
        output_type=ModelRequest,
        description="Returns the first request that would be sent to the model; calls no model and no tool.",
    )
