"""A server that speaks Ollama's API as it is documented, for tests without a network.

`echo` repeats the last message; `thinker` thinks aloud first; `endless` goes on until the client leaves; `cut`,
`late-error`, `stall`, `broken`, `empty` misbehave. With tools the first one is called (by `two-calls` twice), and after
its result `echo` says what came back. A schema holds every token, so that with one no tool is called.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.fakes.samples import sample, vector

Json = dict[str, Any]

CAPABILITIES = {
    "echo": ["completion", "tools", "vision"],
    "thinker": ["completion", "thinking"],
    "cut": ["completion"],
    "late-error": ["completion"],
    "stall": ["completion"],
    "broken": ["completion"],
    "empty": ["completion"],
    "two-calls": ["completion", "tools"],
    "endless": ["completion"],
    "nomic-embed-text:latest": ["embedding"],
}


class FakeOllama:
    """The app, as `.app`; `.requests` are the bodies that came, in order; `.left` counts clients that went early."""

    def __init__(self) -> None:
        self.requests: list[Json] = []
        self.left = 0
        self.app = Starlette(
            routes=[
                Route("/api/chat", self._chat, methods=["POST"]),
                Route("/api/embed", self._embed, methods=["POST"]),
                Route("/api/show", self._show, methods=["POST"]),
                Route("/api/tags", self._tags),
            ]
        )

    async def _tags(self, request: Request) -> Response:
        return JSONResponse({"models": [{"name": name, "model": name} for name in CAPABILITIES]})

    async def _show(self, request: Request) -> Response:
        body = await request.json()
        return JSONResponse({"capabilities": CAPABILITIES[body["model"]], "details": {}})

    async def _embed(self, request: Request) -> Response:
        body = await request.json()
        self.requests.append(body)
        if body["model"] != "nomic-embed-text":
            return JSONResponse({"error": f'model "{body["model"]}" not found, try pulling it first'}, 404)
        size = min(body.get("dimensions", 8), 8)  # it shortens, and never lengthens
        if not body.get("truncate", True) and any(len(text) > 2000 for text in body["input"]):
            return JSONResponse({"error": "the input length exceeds the context length"}, 400)
        return JSONResponse({"model": body["model"], "embeddings": [vector(text, size) for text in body["input"]]})

    async def _chat(self, request: Request) -> Response:
        body = await request.json()
        self.requests.append(body)
        if body["model"] not in CAPABILITIES:
            return JSONResponse({"error": f"model '{body['model']}' not found"}, 404)
        problem = _problem(body)
        if problem:
            return JSONResponse({"error": problem}, 400)
        if body["model"] == "endless":
            return StreamingResponse(self._endless(), media_type="application/x-ndjson")
        lines = _lines(body)
        if body.get("stream", True):
            return StreamingResponse(_stream(body["model"], lines), media_type="application/x-ndjson")
        whole = dict(lines[-1])
        parts = [line["message"] for line in lines]
        whole["message"] = {"role": "assistant", "content": "".join(part.get("content", "") for part in parts)}
        for name in ("thinking", "tool_calls"):
            for part in parts:
                if name in part:
                    whole["message"][name] = part[name]
        return JSONResponse(whole)

    async def _endless(self) -> AsyncIterator[bytes]:
        try:
            while True:
                yield b'{"message": {"role": "assistant", "content": "on "}, "done": false}\n'
                await asyncio.sleep(0.01)
        finally:
            self.left += 1


def _problem(body: Json) -> str | None:
    for message in body["messages"]:
        if message["role"] not in ("system", "user", "assistant", "tool"):
            return "invalid role"
        if not isinstance(message["content"], str):
            return "json: cannot unmarshal array into Go struct field ChatRequest.messages.content of type string"
        for call in message.get("tool_calls") or ():
            if not isinstance(call["function"]["arguments"], dict):
                return "json: cannot unmarshal string into Go struct field arguments"
        for image in message.get("images") or ():
            base64.b64decode(image, validate=True)
    return None


def _lines(body: Json) -> list[Json]:
    last = body["messages"][-1]
    messages: list[Json] = []
    finish = "stop"
    if body["model"] == "thinker":
        messages.append({"content": "", "thinking": "Let me think."})
    words: list[str] = []
    if body.get("tools") and not body.get("format") and last["role"] != "tool":
        function = body["tools"][0]["function"]
        call = {"function": {"name": function["name"], "arguments": sample(function["parameters"])}}
        messages.append({"content": "", "tool_calls": [call] * (2 if body["model"] == "two-calls" else 1)})
    elif body["model"] != "empty":
        words = [word + " " for word in _text(body, last).split(" ")]
        limit = body["options"].get("num_predict")
        if limit and len(words) > limit:
            words, finish = words[:limit], "length"
        messages += [{"content": word} for word in words]
    head = {"model": body["model"], "created_at": "2024-01-01T00:00:00Z"}
    lines = [{**head, "message": {"role": "assistant", **message}, "done": False} for message in messages]
    counts = {"prompt_eval_count": 9, "eval_count": max(1, len(words)), "total_duration": 1}
    last_line = {"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": finish, **counts}
    return [*lines, {**head, **last_line}]


def _text(body: Json, last: Json) -> str:
    form = body.get("format")
    if isinstance(form, dict):
        return json.dumps(sample(form))
    if form == "json":
        return '{"answer": 42}'
    said = f"{len(last['images'])} images" if last.get("images") else last["content"]
    return f"{'The tool' if last['role'] == 'tool' else 'You'} said: {said} –\u2028 olá 👋"


async def _stream(model: str, lines: list[Json]) -> AsyncIterator[bytes]:
    for number, line in enumerate(lines):
        if number == 2 and model == "cut":
            return
        if number == 2 and model == "late-error":
            yield b'{"error": "an error was encountered while running the model"}\n'
            return
        if number == 2 and model == "stall":
            await asyncio.sleep(5)
        if number == 2 and model == "broken":
            yield b'{"message": {"ro\n'
        raw = json.dumps(line, ensure_ascii=False).encode() + b"\n"
        yield raw[:23]
        yield raw[23:]
