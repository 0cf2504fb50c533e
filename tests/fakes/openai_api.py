"""A server that speaks OpenAI's protocol as it is documented, strict where OpenAI is, for tests without a network.

Models by name: `echo` repeats the last message; `reasoner` thinks aloud first; `status-429` (any number) fails with
that status; `endless` goes on until the client leaves; `cut`, `reset`, `stall`, `broken`, `empty`, `no-choices`,
`late-error`, `html`, `no-done`, `not-streaming` misbehave; any other is not found. With tools, `echo` calls the first
one, and after its result says what came back.
"""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import AsyncIterator, Iterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.fakes.samples import sample, vector

Json = dict[str, Any]

MODELS = [
    "echo",
    "reasoner",
    "bad-arguments",
    "two-calls",
    "refuser",
    "cut",
    "reset",
    "stall",
    "broken",
    "empty",
    "no-choices",
    "endless",
    "late-error",
    "html",
    "no-done",
    "not-streaming",
    "text-embedding-3-small",
    "whisper-1",
]
_ARGUMENTS = {
    "model",
    "messages",
    "temperature",
    "top_p",
    "max_tokens",
    "max_completion_tokens",
    "stop",
    "seed",
    "stream",
    "stream_options",
    "tools",
    "tool_choice",
    "response_format",
    "frequency_penalty",
    "logprobs",
    "reasoning_effort",
}


