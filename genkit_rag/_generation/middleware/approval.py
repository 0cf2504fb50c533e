"""Tool approval: a tool that nobody has allowed asks before it runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from genkit_rag._core.context import Interrupt
from genkit_rag._core.errors import invalid
from genkit_rag._generation.middleware.base import Middleware, Next, ToolParams, WireConfig

APPROVED = "toolApproved"
"""`restart(part, {'toolApproved': True})` lets the tool run."""


@dataclass(frozen=True)
class ToolApproval(Middleware):
    """Interrupts the generation at a tool that is not allowed, until somebody approves of that call.

    The request stands in `response.interrupts`; go on with `resume=[restart(part, {'toolApproved': True})]`, or refuse
    with `respond_to(part, ...)`. An approval is for one call, and another input that came with it is what runs.

    Args:
        allowed_tools: The names of tools that run at once, as the model or as the registry knows them.
    """

    wire_config: ClassVar[WireConfig] = {"allowed_tools": list[str]}

    allowed_tools: Collection[str]

    def __post_init__(self) -> None:
        names: Any = self.allowed_tools
        if isinstance(names, str) or not all(isinstance(name, str) for name in names):
            raise invalid("allowed_tools", names, "must be a list of names", hint="An empty list allows none.")

    async def wrap_tool(self, params: ToolParams, next: Next[ToolParams, Any], /) -> Any:
        """Returns the tool's output when it may run; interrupts otherwise."""
        name = params.request.name
        if name in self.allowed_tools or params.tool.name in self.allowed_tools or _is_approved(params.metadata):
            return await next(params)
        raise Interrupt({"message": f"The tool `{name}` needs an approval.", "tool": params.tool.name})


def _is_approved(metadata: Mapping[str, Any]) -> bool:
    resumed = metadata.get("resumed")
    return isinstance(resumed, Mapping) and cast(Mapping[str, Any], resumed).get(APPROVED) is True


tool_approval = ToolApproval
