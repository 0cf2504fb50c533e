"""Ollama's chat format, both ways: https://github.com/ollama/ollama/blob/main/docs/api.md."""

from __future__ import annotations

from typing import Any, cast

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
    error_text,
    invalid,
    openai_wire,
)

Json = dict[str, Any]

_ROLES = {"system": "system", "user": "user", "model": "assistant"}
_TOP_LEVEL = ("keep_alive", "think", "logprobs", "top_logprobs")
_FINISH: dict[str, FinishReason] = {"stop": "stop", "length": "length"}
_EMPTY = "it holds neither text nor a call of a tool"
_EMPTY_AT_LIMIT = "its tokens were used up before it began (max_output_tokens)"


def chat_body(model: str, request: ModelRequest) -> Json:
    """Build the body of a chat request. Unknown keys of the config become options (`num_ctx`, `seed`).

    Raises UNIMPLEMENTED for a tool that must be called, and for tools together with a schema: the server holds every
    token to the schema, those of a call too.
    """
    config = request.typed_config()
    known = {
        "temperature": config.temperature,
        "top_p": config.top_p,
        "top_k": config.top_k,
        "num_predict": config.max_output_tokens,
        "stop": config.stop_sequences,
    }
    options: Json = {key: value for key, value in {**(config.model_extra or {}), **known}.items() if value is not None}
    body: Json = {name: options.pop(name) for name in _TOP_LEVEL if name in options}
    body |= {"model": config.version or model, "messages": _messages(request), "options": options}
    tools = request.tools if request.tool_choice != "none" else None
    if tools:
        _check_tools(request)
        body["tools"] = openai_wire.function_tools(tools)
    elif request.output is not None and openai_wire.is_held(request.output):
        body["format"] = request.output.schema_
    elif openai_wire.response_format(request) is not None:
        body["format"] = "json"
    return body


def _check_tools(request: ModelRequest) -> None:
    if request.tool_choice == "required":
        raise GenkitError(
            "UNIMPLEMENTED",
            "Ollama cannot be made to call a tool (tool_choice='required').",
            hint="Ask for the tool in the prompt and leave `tool_choice` out.",
        )
    if request.output is not None and request.output.constrained and openai_wire.is_held(request.output):
        raise GenkitError(
            "UNIMPLEMENTED",
            "Ollama cannot hold an answer to a schema while it has tools.",
            hint="Pass output_constrained=False, so that the schema is asked for in words.",
        )


def _messages(request: ModelRequest) -> list[Json]:
    wrapped = openai_wire.wrapped_tools(request)
    found: list[Json] = []
    for message in request.messages:
        if message.role == "tool":
            found += [_tool_message(part) for part in message.content]
        else:
            found.append(_message(message, wrapped))
    return found


def _tool_message(part: Part) -> Json:
    result = part.tool_response
    if result is None:
        raise invalid(
            "messages",
            part,
            "hold a part that is no result in a tool message",
            hint="Put it into a message of another role.",
        )
    text, media = openai_wire.tool_result(result)
    made: Json = {"role": "tool", "tool_name": result.name, "content": text}
    return {**made, "images": [_base64(item) for item in media]} if media else made


def _message(message: Message, wrapped: frozenset[str]) -> Json:
    images = [part.media for part in message.content if part.media is not None]
    calls = [part.tool_request for part in message.content if part.tool_request is not None]
    said = [part for part in message.content if part.media is None and part.tool_request is None]
    thoughts = "".join(part.reasoning for part in said if part.reasoning)
    made: Json = {"role": _ROLES[message.role], "content": "".join(map(openai_wire.text_of, said))}
    if images:
        made["images"] = [_base64(media) for media in images]
    if calls:
        made["tool_calls"] = [
            {"function": {"name": call.name, "arguments": openai_wire.tool_arguments(call, wrapped)}} for call in calls
        ]
    if calls and thoughts:
        made["thinking"] = thoughts  # between the calls of its tools a model goes on thinking
    return made


def _base64(media: Media) -> str:
    head, marker, data = media.url.partition(";base64,")
    if not marker or not (media.content_type or head.removeprefix("data:")).startswith("image/"):
        raise invalid(
            "messages",
            media.content_type or media.url[:60],
            "hold media that Ollama does not take",
            hint="It takes images as `data:image/...;base64,` URLs, which the middleware "
            "`download_request_media` makes of others.",
        )
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
        self._usage: Usage | None = None

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._text)

    def add(self, line: Any) -> list[Part]:
        """Add a line and return its new parts; raise the error of an error line."""
        body: Json = cast(Json, line) if isinstance(line, dict) else {}
        if body.get("error"):
            raise GenkitError(
                "UNAVAILABLE",
                f"Ollama broke off: {error_text(body)}",
                hint="What had come is in `error.response`; the server's log says more.",
            )
        try:
            return self._add(body)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise GenkitError(
                "INTERNAL",
                f"The server sent {str(line)[:100]!r} where a message was due.",
                hint="Check that host is an Ollama server.",
            ) from error

    def _add(self, body: Json) -> list[Part]:
        message: Json = body["message"]
        fresh: list[Part] = []
        if message.get("thinking"):
            fresh.append(Part(reasoning=message["thinking"]))
            self._thinking.append(message["thinking"])
        if message.get("content"):
            fresh.append(Part(text=message["content"]))
            self._text.append(message["content"])
        calls = [self._call(call) for call in message.get("tool_calls") or ()]
        if body.get("done"):
            self._usage = _usage(body)
            self.finished, self._last = True, body
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
        """Return the response of all added lines; without a message if the answer was empty."""
        content = [*self._said_so_far(), *self._calls]
        reason = str(self._last.get("done_reason") or "stop")
        note = None if reason in _FINISH else reason
        if not content and note is None:
            note = _EMPTY_AT_LIMIT if reason == "length" else _EMPTY
        return ModelResponse(
            message=Message(role="model", content=content) if content else None,
            finish_reason=_FINISH.get(reason, "other"),
            finish_message=note,
            usage=self._usage,
            raw=self._last,
        )

    def partial(self) -> ModelResponse:
        """Return the part of a broken answer, without tool calls, which may be incomplete."""
        content = self._said_so_far()
        return ModelResponse(
            message=Message(role="model", content=content) if content else None,
            finish_reason="unknown",
            finish_message="the answer broke off",
        )

    def _said_so_far(self) -> list[Part]:
        content = [Part(reasoning="".join(self._thinking))] if self._thinking else []
        return [*content, Part(text=self.text)] if self._text else content


def _usage(last: Json) -> Usage:
    read, written = last.get("prompt_eval_count"), last.get("eval_count")
    total = None if read is None and written is None else (read or 0) + (written or 0)
    return Usage(input_tokens=read, output_tokens=written, total_tokens=total)