class Refused(Exception):
    """An answer with an error status."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


class FakeOpenAI:
    """The app, as `.app`; `.requests` are the bodies that came, in order; `.left` counts clients that went early."""

    def __init__(self, api_key: str | None = None, retry_after: str | None = "7") -> None:
        self.requests: list[Json] = []
        self.left = 0
        self.headers: list[dict[str, str]] = []
        self._key = api_key
        self._retry_after = retry_after
        self.app = Starlette(
            routes=[
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/v1/embeddings", self._embeddings, methods=["POST"]),
                Route("/v1/models", self._models),
            ],
            exception_handlers={Refused: self._refused},
        )

    async def _refused(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, Refused)
        body = {"error": {"message": error.message, "type": "invalid_request_error", "param": None, "code": error.code}}
        headers = {"retry-after": self._retry_after} if error.status == 429 and self._retry_after else {}
        return JSONResponse(body, error.status, headers={"x-request-id": "req_1", **headers})

    async def _admit(self, request: Request) -> Json:
        sent = request.headers.get("authorization", "")
        if self._key and sent != f"Bearer {self._key}":
            raise Refused(401, f"Incorrect API key provided: {sent.removeprefix('Bearer ')}.", "invalid_api_key")
        body: Json = json.loads(await request.body() or b"{}")
        self.requests.append(body)
        self.headers.append(dict(request.headers))
        return body

    async def _models(self, request: Request) -> Response:
        await self._admit(request)
        return JSONResponse({"object": "list", "data": [{"id": name, "object": "model"} for name in MODELS]})

    async def _embeddings(self, request: Request) -> Response:
        body = await self._admit(request)
        if body["model"] not in ("text-embedding-3-small", "text-embedding-ada-002", "short-embedder", "lists"):
            raise Refused(404, f"The model `{body['model']}` does not exist", "model_not_found")
        texts = body["input"]
        if len(texts) > 2048 or not all(texts):
            raise Refused(400, "'$.input' is invalid.")
        size = body.get("dimensions", 8)
        coded = body.get("encoding_format") == "base64" and body["model"] != "lists"  # which knows no base64
        data = [
            {"object": "embedding", "index": i, "embedding": _base64(row) if coded else row}
            for i, row in enumerate(vector(text, size) for text in texts)
        ]
        if body["model"] == "short-embedder":
            data.pop()
        return JSONResponse({"object": "list", "data": data[::-1], "usage": {"prompt_tokens": 1, "total_tokens": 1}})

    async def _chat(self, request: Request) -> Response:
        body = await self._admit(request)
        model: str = body["model"]
        if model.startswith("status-"):
            raise Refused(int(model.removeprefix("status-")), "as you asked", "made_up")
        if model not in MODELS:
            raise Refused(
                404, f"The model `{model}` does not exist or you do not have access to it.", "model_not_found"
            )
        _check(body)
        if model == "endless":
            return StreamingResponse(self._endless(body), media_type="text/event-stream")
        if model == "html":
            return Response("<html>It works!</html>", media_type="text/html")
        answer = _answer(body)
        if body.get("stream") and model != "not-streaming":
            return StreamingResponse(_stream(body, answer), media_type="text/event-stream")
        if model == "stall":
            await asyncio.sleep(5)
        choices = [{"index": 0, **answer}] if model != "no-choices" else []
        whole = {"object": "chat.completion", "choices": choices, "usage": _usage(body, answer)}
        return JSONResponse({**_head(body), **whole})

    async def _endless(self, body: Json) -> AsyncIterator[bytes]:
        try:
            while True:
                yield _event({**_head(body), "choices": [{"index": 0, "delta": {"content": "on "}}]})
                await asyncio.sleep(0.01)
        finally:
            self.left += 1


def _base64(row: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(row)}f", *row)).decode()


def _check(body: Json) -> None:
    unknown = set(body) - _ARGUMENTS
    if unknown:
        raise Refused(400, f"Unrecognized request argument supplied: {unknown.pop()}")
    if not body["messages"]:
        raise Refused(400, "[] is too short - 'messages'")
    open_calls: set[str] = set()
    for message in body["messages"]:
        if message["role"] not in ("system", "user", "assistant", "tool"):
            raise Refused(400, f"'{message['role']}' is not one of the roles")
        if message["role"] == "tool":
            if message["tool_call_id"] not in open_calls:
                raise Refused(
                    400, "messages with role 'tool' must be a response to a preceding message with 'tool_calls'"
                )
            open_calls.discard(message["tool_call_id"])
        elif open_calls:
            raise Refused(400, f"tool_call_ids did not have response messages: {open_calls}")
        open_calls |= {call["id"] for call in message.get("tool_calls") or ()}
    for tool in body.get("tools") or ():
        if tool["function"]["parameters"].get("type") != "object":
            raise Refused(400, "Invalid schema for function: schema must be a JSON Schema of 'type: \"object\"'")
    if "tool_choice" in body and not body.get("tools"):
        raise Refused(400, "'tool_choice' is only allowed when 'tools' are specified.")
    _check_form(body)


def _check_form(body: Json) -> None:
    wanted = body.get("response_format") or {"type": "text"}
    if wanted["type"] == "json_object" and "json" not in str(body["messages"]).lower():
        raise Refused(
            400, "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
        )
    if wanted["type"] == "json_schema":
        schema = wanted["json_schema"]["schema"]
        if schema.get("type") != "object":
            raise Refused(400, "Invalid schema for response_format: schema must be a JSON Schema of 'type: \"object\"'")
        if wanted["json_schema"].get("strict"):
            check_strict(schema)


def check_strict(node: Any) -> None:
    if isinstance(node, list):
        for item in node:
            check_strict(item)
    if not isinstance(node, dict):
        return
    if node.get("type") == "object" or (isinstance(node.get("type"), list) and "object" in node["type"]):
        if node.get("additionalProperties") is not False:
            raise Refused(400, "'additionalProperties' is required to be supplied and to be false")
        if sorted(node.get("required") or ()) != sorted(node.get("properties") or ()):
            raise Refused(400, "'required' is required to be supplied and to be an array including every key")
    for key, value in node.items():
        if key in ("oneOf", "allOf", "not", "default", "patternProperties", "if"):
            raise Refused(400, f"'{key}' is not permitted")
        if key == "$ref" and len(node) > 1:
            raise Refused(400, "$ref cannot have keywords beside it")
        if key in ("properties", "$defs"):
            for inner in value.values():
                check_strict(inner)
        else:
            check_strict(value)


def _head(body: Json) -> Json:
    return {"id": "chatcmpl-1", "created": 1, "model": body["model"]}


def _usage(body: Json, answer: Json) -> Json:
    prompt, completion = len(str(body["messages"])) // 4, len(_words(answer["message"]["content"] or "x"))
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }


def _words(text: str) -> list[str]:
    return [word + " " for word in text.split(" ")]


def _answer(body: Json) -> Json:
    """Returns `{message, finish_reason}`."""
    last = body["messages"][-1]
    tools = body.get("tools") or ()
    message: Json = {"role": "assistant", "content": None}
    if body["model"] == "empty":
        return {"message": {**message, "content": ""}, "finish_reason": "stop"}
    if body["model"] == "refuser":
        return {"message": {**message, "refusal": "I can't help with that."}, "finish_reason": "stop"}
    if tools and last["role"] != "tool" and body.get("tool_choice") != "none":
        return {"message": {**message, "tool_calls": _calls(body)}, "finish_reason": "tool_calls"}
    wanted = body.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        text = json.dumps(sample(wanted["json_schema"]["schema"]))
    elif wanted.get("type") == "json_object":
        text = '{"answer": 42}'
    else:
        said = last["content"] if isinstance(last["content"], str) else f"{len(last['content'])} parts"
        text = f"{'The tool' if last['role'] == 'tool' else 'You'} said: {said} – olá 👋"
    limit = body.get("max_tokens") or body.get("max_completion_tokens")
    finish = "stop"
    if limit and len(_words(text)) > limit:
        text, finish = "".join(_words(text)[:limit]).rstrip(), "length"
    message["content"] = text
    if body["model"] == "reasoner":
        message["reasoning_content"] = "Let me think."
    return {"message": message, "finish_reason": finish}


def _calls(body: Json) -> list[Json]:
    function = body["tools"][0]["function"]
    arguments = json.dumps(sample(function["parameters"]), ensure_ascii=False)
    if body["model"] == "bad-arguments":
        arguments = '{"city": "Lisb'
    count = 2 if body["model"] == "two-calls" else 1
    return [
        {"id": f"call_{i}x", "type": "function", "function": {"name": function["name"], "arguments": arguments}}
        for i in range(count)
    ]


def _deltas(message: Json) -> Iterator[Json]:
    yield {"role": "assistant", "content": ""}
    for name in ("reasoning_content", "content", "refusal"):
        for word in _words(message.get(name) or "")[:-1] if message.get(name) else ():
            yield {name: word}
        if message.get(name):
            yield {name: _words(message[name])[-1][:-1]}
    for i, call in enumerate(message.get("tool_calls") or ()):
        function = call["function"]
        yield {"tool_calls": [{**call, "index": i, "function": {"name": function["name"], "arguments": ""}}]}
        for start in range(0, len(function["arguments"]), 5):
            yield {"tool_calls": [{"index": i, "function": {"arguments": function["arguments"][start : start + 5]}}]}


async def _stream(body: Json, answer: Json) -> AsyncIterator[bytes]:
    head = {**_head(body), "object": "chat.completion.chunk"}
    model = body["model"]
    deltas = () if model == "no-choices" else _deltas(answer["message"])
    for number, delta in enumerate(deltas):
        if number == 3 and model in ("cut", "reset", "stall", "broken", "late-error"):
            async for piece in _misbehave(model):
                yield piece
            return
        yield _event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})[:9]
        yield _event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})[9:]
    yield b": keep-alive\r\n\r\n"
    finish = answer["finish_reason"] if model != "no-done" else "stop"
    yield _event({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    if (body.get("stream_options") or {}).get("include_usage"):
        yield _event({**head, "choices": [], "usage": _usage(body, answer)})
    if model != "no-done":
        yield b"data: [DONE]\n\n"


async def _misbehave(model: str) -> AsyncIterator[bytes]:
    if model == "reset":
        raise ConnectionResetError("as you asked")
    if model == "stall":
        await asyncio.sleep(5)
    if model == "broken":
        yield b'data: {"choices": [{"ind\n\n'
    if model == "late-error":
        yield _event({"error": {"message": "The server had an error", "type": "server_error", "code": None}})


def _event(data: Json) -> bytes:
    return b"data: " + json.dumps(data, ensure_ascii=False).encode() + b"\n\n"
