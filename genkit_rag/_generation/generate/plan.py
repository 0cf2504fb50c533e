"""The plan of a generation: its options with every name resolved."""

from __future__ import annotations

from dataclasses import dataclass

from genkit_rag._core.registry import Registry
from genkit_rag._generation.augmentation import DEFAULT_AUGMENTATION, AugmentWithContext
from genkit_rag._generation.generate.models import resolve_model
from genkit_rag._generation.generate.options import GenerateOptions, check_options
from genkit_rag._generation.generate.output import Output, output_of
from genkit_rag._generation.generate.tools import AnyTool, resolve_tools
from genkit_rag._generation.middleware.base import Middleware, added_tools
from genkit_rag._generation.middleware.registered import to_middleware
from genkit_rag._generation.model import ModelAction, ModelRequest
from genkit_rag._generation.resource import resolve_resources
from genkit_rag._generation.tools.tool import tool_definition


@dataclass(slots=True)
class Plan:
    """The resolved options of one generation.

    Attributes:
        registry: The registry with the tools of this call.
        model: The model to call.
        tools: The tools by the names that the model uses.
        use: The middleware, the outermost first.
        augmentation: How documents are put into the prompt of a model that does not take them.
        output: The expected output; None for free text.
    """

    registry: Registry
    model: ModelAction
    tools: dict[str, AnyTool]
    use: list[Middleware]
    augmentation: AugmentWithContext
    output: Output | None


async def make_plan(registry: Registry, options: GenerateOptions, request: ModelRequest) -> Plan:
    """Resolve the names in the options, and add tools, output and resources to the request in place."""
    check_options(request)
    use = to_middleware(options.use or (), registry)
    registry, tools = await resolve_tools(registry, [*(options.tools or ()), *added_tools(use)])
    model = await resolve_model(registry, options.model)
    # Such a middleware in `use` augments the request before the model is called, and no request is augmented twice.
    augmentation = next((item for item in use if isinstance(item, AugmentWithContext)), DEFAULT_AUGMENTATION)
    output = output_of(registry, options)
    request.tools = [tool_definition(tool) for tool in tools.values()] or None
    request.output = output.config if output else None
    request.messages = await resolve_resources(registry, request.messages, options.resources or ())
    return Plan(registry, model, tools, use, augmentation, output)
