"""Mapping a function over all parts of a request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from genkit_rag._documents.document import Document
from genkit_rag._documents.part import Message, Part, ToolResponse
from genkit_rag._generation.model import ModelRequest

Change = Callable[[Part], Part]
"""Returns the changed part, or the same part for no change."""


def map_parts(request: ModelRequest, change: Change) -> ModelRequest:
    """Apply the change to all parts: those of documents first, then those of messages and tool responses.

    Nothing is modified in place, and unchanged objects are not copied; documents keep their ids.
    """
    docs = request.docs and [_document(document, change) for document in request.docs]
    messages = [map_message(message, change) for message in request.messages]
    update: dict[str, Any] = {}
    if docs and not _same(docs, request.docs or ()):
        update["docs"] = docs
    if not _same(messages, request.messages):
        update["messages"] = messages
    return request.model_copy(update=update) if update else request


def map_message(message: Message, change: Change) -> Message:
    """Apply the change to all parts of a message."""
    parts = [_part(part, change) for part in message.content]
    return message if _same(parts, message.content) else message.model_copy(update={"content": parts})


def _part(part: Part, change: Change) -> Part:
    response = part.tool_response
    if response is not None and response.content:
        content = [_item(item, change) for item in response.content]
        if not _same(content, response.content):
            changed: ToolResponse = response.model_copy(update={"content": content})
            part = part.model_copy(update={"tool_response": changed})
    return change(part)


def _item(item: Any, change: Change) -> Any:
    """Apply the change to a part of a tool response, which may be in wire form."""
    if isinstance(item, Part):
        return change(item)
    part = Part.model_validate(item)
    changed = change(part)
    return item if changed is part else changed.to_wire()


def _document(document: Document, change: Change) -> Document:
    before = document.content
    parts = [change(part) for part in before]
    return document if _same(parts, before) else document.copy(id=document.id, _content=parts, _text=None)


def _same(new: Sequence[Any], old: Sequence[Any]) -> bool:
    return all(one is other for one, other in zip(new, old, strict=True))
