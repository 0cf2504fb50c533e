"""The tools of a generation: resolving their names and running the model's requests."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, cast

from pydantic_core import from_json, to_json

from genkit_rag._core import schema
from genkit_rag._core.action import Action, ActionKind
from genkit_rag._core.context import ActionContext, Interrupt
from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._core.registry import Registry
from genkit_rag._documents.part import Part, ToolRequest, ToolResponse
from genkit_rag._generation.middleware.base import Middleware, Next, ToolParams, chain
from genkit_rag._generation.tools.function import to_tool
from genkit_rag._generation.tools.interrupts import RESTART_KEYS
from genkit_rag._generation.tools.tool import Tool, ToolLike, ToolOutput, short_name, tool_input

AnyTool = Action[Any, Any, Any]


async def resolve_tools(registry: Registry, wanted: Sequence[ToolLike]) -> tuple[Registry, dict[str, AnyTool]]:
    """Resolve the tools; return the registry that has them all, and the tools by the names that the model uses.

    Functions and unregistered actions are registered in a child registry of this call.
    """
    tools: dict[str, AnyTool] = {}
    own: Registry | None = None
    for item in wanted:
        if isinstance(item, str):
            action: AnyTool = await _by_name(registry, item)
        else:
            action = item if isinstance(item, Action) else _from_function(item)
        name = short_name(action.name)
        if name in tools:
            raise invalid(
                "tools",
                [tools[name].name, action.name],
                f"has two tools with the same name for the model, `{name}`",
                hint="Rename one of them.",
            )
        tools[name] = action
        if not isinstance(item, str) and registry.lookup(action.kind, action.name) is not action:
            own = own or registry.child()
            own.register(action)
    return own or registry, tools


async def _by_name(registry: Registry, name: str) -> AnyTool:
    """Return a registered tool of either kind."""
    for kind in (ActionKind.TOOL_V2, ActionKind.TOOL):
        if name.startswith(f"/{kind}/"):
            return await registry.get(kind, name.removeprefix(f"/{kind}/"))
    tool = registry.lookup(ActionKind.TOOL, name) or await registry.resolve(ActionKind.TOOL_V2, name)
    return tool or await registry.get(ActionKind.TOOL, name)


def _from_function(item: Any) -> AnyTool:
    if not callable(item) or isinstance(item, type):
        raise invalid(
            "tools",
            item,
            "must contain names, tool actions and functions only",
            hint="Pass a function, the result of `ai.tool`, or a name.",
        )
    return to_tool(item)


Outcome = Part | Interrupt
"""The result of a tool request: the part with the tool's response, or the interrupt."""


