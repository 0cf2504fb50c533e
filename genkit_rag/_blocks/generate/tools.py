"""Runs the tools that a model asks for."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, cast

from pydantic_core import from_json, to_json

from genkit_rag._blocks.middleware.base import Next, ToolParams
from genkit_rag._blocks.part import Message, Part, ToolRequest, ToolResponse
from genkit_rag._blocks.tool import ToolLike, short_name, to_tool, tool_input
from genkit_rag._core import schema
from genkit_rag._core.action import Action, ActionKind
from genkit_rag._core.context import ActionContext
from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._core.registry import Registry

AnyTool = Action[Any, Any, Any]


async def resolve_tools(registry: Registry, wanted: Sequence[ToolLike]) -> tuple[Registry, dict[str, AnyTool]]:
    """Returns the tools by the names that the model knows, and the registry that knows them all.

    Functions and actions that are not registered live in a child registry, which ends with the call.
    """
    tools: dict[str, AnyTool] = {}
    own: Registry | None = None
    for item in wanted:
        if isinstance(item, str):
            action: AnyTool = await registry.get(ActionKind.TOOL, item.removeprefix("/tool/"))
        else:
            action = item if isinstance(item, Action) else _from_function(item)
        name = short_name(action.name)
        if name in tools:
            raise invalid("tools", [tools[name].name, action.name], f"holds two tools that a model knows as `{name}`",
                          hint="Give one of them another name.")  # fmt: skip
        tools[name] = action
        if not isinstance(item, str) and registry.lookup(ActionKind.TOOL, action.name) is not action:
            own = own or registry.child()
            own.register(action)
    return own or registry, tools


def _from_function(item: Any) -> AnyTool:
    if not callable(item) or isinstance(item, type):
        raise invalid("tools", item, "takes names, tool actions and functions")
    return to_tool(item)


async def run_tool_requests(parts: Sequence[Part], ctx: ActionContext, turn: int, runner: ToolRunner) -> Message:
    """Returns the tool message: one response for each request, in their order, however long each took."""
    calls = [runner.respond(part, ctx, turn) for part in parts]
    responses = [await calls[0]] if len(calls) == 1 else await _gather(calls)
    return Message(role="tool", content=responses)


class ToolRunner:
    """Runs one request after another of a generation; `call` is the chain of middleware down to the tool."""

    __slots__ = ("_call", "_return_errors", "_tools")

    def __init__(self, tools: Mapping[str, AnyTool], call: Next[ToolParams, Any], *, return_errors: bool) -> None:
        self._tools = tools
        self._call = call
        self._return_errors = return_errors

    async def respond(self, part: Part, ctx: ActionContext, turn: int) -> Part:
        """Returns the part with the tool's response, or with its error when errors are returned."""
        request = cast(ToolRequest, part.tool_request)
        try:
            output = await self._run(request, part, ctx, turn)
        except Exception as error:
            named = tool_error(request.name, error)
            if self._return_errors:
                output = {"error": str(named)}
            elif named is error:
                raise
            else:
                raise named from error
        return Part(tool_response=ToolResponse(name=request.name, ref=request.ref, output=output))

    async def _run(self, request: ToolRequest, part: Part, ctx: ActionContext, turn: int) -> Any:
        tool = self._tools.get(request.name)
        if tool is None:
            names = ", ".join(self._tools)
            raise GenkitError("NOT_FOUND", f"There is no tool `{request.name}`.",
                              hint=f"The tools are: {names}." if names else "There are no tools.",
                              details={"tool": request.name})  # fmt: skip
        return _jsonable(await self._call(ToolParams(request, ctx, turn, tool, dict(part.metadata or {}))))


async def run_tool(params: ToolParams) -> Any:
    """Returns the tool's output; the innermost step."""
    value = tool_input(params.tool, params.request.input)
    return await params.tool(value, context=params.ctx.context)


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


async def _gather(calls: Sequence[Coroutine[Any, Any, Part]]) -> list[Part]:
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
