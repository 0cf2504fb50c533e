"""The actions `/util/render-prompt` and `/util/run-prompt`, which render and run the source of a prompt."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from genkit_rag._core.action import Action, ActionKind
from genkit_rag._core.context import ActionContext
from genkit_rag._core.registry import Registry
from genkit_rag._core.threads import run_in_thread
from genkit_rag._documents.wire import DataWireModel
from genkit_rag._generation.model import ModelRequest, ModelResponse, ModelResponseChunk
from genkit_rag._generation.prompt.building import build_from_file
from genkit_rag._generation.prompt.files import MAX_FILE_BYTES, PromptFile, check_key
from genkit_rag._generation.prompt.library import library_of
from genkit_rag._generation.prompt.prompt import ExecutablePrompt


class PromptSourceInput(DataWireModel):
    """The source of a prompt, and its input.

    Attributes:
        source: The text of a `.prompt` file, front matter included.
        input: The input of the prompt.
        name: The name for error messages.
    """

    source: str = Field(max_length=MAX_FILE_BYTES)
    input: Any = None
    name: str = "prompt"


def prompt_source_actions(
    registry: Registry,
) -> tuple[Action[PromptSourceInput, ModelRequest, None], Action[PromptSourceInput, ModelResponse, ModelResponseChunk]]:
    """Create `/util/render-prompt` and `/util/run-prompt` for a registry; the caller registers them.

    They treat a source like `/prompt/<name>` and `/executable-prompt/<name>` treat a defined prompt, with the partials,
    helpers, schemas, tools and models of the registry. They define no prompt.
    """

    async def prompt_of(given: PromptSourceInput) -> ExecutablePrompt:
        file = PromptFile(check_key(given.name), f"{given.name}.prompt", False, text=given.source)
        return await run_in_thread(build_from_file, library_of(registry), file)

    async def render(given: PromptSourceInput, ctx: ActionContext) -> ModelRequest:
        return await (await prompt_of(given)).render(given.input, context=ctx.context)

    async def run(given: PromptSourceInput, ctx: ActionContext) -> ModelResponse:
        send = ctx.send_chunk if ctx.streaming else None
        return await (await prompt_of(given))(given.input, context=ctx.context, on_chunk=send)

    rendering: Action[PromptSourceInput, ModelRequest, None] = Action(
        ActionKind.UTIL,
        "render-prompt",
        render,
        input_type=PromptSourceInput,
        output_type=ModelRequest,
        description="Renders the source of a prompt to the request for the model.",
    )
    running: Action[PromptSourceInput, ModelResponse, ModelResponseChunk] = Action(
        ActionKind.UTIL,
        "run-prompt",
        run,
        input_type=PromptSourceInput,
        output_type=ModelResponse,
        chunk_type=ModelResponseChunk,
        description="Runs the source of a prompt.",
    )
    return rendering, running
