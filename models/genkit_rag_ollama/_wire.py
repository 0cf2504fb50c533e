"""Ollama's chat format, both ways: https://github.com/ollama/ollama/blob/main/docs/api.md."""

from __future__ import annotations

from typing import Any

from genkit_rag.plugin_api import (
    FinishReason,
    GenkitError,
    Media,
    Message,
    ModelRequest,
    ModelResponse,
    Part,
    ToolRequest,
    Usage,
    invalid,
    openai_wire,
)

Json = dict[str, Any]

_ROLES = {"system": "system", "user": "user", "model": "assistant"}
_TOP_LEVEL = ("keep_alive", "think", "logprobs", "top_logprobs")
_FINISH: dict[str, FinishReason] = {"stop": "stop", "length": "length"}


def chat_body(model: str, request: ModelRequest) -> Json:
    """Returns the body of a chat request. Unknown names of the config become options (`num_ctx`, `seed`)."""
    config = request.typed_config()
    known = {
        "temperature": config.temperature, "top_p": config.top_p, "top_k": config.top_k,
        "num_predict": config.max_output_tokens, "stop": config.stop_sequences,
    }  # fmt: skip
    options: Json = {key: value for key, value in {**(config.model_extra or {}), **known}.items() if value is not None}
    body: Json = {name: options.pop(name) for name in _TOP_LEVEL if name in options}
    body |= {"model": config.version or model, "messages": _messages(request), "options": options}
    if request.tools and request.tool_choice != "none":
        body["tools"] = openai_wire.function_tools(request.tools)
    form = openai_wire.response_format(request)
    if form is not None:
        body["format"] = form["json_schema"]["schema"] if form["type"] == "json_schema" else "json"
    return body


def _messages(request: ModelRequest) -> list[Json]:
    wrapped = openai_wire.wrapped_tools(request)
    found: list[Json] = []
    for message in request.messages:
        if message.role == "tool":
            results = [part.tool_response for part in message.content if part.tool_response is not None]
            found += [
                {"role": "tool", "tool_name": result.name, "content": openai_wire.tool_output_text(result)}
                for result in results
            ]
        else:
            found.append(_message(message, wrapped))
    return found


def _message(message: Message, wrapped: frozenset[str]) -> Json:
    made: Json = {"role": _ROLES[message.role], "content": message.text}
    images = [_base64(part.media) for part in message.content if part.media is not None]
    calls = [part.tool_request for part in message.content if part.tool_request is not None]
    data = [openai_wire.json_text(part.data) for part in message.content if part.data is not None]
    if data:
        made["content"] += "".join(data)
    if images:
        made["images"] = images
    if calls:
        made["tool_calls"] = [
            {"function": {"name": call.name, "arguments": openai_wire.tool_arguments(call, wrapped)}} for call in calls
        ]
    return made


def _base64(media: Media) -> str:
    head, marker, data = media.url.partition(";base64,")
    if not marker or not (media.content_type or head.removeprefix("data:")).startswith("image/"):
        raise invalid("messages", media.content_type or media.url[:60], "hold media that Ollama does not take",
                      hint="It takes images as `data:image/...;base64,` URLs.")  # fmt: skip
    return data


class ChatStream:
    """Puts an answer together from the lines of a stream; `finished` is True when the server said that it is whole."""

    def __init__(self, request: ModelRequest) -> None:
        self.finished = False
        self._wrapped = openai_wire.wrapped_tools(request)
        self._text: list[str] = []
        self._thinking: list[str] = []
        self._calls: list[Part] = []
        self._last: Json = {}

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._text)

    def add(self, line: Any) -> list[Part]:
        """Takes one line in and returns the parts that are new; raises what an error line says."""
        if not isinstance(line, dict) or not ("message" in line or "error" in line):
            raise GenkitError("INTERNAL", f"The server sent {str(line)[:100]!r} where a message was due.",
                              hint="Check that host is an Ollama server.")  # fmt: skip
        if "error" in line:
            raise GenkitError("UNAVAILABLE", f"Ollama broke off: {openai_wire.error_text(line)}")
        message: Json = line["message"]
        fresh: list[Part] = []
        if message.get("thinking"):
            self._thinking.append(message["thinking"])
            fresh.append(Part(reasoning=message["thinking"]))
        if message.get("content"):
            self._text.append(message["content"])
            fresh.append(Part(text=message["content"]))
        calls = [self._call(call) for call in message.get("tool_calls") or ()]
        if line.get("done"):
            self.finished, self._last = True, line
        return fresh + calls

    def _call(self, call: Json) -> Part:
        function: Json = call["function"]
        name: str = function["name"]
        given = openai_wire.tool_input(function.get("arguments"), name, self._wrapped)
        ref = call.get("id") or f"call_{len(self._calls)}"
        part = Part(tool_request=ToolRequest(name=name, input=given, ref=ref))
        self._calls.append(part)
        return part

    def response(self) -> ModelResponse:
        """Returns the response of everything that was added."""
        content = [Part(reasoning="".join(self._thinking))] if self._thinking else []
        content += [Part(text=self.text)] if self._text else []
        reason = self._last.get("done_reason") or "stop"
        used = self._last.get("prompt_eval_count"), self._last.get("eval_count")
        return ModelResponse(
            message=Message(role="model", content=content + self._calls),
            finish_reason=_FINISH.get(reason, "other"),
            finish_message=None if reason in _FINISH else reason,
            usage=Usage(input_tokens=used[0], output_tokens=used[1], total_tokens=sum(count or 0 for count in used)),
        )
