"""Tool approval middleware: interrupts the generation before a tool that is not allowed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from genkit_rag._core.context import Interrupt
from genkit_rag._core.errors import invalid
from genkit_rag._generation.middleware.base import Middleware, Next, ToolParams, WireConfig

APPROVED = "toolApproved"
"""The key of an approval: `restart(part, {'toolApproved': True})` runs the tool."""


@dataclass(frozen=True)
class ToolApproval(Middleware):
    """A middleware that interrupts the generation at a tool that is not allowed, until the call is approved.

    The request is in `response.interrupts`. Approve with `resume=[restart(part, {'toolApproved': True})]`, or reject
    with `respond_to(part, ...)`. An approval is for one call; if it contains another input, the tool runs with that.

    Args:
        allowed_tools: The names of tools that run without approval, as used by the model or by the registry.
    """

    wire_config: ClassVar[WireConfig] = {"allowed_tools": list[str]}

    allowed_tools: Collection[str]

    def __post_init__(self) -> None:
        names: Any = self.allowed_tools
        if isinstance(names, str) or not all(isinstance(name, str) for name in names):
            raise invalid("allowed_tools", names, "must be a list of names", hint="An empty list allows no tool.")

    async def wrap_tool(self, params: ToolParams, next: Next[ToolParams, Any], /) -> Any:
        """Run the tool if it is allowed or approved; interrupt otherwise."""
        name = params.request.name
        if name in self.allowed_tools or params.tool.name in self.allowed_tools or _is_approved(params.metadata):
            return await next(params)
        raise Interrupt({"message": f"The tool `{name}` needs an approval.", "tool": params.tool.name})


def _is_approved(metadata: Mapping[str, Any]) -> bool:
    resumed = metadata.get("resumed")
    return isinstance(resumed, Mapping) and cast(Mapping[str, Any], resumed).get(APPROVED) is True


tool_approval = ToolApproval
