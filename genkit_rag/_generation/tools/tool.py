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
    """What a tool returns that gives more than one value: images, passages, facts for the next layer.

    Attributes:
        output: The value, as any tool returns it.
        content: Parts that the model gets beside it.
        metadata: Stands on the part of the tool's response; models do not see it.
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
        """What a model is told of the tool."""
        if self._definition is None:
            self._definition = _definition(self, self.result_type)
        return self._definition

    def respond(self, interrupt: Part, output: Any, metadata: Mapping[str, Any] | None = None) -> Part:
        """Returns the answer to an interrupt of this tool, for `generate(resume=...)`; the tool does not run.

        Raises INVALID_ARGUMENT for an output that does not match the tool's, or an interrupt of another tool.
        """
        self._check(interrupt)
        schema.parse(self.result_type, output, f"The response for the tool `{short_name(self.name)}`")
        return respond_to(interrupt, schema.dump(output), metadata)

    def restart(self, interrupt: Part, metadata: Any = None, *, input: Any = _SAME) -> Part:
        """Returns the order to run this tool again, for `generate(resume=...)`.

        Args:
            interrupt: One of `response.interrupts`.
            metadata: What the tool finds as `ctx.resumed`; True when there is nothing to say.
            input: Another input, if the model's is to be replaced; checked against the tool's schema.
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
    """Returns a tool that never runs: a model that asks for it stops the generation, and a person answers.

    Args:
        name: Its name.
        description: When a model should ask.
        input_type: A type or JSON Schema of what the model says.
        output_type: A type or JSON Schema of the answer.
        metadata: What stands on the interrupt, or a function of the input that gives it.
    """

    async def ask(value: Any, ctx: ActionContext) -> Any:
        said: Any = metadata(value) if callable(metadata) else metadata
        ctx.interrupt(said)

    return Tool(ask, name, ask, description=description, input_type=input_type, output_type=output_type)


def tool_definition(action: Action[Any, Any, Any]) -> ToolDefinition:
    """Returns what a model is told of a tool action: its short name, description and schemas."""
    return action.definition if isinstance(action, Tool) else _definition(action, action.output_type)


def short_name(name: str) -> str:
    """Returns the name by which a model calls a tool: what follows the last slash."""
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
    """Returns a model's arguments as the tool's typed input; raises INVALID_ARGUMENT naming the JSON path.

    Absent arguments are an empty object for tools that take an object.
    """
    if raw is None and (tool_definition(action).input_schema or {}).get("type") == "object":
        raw = {}
    return schema.parse(action.input_type, raw, f"The input of the tool `{short_name(action.name)}`")


def _telemetry(name: str, _input: Any, _output: Any) -> dict[str, Any]:
    return {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name}
