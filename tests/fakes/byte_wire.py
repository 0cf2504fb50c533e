"""HTTP answers made of given pieces of bytes, without a network: what a socket may do to a stream, on purpose."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import httpx
from hypothesis import strategies as st

from genkit_rag._net.http_clients import HttpClients
from genkit_rag.plugin_api import GenkitError, ModelRequest, ModelResponse, ModelResponseChunk


def pieces_of(raw: bytes, cuts: Sequence[int]) -> list[bytes]:
    """Returns the bytes cut at these places."""
    marks = sorted({cut for cut in cuts if 0 < cut < len(raw)})
    return [raw[start:stop] for start, stop in zip([0, *marks], [*marks, len(raw)], strict=True)]


CUTS = st.lists(st.integers(0, 1500), max_size=12) | st.integers(1, 7).map(lambda step: list(range(0, 3000, step)))
"""Where bytes are cut: here and there, or everywhere."""


class ByteWire:
    """A loop and a client whose next answer is what `ask` is given."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner
        self._pieces: Sequence[bytes] = ()
        self._content_type = ""
        self._breaks = False
        self._client = httpx.AsyncClient(transport=httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": self._content_type}, stream=_Pieces(self))

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yields the pieces."""
        for piece in self._pieces:
            yield piece
        if self._breaks:
            raise httpx.ReadError("the connection was reset")

    async def client(self, *_: Any) -> httpx.AsyncClient:
        """Returns the client, whatever loop and plugin ask."""
        return self._client

    def ask(
        self,
        action: Any,
        request: ModelRequest,
        pieces: Sequence[bytes],
        *,
        breaks: bool = False,
        content_type: str = "",
    ) -> tuple[list[ModelResponseChunk], ModelResponse | GenkitError]:
        """Returns the chunks, and the response or the error, of a streamed call that these bytes answer."""
        self._pieces, self._breaks, self._content_type = pieces, breaks, content_type
        chunks: list[ModelResponseChunk] = []

        async def call() -> ModelResponse | GenkitError:
            try:
                response: ModelResponse = await action(request, on_chunk=chunks.append)
            except GenkitError as error:
                return error
            return response

        return chunks, self._runner.run(call())


class _Pieces(httpx.AsyncByteStream):
    def __init__(self, wire: ByteWire) -> None:
        self._wire = wire

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._wire.chunks():
            yield piece


@contextmanager
def byte_wire() -> Iterator[ByteWire]:
    """Yields a wire; for as long as the block lasts every plugin speaks over it."""
    with asyncio.Runner() as runner:
        wire = ByteWire(runner)
        with patch.object(HttpClients, "get", wire.client):
            yield wire
