"""Parts and messages: what is said to a model and by it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from pydantic import Field

from genkit_rag._blocks.wire import WireModel

Role = Literal["system", "user", "model", "tool"]


class Media(WireModel):
    """A medium by URL (`https:` or `data:`)."""

    url: str
    content_type: str | None = None


class ToolRequest(WireModel):
    """A model's wish to run a tool; `ref` ties the answer to it."""

    name: str
    input: Any = None
    ref: str | None = None
    partial: bool | None = None


class ToolResponse(WireModel):
    """What a tool gave back."""

    name: str
    output: Any = None
    ref: str | None = None
    content: list[Any] | None = None


class Resource(WireModel):
    """A reference to a resource by URI."""

    uri: str


class Part(WireModel):
    """One piece of a message or document: exactly one of the content fields is set, `metadata` may stand beside it."""

    text: str | None = None
    media: Media | None = None
    tool_request: ToolRequest | None = None
    tool_response: ToolResponse | None = None
    data: Any = None
    reasoning: str | None = None
    resource: Resource | None = None
    custom: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None


Content = str | Part | Sequence["str | Part"]
"""What every `prompt=`, `system=` and `content=` takes: text, a part, or a list of them."""


def to_parts(content: Content) -> list[Part]:
    """Returns content as a list of parts."""
    if isinstance(content, str):
        return [Part(text=content)]
    if isinstance(content, Part):
        return [content]
    return [Part(text=item) if isinstance(item, str) else item for item in content]


class Message(WireModel):
    """One message of a conversation."""

    role: Role
    content: list[Part] = Field(default_factory=list[Part])
    metadata: dict[str, Any] | None = None

    @classmethod
    def user(cls, content: Content) -> Message:
        """Returns a user message."""
        return cls(role="user", content=to_parts(content))

    @classmethod
    def system(cls, content: Content) -> Message:
        """Returns a system message."""
        return cls(role="system", content=to_parts(content))

    @classmethod
    def model(cls, content: Content) -> Message:
        """Returns a message of the model."""
        return cls(role="model", content=to_parts(content))

    @property
    def text(self) -> str:
        """The text parts, joined."""
        return join_text(self.content)

    @property
    def tool_requests(self) -> list[Part]:
        """The parts that ask for a tool."""
        return [part for part in self.content if part.tool_request is not None]


def join_text(parts: Iterable[Part]) -> str:
    """Returns the text parts, joined."""
    return "".join(part.text for part in parts if part.text is not None)
