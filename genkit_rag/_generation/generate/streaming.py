"""Streaming: gives chunks their role and index, and lets each look back at those before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from genkit_rag._core.context import ActionContext
from genkit_rag._documents.part import Role
from genkit_rag._generation.model import ModelResponseChunk, SoFar

SendChunk = Callable[[ModelResponseChunk], None]
ParseChunk = Callable[[str, str], Any]
"""`(text so far, text before this chunk) -> output so far`."""


class ChunkEmitter:
    """Hands the chunks of one generation to its caller; `index` counts the messages."""

    __slots__ = ("_index", "_parse", "_role", "_send", "_so_far")

    def __init__(self, ctx: ActionContext, parse: ParseChunk | None = None) -> None:
        self._send = ctx.send_chunk
        self._parse = parse
        self._role: Role | None = None
        self._index = -1
        self._so_far = SoFar(parse)

    def next_message(self) -> None:
        """Makes the next chunk the first one of another message, whatever its role."""
        self._role = None

    def emit(self, chunk: ModelResponseChunk) -> None:
        """Hands one chunk on."""
        role = chunk.role or "model"
        if role != self._role:
            self._role = role
            self._index += 1
            self._so_far = SoFar(self._parse)
        elif chunk.aggregated:  # it holds the whole message so far
            self._so_far = SoFar(self._parse)
        index = self._index
        if chunk.role != role or chunk.index != index:
            if chunk.index is not None:  # a model may send one object twice: it is not ours to change
                chunk = chunk.model_copy()
            chunk.role, chunk.index = role, index
        self._so_far.add(chunk)
        self._send(chunk)
