"""The streams of real servers on real sockets, in packets of any size."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from genkit_rag.plugin_api import GenkitError, ModelResponseChunk, Plugin
from genkit_rag.testing._models import ask
from genkit_rag_ollama import Ollama
from genkit_rag_openai import OpenAI
from tests.fakes.byte_wire import pieces_of
from tests.fakes.serving import serve

pytestmark = pytest.mark.network

SSE = (
    '\ufeffdata: {"choices": [{"index": 0, "delta": {"content": "olá "}}]}\r\n\r\n: ping\r\n\r\n'
    'data:{"choices": [{"index": 0,\r\ndata: "delta": {"content": "👋"}}]}\r\n\r\n'
    'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
).encode()
LINES = (
    '{"message": {"content": "olá "}}\n\n{"message": {"content": "👋"}}\r\n{"message": {}, "done": true}\n'
).encode()


class Packets:
    """An app that answers everything with the bytes, in pieces of `step`, up to `end`."""

    def __init__(self) -> None:
        self.raw, self.step, self.end, self.breaks = b"", 1, 0, False
        self.app = Starlette(routes=[Route("/{path:path}", self._answer, methods=["POST"])])

    async def _answer(self, request: Request) -> Response:
        return StreamingResponse(self._pieces())

    async def _pieces(self) -> AsyncIterator[bytes]:
        for piece in pieces_of(self.raw[: self.end], range(0, self.end, self.step)):
            yield piece
            await asyncio.sleep(0)
        if self.breaks:
            raise ConnectionResetError("as you asked")


def plugins(url: str) -> dict[str, tuple[Plugin, bytes]]:
    return {"openai": (OpenAI(base_url=url), SSE), "ollama": (Ollama(url), LINES)}


@pytest.mark.parametrize("name", ["openai", "ollama"])
async def test_packets_of_any_size_carry_the_same_answer_and_half_of_them_none(name: str) -> None:
    packets = Packets()
    with serve(packets.app) as url:
        plugin, packets.raw = plugins(url)[name]
        action: Any = await plugin.resolve("model", f"{name}/any")
        packets.end = len(packets.raw)
        for step in (1, 2, 3, 7, 64, 1000):
            packets.step = step
            chunks: list[ModelResponseChunk] = []
            assert (await action(ask("hi"), on_chunk=chunks.append)).text == "olá 👋"
            assert [chunk.text for chunk in chunks] == ["olá ", "👋"]
        packets.step = 5
        for end in range(0, len(packets.raw) - 8, 13):
            packets.end, packets.breaks = end, not packets.breaks
            with pytest.raises(GenkitError) as caught:
                await action(ask("hi"), on_chunk=chunks.append)
            assert caught.value.status == "UNAVAILABLE"
            assert "olá 👋".startswith(caught.value.response.text)
        await plugin.close()