class ToolRunner:
    """Runs the tool requests of one generation.

    Args:
        tools: The tools by the names that the model uses.
        use: The middleware around each tool run.
        timeout: The limit of a tool without its own, in seconds.
        return_errors: Whether an error becomes the tool's output for the model; otherwise it is raised.
    """

    __slots__ = ("_call", "_return_errors", "_tools")

    def __init__(
        self, tools: Mapping[str, AnyTool], use: Sequence[Middleware], *, timeout: float | None, return_errors: bool
    ) -> None:
        self._tools = tools
        self._call = chain(use, "wrap_tool", _tool_step(timeout))
        self._return_errors = return_errors

    async def run_all(
        self, parts: Sequence[Part], ctx: ActionContext, turn: int, *, restarted: bool = False
    ) -> list[Outcome]:
        """Run the requests concurrently and return their outcomes in the same order.

        An interrupt lets the other tools finish; an error that is raised, or a cancellation, cancels them.

        Args:
            parts: The parts with the requests.
            ctx: The context of the generation.
            turn: The turn of the generation.
            restarted: Whether `generate(resume=...)` restarts these tools. Otherwise metadata that marks a restart is
                removed, because a model must not fake one.
        """
        if not restarted:
            parts = [_without_restart_keys(part) for part in parts]
        calls = [self._run(part, ctx, turn) for part in parts]
        return [await calls[0]] if len(calls) == 1 else await _gather(calls)

    async def _run(self, part: Part, ctx: ActionContext, turn: int) -> Outcome:
        """Run one tool; its errors name the tool."""
        request = cast(ToolRequest, part.tool_request)
        content = metadata = None
        try:
            tool = self._find(request.name)
            output = await self._call(ToolParams(request, ctx, turn, tool, dict(part.metadata or {})))
            if tool.kind == ActionKind.TOOL_V2 and not isinstance(output, ToolOutput):
                output = schema.parse(ToolOutput, output, f"The output of the multipart tool `{request.name}`")
            if isinstance(output, ToolOutput):
                content, metadata, output = output.content or None, output.metadata, output.output
            output = _jsonable(output)
        except Interrupt as interrupt:
            return interrupt
        except Exception as error:
            named = tool_error(request.name, error)
            if self._return_errors:
                content, metadata, output = None, None, {"error": str(named)}
            elif named is error:
                raise
            else:
                raise named from error
        response = ToolResponse(name=request.name, ref=request.ref, output=output, content=content)
        return Part(tool_response=response, metadata=metadata)

    def _find(self, name: str) -> AnyTool:
        tool = self._tools.get(name)
        if tool is None:
            names = ", ".join(self._tools)
            raise GenkitError(
                "NOT_FOUND",
                f"Unknown tool `{name}`.",
                hint=f"Tools of this generation: {names}." if names else "This generation has no tools.",
                details={"tool": name},
            )
        return tool


def _tool_step(timeout: float | None) -> Next[ToolParams, Any]:
    """Return the innermost step of the middleware chain: it validates the input and runs the tool with a timeout."""

    async def run(params: ToolParams) -> Any:
        tool = params.tool
        value = tool_input(tool, params.request.input)
        seconds = tool.timeout if isinstance(tool, Tool) and tool.timeout is not None else timeout
        if seconds is None:
            return await tool(value, context=params.ctx.context, metadata=params.metadata)
        clock = asyncio.timeout(seconds)
        try:
            async with clock:
                return await tool(value, context=params.ctx.context, metadata=params.metadata)
        except TimeoutError as error:
            if not clock.expired():
                raise
            raise GenkitError(
                "DEADLINE_EXCEEDED",
                f"The tool `{params.request.name}` took longer than {seconds:g} s.",
                hint="Raise `tool_timeout=`, or the `timeout=` of the tool.",
            ) from error

    return run


def _without_restart_keys(part: Part) -> Part:
    metadata = part.metadata
    if not metadata or metadata.keys().isdisjoint(RESTART_KEYS):
        return part
    kept = {key: value for key, value in metadata.items() if key not in RESTART_KEYS}
    return part.model_copy(update={"metadata": kept})


def tool_error(name: str, error: Exception) -> GenkitError:
    """Convert to a `GenkitError` that names the tool."""
    if isinstance(error, GenkitError):
        error.details.setdefault("tool", name)
        return error
    return GenkitError(
        "INTERNAL",
        f"The tool `{name}` failed: {type(error).__name__}: {error}",
        hint="Handle the error in the tool, or pass `tool_errors='return'` to return it to the model.",
        details={"tool": name},
        cause=error,
    )


def _jsonable(output: Any) -> Any:
    """Convert to JSON-compatible data; NaN becomes null."""
    if output is None or isinstance(output, str | int):
        return output
    return from_json(to_json(output, by_alias=True, exclude_none=True, inf_nan_mode="null", fallback=schema.dump))


async def _gather(calls: Sequence[Coroutine[Any, Any, Outcome]]) -> list[Outcome]:
    """Return the results in order; the first failure, or a cancellation, cancels the others and waits for them."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in tasks:
            if task in done and not task.cancelled() and (error := task.exception()) is not None:
                raise error
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return [task.result() for task in tasks]
