"""Tools: actions that a model may ask for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Generic, TypeVar

from genkit_rag._core import schema
from genkit_rag._core.action import Action, ActionKind, Handler
from genkit_rag._core.context import ActionContext
from genkit_rag._core.errors import invalid
from genkit_rag._documents.part import Part
from genkit_rag._documents.wire import DataWireModel
from genkit_rag._generation.model import ToolDefinition
from genkit_rag._generation.tools.interrupts import respond_to, restart

Out = TypeVar("Out")
ToolLike = str | Action[Any, Any, Any] | Callable[..., Any]
"""What `tools=` takes: a name, a tool action, or a plain function."""

_SAME: Any = object()


class ToolOutput(DataWireModel):
    """The result of a tool with more than one value: images, passages, facts for the next layer.

    Attributes:
        output: The value, as any tool returns it.
        content: Further parts for the model.
        metadata: The metadata of the tool response part; models do not see it.
    """

    nulls: ClassVar[tuple[str, ...]] = ("output",)

    output: Any = None
    content: list[Part] | None = None
    metadata: dict[str, Any] | None = None


class Tool(Action[Any, Out, None], Generic[Out]):
    """A tool action made from a function; knows its definition, which is made once."""

    __slots__ = ("_definition", "fn", "result_type", "timeout")

    def __init__(
        self,
        fn: Callable[..., Any],
        name: str,
        handler: Handler[Any, Any],
        *,
        output_type: Any = None,
        multipart: bool = False,
        timeout: float | None = None,
        **more: Any,
    ) -> None:
        kind = ActionKind.TOOL_V2 if multipart else ActionKind.TOOL
        if timeout is not None and not timeout > 0:
            raise invalid("timeout", timeout, "must be more than 0 seconds", hint="Leave it out for no limit.")
        more["metadata"] = {**(more.get("metadata") or {}), "type": kind.value}
        super().__init__(
            kind,
            name,
            handler,
            output_type=ToolOutput if multipart else output_type,
            telemetry=functools.partial(_telemetry, name),
            **more,
        )
        self.fn = fn
        self.result_type = output_type
        self.timeout = timeout
        self._definition: ToolDefinition | None = None

    @property
    def definition(self) -> ToolDefinition:
        """The description of the tool for a model."""
        if self._definition is None:
            self._definition = _definition(self, self.result_type)
        return self._definition

    def respond(self, interrupt: Part, output: Any, metadata: Mapping[str, Any] | None = None) -> Part:
        """Create the answer to an interrupt of this tool, for `generate(resume=...)`; the tool does not run.

        Raises INVALID_ARGUMENT for an output that does not match the tool's, or an interrupt of another tool.
        """
        self._check(interrupt)
        schema.parse(self.result_type, output, f"The response for the tool `{short_name(self.name)}`")
        return respond_to(interrupt, schema.dump(output), metadata)

    def restart(self, interrupt: Part, metadata: Any = None, *, input: Any = _SAME) -> Part:
        """Create the request to run this tool again, for `generate(resume=...)`.

        Args:
            interrupt: One of `response.interrupts`.
            metadata: The value of `ctx.resumed` in the tool; True by default.
            input: An input that replaces the model's, validated against the tool's schema.
        """
        self._check(interrupt)
        if input is _SAME:
            return restart(interrupt, metadata)
        tool_input(self, input)
        return restart(interrupt, metadata, input=schema.dump(input))

    def _check(self, interrupt: Part) -> None:
        request = interrupt.tool_request
        if request is None or request.name != short_name(self.name):
            raise invalid(
                "interrupt",
                interrupt,
                f"is no request for the tool `{short_name(self.name)}`",
                hint="Take it from `response.interrupts`.",
            )


def interrupt_tool(
    name: str, *, description: str, input_type: Any = None, output_type: Any = None, metadata: Any = None
) -> Tool[Any]:
    """Create a tool that stops the generation when the model calls it, so that a person can answer.

    Args:
        name: The name of the tool.
        description: When the model should call it.
        input_type: A type or JSON Schema of the model's input.
        output_type: A type or JSON Schema of the answer.
        metadata: The metadata of the interrupt, or a function of the input that returns it.
    """

    async def ask(value: Any, ctx: ActionContext) -> Any:
        said: Any = metadata(value) if callable(metadata) else metadata
        ctx.interrupt(said)

    return Tool(ask, name, ask, description=description, input_type=input_type, output_type=output_type)


def tool_definition(action: Action[Any, Any, Any]) -> ToolDefinition:
    """Return the description of a tool action for a model: its short name, description and schemas."""
    return action.definition if isinstance(action, Tool) else _definition(action, action.output_type)


def short_name(name: str) -> str:
    """Return the model's name for a tool: the part after the last slash."""
    return name.rpartition("/")[2]


def _definition(action: Action[Any, Any, Any], output_type: Any) -> ToolDefinition:
    short = short_name(action.name)
    return ToolDefinition(
        name=short,
        key=action.key,
        description=action.description or "",
        input_schema=action.input_schema,
        output_schema=schema.json_schema(output_type, mode="serialization"),
        metadata={"originalName": action.name} if short != action.name else None,
    )


def tool_input(action: Action[Any, Any, Any], raw: Any) -> Any:
    """Parse a model's arguments as the tool's typed input; INVALID_ARGUMENT names the JSON path.

    Absent arguments are an empty object for tools that take an object.
    """
    if raw is None and (tool_definition(action).input_schema or {}).get("type") == "object":
        raw = {}
    return schema.parse(action.input_type, raw, f"The input of the tool `{short_name(action.name)}`")


def _telemetry(name: str, _input: Any, _output: Any) -> dict[str, Any]:
    return {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name}
