"""Runs the tools that a model asks for."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Mapping, Sequence
from typing import Any, cast

from pydantic_core import from_json, to_json

from genkit_rag._core import schema
from genkit_rag._core.action import Action, ActionKind
from genkit_rag._core.context import ActionContext, Interrupt
from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._core.registry import Registry
from genkit_rag._documents.part import Part, ToolRequest, ToolResponse
from genkit_rag._generation.middleware.base import Next, ToolParams
from genkit_rag._generation.tools.function import to_tool
from genkit_rag._generation.tools.interrupts import RESTART_KEYS
from genkit_rag._generation.tools.tool import Tool, ToolLike, ToolOutput, short_name, tool_input

AnyTool = Action[Any, Any, Any]


async def resolve_tools(registry: Registry, wanted: Sequence[ToolLike]) -> tuple[Registry, dict[str, AnyTool]]:
    """Returns the tools by the names that the model knows, and the registry that knows them all.

    Functions and actions that are not registered live in a child registry, which ends with the call.
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
                f"holds two tools that a model knows as `{name}`",
                hint="Give one of them another name.",
            )
        tools[name] = action
        if not isinstance(item, str) and registry.lookup(action.kind, action.name) is not action:
            own = own or registry.child()
            own.register(action)
    return own or registry, tools


async def _by_name(registry: Registry, name: str) -> AnyTool:
    """Returns a registered tool, of one value or of several."""
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
            "takes names, tool actions and functions",
            hint="Pass a function, what `ai.tool` gave, or its name.",
        )
    return to_tool(item)


Outcome = Part | Interrupt
"""What became of a request: the part with the tool's response, or the interrupt."""


class ToolRunner:
    """Runs the tool requests of one generation.

    Args:
        tools: By the names that the model knows.
        call: The chain of middleware down to the tool.
        return_errors: Whether the model is told of errors, or they are raised.
    """

    __slots__ = ("_call", "_return_errors", "_tools")

    def __init__(self, tools: Mapping[str, AnyTool], call: Next[ToolParams, Any], *, return_errors: bool) -> None:
        self._tools = tools
        self._call = call
        self._return_errors = return_errors

    async def run_all(self, parts: Sequence[Part], ctx: ActionContext, turn: int) -> list[Outcome]:
        """Returns one outcome for each request, in their order, however long each took.

        An interrupt lets the others finish; an error that is raised, or a cancellation, cancels them. That a tool was
        restarted is for those to say who resume, never for the model: `restart_all` is theirs.
        """
        return await self.restart_all([_without(part, RESTART_KEYS) for part in parts], ctx, turn)

    async def restart_all(self, parts: Sequence[Part], ctx: ActionContext, turn: int) -> list[Outcome]:
        """Returns the outcomes of requests whose metadata says that they run again."""
        calls = [self.run(part, ctx, turn) for part in parts]
        return [await calls[0]] if len(calls) == 1 else await _gather(calls)

    async def run(self, part: Part, ctx: ActionContext, turn: int) -> Outcome:
        """Returns what became of one request."""
        request = cast(ToolRequest, part.tool_request)
        try:
            output = await self._run(request, part, ctx, turn)
        except Interrupt as interrupt:
            return interrupt
        except Exception as error:
            named = tool_error(request.name, error)
            if self._return_errors:
                output = {"error": str(named)}
            elif named is error:
                raise
            else:
                raise named from error
        if isinstance(output, ToolOutput):
            response = ToolResponse(
                name=request.name, ref=request.ref, output=_jsonable(output.output), content=output.content or None
            )
            return Part(tool_response=response, metadata=output.metadata)
        return Part(tool_response=ToolResponse(name=request.name, ref=request.ref, output=output))

    async def _run(self, request: ToolRequest, part: Part, ctx: ActionContext, turn: int) -> Any:
        tool = self._tools.get(request.name)
        if tool is None:
            names = ", ".join(self._tools)
            raise GenkitError(
                "NOT_FOUND",
                f"There is no tool `{request.name}`.",
                hint=f"The tools are: {names}." if names else "There are no tools.",
                details={"tool": request.name},
            )
        output = await self._call(ToolParams(request, ctx, turn, tool, dict(part.metadata or {})))
        if tool.kind == ActionKind.TOOL_V2 and not isinstance(output, ToolOutput):
            return schema.parse(ToolOutput, output, f"The output of the multipart tool `{request.name}`")
        return output if isinstance(output, ToolOutput) else _jsonable(output)


def tool_step(timeout: float | None) -> Next[ToolParams, Any]:
    """Returns the innermost step: it checks the input and runs the tool, for so many seconds unless it has its own."""

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
                f"The tool `{params.request.name}` took over {seconds:g} s.",
                hint="Raise `tool_timeout=`, or `timeout=` of the tool.",
            ) from error

    return run


def _without(part: Part, keys: Collection[str]) -> Part:
    """Returns the part without some of its metadata; the same part when it has none of them."""
    metadata = part.metadata
    if not metadata or metadata.keys().isdisjoint(keys):
        return part
    return part.model_copy(update={"metadata": {key: value for key, value in metadata.items() if key not in keys}})


def tool_error(name: str, error: Exception) -> GenkitError:
    """Returns the error as a `GenkitError` that names the tool."""
    if isinstance(error, GenkitError):
        error.details.setdefault("tool", name)
        return error
    return GenkitError(
        "INTERNAL",
        f"The tool `{name}` failed: {type(error).__name__}: {error}",
        hint="Handle it in the tool, or pass `tool_errors='return'` to let the model see it.",
        details={"tool": name},
        cause=error,
    )


def _jsonable(output: Any) -> Any:
    """Returns the output as it crosses the wire; NaN is null there."""
    if output is None or isinstance(output, str | int):
        return output
    return from_json(to_json(output, by_alias=True, exclude_none=True, inf_nan_mode="null", fallback=schema.dump))


async def _gather(calls: Sequence[Coroutine[Any, Any, Outcome]]) -> list[Outcome]:
    """Returns the results in order; the first failure, or a cancellation, cancels the others and waits for them."""
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
