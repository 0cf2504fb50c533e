"""What `generate` takes on the wire."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from genkit_rag._documents.document import Document
from genkit_rag._documents.part import Message
from genkit_rag._documents.wire import WireModel
from genkit_rag._generation.generate.options import MAX_TURNS, GenerateOptions
from genkit_rag._generation.middleware.base import MiddlewareRef
from genkit_rag._generation.model import ToolChoice
from genkit_rag._generation.tools.interrupts import Resume


class GenerateActionOutput(WireModel):
    """The wished form of the output, on the wire."""

    format: str | None = None
    content_type: str | None = None
    instructions: bool | str | None = None
    json_schema: Any = None
    constrained: bool | None = None


class GenerateActionOptions(WireModel):
    """What `generate` takes on the wire."""

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
        """Returns the options in process."""
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
