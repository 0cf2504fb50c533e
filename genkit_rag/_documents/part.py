"""Parts and messages: the content that is exchanged with a model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from genkit_rag._documents.wire import DataWireModel, WireModel

Role = Literal["system", "user", "model", "tool"]


class Media(WireModel):
    """A medium by URL (`https:` or `data:`)."""

    url: str
    content_type: str | None = None


class ToolRequest(DataWireModel):
    """A model's wish to run a tool; `ref` ties the answer to it."""

    nulls: ClassVar[tuple[str, ...]] = ("input",)

    name: str
    input: Any = None
    ref: str | None = None
    partial: bool | None = None


class ToolResponse(DataWireModel):
    """The result of a tool."""

    nulls: ClassVar[tuple[str, ...]] = ("output",)

    name: str
    output: Any = None
    ref: str | None = None
    content: list[Any] | None = None


class Resource(WireModel):
    """A reference to a resource by URI."""

    uri: str


class Part(DataWireModel):
    """One piece of a message or document.

    A part has at most one of text, media, tool request, tool response, reasoning and resource. `data`, `custom` and
    `metadata` may accompany it or be alone. An empty part is valid, since Genkit's JSON drops undefined data.
    """

    nulls: ClassVar[tuple[str, ...]] = ("data",)

    text: str | None = None
    media: Media | None = None
    tool_request: ToolRequest | None = None
    tool_response: ToolResponse | None = None
    data: Any = None
    reasoning: str | None = None
    resource: Resource | None = None
    custom: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _check_content(self) -> Self:
        # The names first: most parts have one of them, and building a part is on every path.
        if len(self.__pydantic_fields_set__ & _CONTENT) > 1:
            given = [name for name in type(self).model_fields if name in _CONTENT and self.__dict__[name] is not None]
            if len(given) > 1:
                raise ValueError(f"a part holds one thing, this one has `{'` and `'.join(given)}`")
        return self

    @property
    def is_data(self) -> bool:
        """True when the part's content is `data`, which may be null."""
        return "data" in self.__pydantic_fields_set__ and not any(self.__dict__[name] is not None for name in _CONTENT)


_CONTENT = frozenset({"text", "media", "tool_request", "tool_response", "reasoning", "resource"})

Content = str | Part | Sequence["str | Part"]
"""What every `prompt=`, `system=` and `content=` takes: text, a part, or a list of them."""


def to_parts(content: Content) -> list[Part]:
    """Convert content to a list of parts."""
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
        """Create a user message."""
        return cls(role="user", content=to_parts(content))

    @classmethod
    def system(cls, content: Content) -> Message:
        """Create a system message."""
        return cls(role="system", content=to_parts(content))

    @classmethod
    def model(cls, content: Content) -> Message:
        """Create a model message."""
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
    """Join the text parts."""
    return "".join(part.text for part in parts if part.text is not None)
