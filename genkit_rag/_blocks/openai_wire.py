"""OpenAI's chat wire format, both ways: what several plugins' servers and runtimes speak.

The protocol: https://platform.openai.com/docs/api-reference/chat. Nothing here opens a connection.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from genkit_rag._blocks.model import FinishReason, ModelRequest, ModelResponse, ToolDefinition, Usage
from genkit_rag._blocks.part import Media, Message, Part, ToolRequest, ToolResponse
from genkit_rag._core.errors import GenkitError, Status, invalid

Json = dict[str, Any]

_ROLES = {"system": "system", "user": "user", "model": "assistant"}
_FINISH: dict[str, FinishReason] = {
    "stop": "stop", "length": "length", "content_filter": "blocked", "tool_calls": "stop", "function_call": "stop",
}  # fmt: skip
_STATUSES: dict[int, Status] = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED", 409: "ABORTED", 413: "INVALID_ARGUMENT", 422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 501: "UNIMPLEMENTED", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip
_LONE = "value"


def status_of_http(code: int) -> Status:
    """Returns the status for a provider's HTTP status code; UNAVAILABLE for any 5xx that has none of its own."""
    if code in _STATUSES:
        return _STATUSES[code]
    return "UNAVAILABLE" if code >= 500 else "INVALID_ARGUMENT" if code >= 400 else "UNKNOWN"


def error_text(payload: Any) -> str | None:
    """Returns the message of a provider's error body in any of its usual shapes; None when it has none."""
    if isinstance(payload, str):
        return payload.strip() or None
    body = cast(Json, payload) if isinstance(payload, dict) else {}
    found = (error_text(body[name]) for name in ("error", "message", "detail") if name in body)
    return next((text for text in found if text), None)


# ---- tools


def function_tools(tools: Sequence[ToolDefinition]) -> list[Json]:
    """Returns tools as function tools.

    Parameters must be a JSON object there: a tool that takes anything else (a string, say) is shown as a function of
    one parameter, `value`, and `tool_input` takes it out again.
    """
    functions = [
        {"name": tool.name, "description": tool.description, "parameters": _parameters(tool)} for tool in tools
    ]
    return [{"type": "function", "function": function} for function in functions]


def wrapped_tools(request: ModelRequest) -> frozenset[str]:
    """Returns the names of the request's tools whose input is not an object."""
    return frozenset(tool.name for tool in request.tools or () if not _takes_object(tool.input_schema))


def tool_input(arguments: Any, name: str, wrapped: frozenset[str]) -> Any:
    """Returns the input of a tool from a call's arguments; arguments that are not JSON stay the text they are."""
    value = arguments
    if isinstance(arguments, str):
        try:
            value = json.loads(arguments, parse_constant=_no_constant) if arguments.strip() else {}
        except (ValueError, RecursionError):
            return arguments
    if name in wrapped and isinstance(value, dict) and list(cast(Json, value)) == [_LONE]:
        return cast(Json, value)[_LONE]
    return {} if value is None else value


def tool_arguments(call: ToolRequest, wrapped: frozenset[str]) -> Any:
    """Returns the arguments, as data, of a call that a model made earlier; the inverse of `tool_input`."""
    if call.name in wrapped:
        return {_LONE: call.input}
    return {} if call.input is None else call.input


def tool_output_text(result: ToolResponse) -> str:
    """Returns what a tool gave back as text: a string as it is, everything else as JSON."""
    pieces: list[str] = []
    if result.output is not None or not result.content:
        pieces.append(result.output if isinstance(result.output, str) else json_text(result.output))
    for raw in result.content or ():
        part = raw if isinstance(raw, Part) else Part.model_validate(raw)
        if part.media is not None:
            raise invalid("messages", part.media.content_type, f"hold media in the result of tool `{result.name}`",
                          hint="This provider takes text from tools: return text or data.")  # fmt: skip
        pieces.append(_text_of(part))
    return "\n".join(pieces)


def json_text(value: Any) -> str:
    """Returns JSON text; values that JSON does not know become strings."""
    return json.dumps(value, ensure_ascii=False, default=str)


def _takes_object(schema: Mapping[str, Any] | None) -> bool:
    return not schema or schema.get("type") == "object" or "properties" in schema


def _parameters(tool: ToolDefinition) -> Json:
    schema = tool.input_schema
    if not schema:
        return {"type": "object", "properties": {}}
    if _takes_object(schema):
        return {"type": "object", "properties": {}, **schema}
    lone = {key: value for key, value in schema.items() if key != "$defs"}
    wrapped: Json = {"type": "object", "properties": {_LONE: lone}, "required": [_LONE], "additionalProperties": False}
    return {**wrapped, "$defs": schema["$defs"]} if "$defs" in schema else wrapped


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


# ---- request


def chat_body(model: str, request: ModelRequest, *, max_tokens_key: str = "max_tokens") -> Json:
    """Returns the body of a chat completion request.

    Unknown names of the config stand in the body as they are. `max_tokens_key` is how the server calls
    `max_output_tokens`. Raises INVALID_ARGUMENT for parts that the format cannot say.
    """
    config = request.typed_config()
    known = {
        "temperature": config.temperature, "top_p": config.top_p, "top_k": config.top_k,
        max_tokens_key: config.max_output_tokens, "stop": config.stop_sequences,
        "response_format": response_format(request),
    }  # fmt: skip
    body: Json = {key: value for key, value in (config.model_extra or {}).items() if value is not None}
    body |= {key: value for key, value in known.items() if value is not None}
    body |= {"model": config.version or model, "messages": chat_messages(request)}
    if request.tools:
        body["tools"] = function_tools(request.tools)
        if request.tool_choice:
            body["tool_choice"] = request.tool_choice
    return body


def response_format(request: ModelRequest) -> Json | None:
    """Returns the `response_format` of a request; None for text."""
    output = request.output
    if output is None:
        return None
    held = output.constrained or (output.constrained is None and output.format in (None, "json"))
    if output.schema_ and held:
        named: Json = {"name": "output", "schema": output.schema_}
        return {
            "type": "json_schema",
            "json_schema": {**named, "strict": True} if _is_strict(output.schema_) else named,
        }
    wants_json = output.format == "json" or (output.format is None and output.content_type == "application/json")
    return {"type": "json_object"} if wants_json else None


def _is_strict(schema: Any) -> bool:
    """True when every object is closed and needs all its properties, which is what `strict` asks of a schema."""
    if isinstance(schema, list):
        return all(_is_strict(item) for item in schema)
    if not isinstance(schema, dict):
        return True
    node = cast(Json, schema)
    if node.get("type") == "object":
        properties = cast(Json, node.get("properties") or {})
        if node.get("additionalProperties") is not False or set(node.get("required") or ()) != set(properties):
            return False
    return all(_is_strict(value) for value in node.values())


def chat_messages(request: ModelRequest) -> list[Json]:
    """Returns the messages of a request."""
    wrapped = wrapped_tools(request)
    found: list[Json] = []
    for message in request.messages:
        if message.role == "tool":
            found += _tool_messages(message)
        elif message.role == "model":
            found.append(_assistant_message(message, wrapped))
        else:
            found.append({"role": _ROLES[message.role], "content": _content(message)})
    return found


def _tool_messages(message: Message) -> list[Json]:
    return [
        {"role": "tool", "tool_call_id": result.ref or result.name, "content": tool_output_text(result)}
        for part in message.content
        if (result := part.tool_response) is not None
    ]


def _assistant_message(message: Message, wrapped: frozenset[str]) -> Json:
    calls: list[Json] = []
    for part in message.tool_requests:
        assert part.tool_request is not None
        call, arguments = part.tool_request, tool_arguments(part.tool_request, wrapped)
        function = {"name": call.name, "arguments": arguments if isinstance(arguments, str) else json_text(arguments)}
        calls.append({"id": call.ref or call.name, "type": "function", "function": function})
    said = [part for part in message.content if part.tool_request is None and part.reasoning is None]
    content = "".join(_text_of(part) for part in said)
    if not calls:
        return {"role": "assistant", "content": content}
    return {"role": "assistant", "content": content or None, "tool_calls": calls}


def _content(message: Message) -> str | list[Json]:
    """Plain text stays a string: not every compatible server takes a list."""
    if any(part.media is not None for part in message.content):
        return [
            {"type": "text", "text": _text_of(part)} if part.media is None else _media(part.media)
            for part in message.content
        ]
    return "".join(_text_of(part) for part in message.content)


def _text_of(part: Part) -> str:
    if part.text is not None:
        return part.text
    if part.data is not None:
        return json_text(part.data)
    if part.media is not None or part.resource is not None or part.tool_response is not None:
        raise invalid("messages", part, "hold a part that cannot stand in this role",
                      hint="Put media into a user message, and results of tools into a tool message.")  # fmt: skip
    return ""


def _media(media: Media) -> Json:
    head, _, data = media.url.partition(";base64,")
    kind = media.content_type or (head[5:] if data and head.startswith("data:") else "image/*")
    if kind.startswith("image/"):
        return {"type": "image_url", "image_url": {"url": media.url}}
    if kind.startswith("audio/") and data:
        audio = {"audio/mpeg": "mp3", "audio/x-wav": "wav", "audio/wave": "wav"}.get(kind, kind.removeprefix("audio/"))
        return {"type": "input_audio", "input_audio": {"data": data, "format": audio}}
    if kind == "application/pdf" and data:
        return {"type": "file", "file": {"filename": "document.pdf", "file_data": media.url}}
    raise invalid("messages", kind, "hold media of a type that this provider does not take",
                  hint="It takes images, and audio and PDF as `data:` URLs.")  # fmt: skip


# ---- response


def chat_response(request: ModelRequest, payload: Any) -> ModelResponse:
    """Returns the response of a whole (not streamed) answer; raises INTERNAL when it holds none."""
    stream = ChatStream(request)
    stream.add(payload)
    response = stream.response()
    response.raw = payload
    return response


@dataclass(slots=True)
class _Call:
    ref: str | None
    name: str
    arguments: list[str]


class ChatStream:
    """Puts an answer together from the chunks of a stream.

    Attributes:
        finished: True when the provider said why it stopped: the answer is whole.
    """

    def __init__(self, request: ModelRequest) -> None:
        self.finished = False
        self._wrapped = wrapped_tools(request)
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._refusal: list[str] = []
        self._calls: list[_Call] = []
        self._slots: dict[int, _Call] = {}
        self._finish: str | None = None
        self._usage: Usage | None = None
        self._about: Json = {}
        self._answered = False

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._text)

    def add(self, chunk: Any) -> list[Part]:
        """Takes one chunk in and returns the text and reasoning that are new; raises what an error chunk says."""
        if not isinstance(chunk, dict):
            raise GenkitError("INTERNAL", f"The provider sent {type(chunk).__name__} where an object was due.")
        body = cast(Json, chunk)
        if body.get("error"):
            raise self._error(body)
        self._about |= {name: body[name] for name in ("id", "model") if body.get(name)}
        if body.get("usage"):
            self._usage = _usage(body["usage"])
        for choice in body.get("choices") or ():
            if not choice.get("index"):  # one answer was asked for; further ones (n > 1) are left out
                return self._choice(choice)
        return []

    def _error(self, body: Json) -> GenkitError:
        error = body["error"]
        code = cast(Json, error).get("code") if isinstance(error, dict) else None
        status = status_of_http(code) if isinstance(code, int) else "UNAVAILABLE"
        text = error_text(body) or "no reason given"
        return GenkitError(status, f"The provider broke off: {text}", details={"partial_text": self.text})

    def _choice(self, choice: Json) -> list[Part]:
        self._answered = True
        if choice.get("finish_reason"):
            self._finish, self.finished = str(choice["finish_reason"]), True
        delta: Json = choice.get("delta") or choice.get("message") or {}
        fresh: list[Part] = []
        reasoning = delta.get("reasoning_content") or delta.get("reasoning")
        if isinstance(reasoning, str):
            self._reasoning.append(reasoning)
            fresh.append(Part(reasoning=reasoning))
        if delta.get("content"):
            text = _delta_text(delta["content"])
            self._text.append(text)
            fresh.append(Part(text=text))
        if delta.get("refusal"):
            self._refusal.append(delta["refusal"])
        for call in delta.get("tool_calls") or ():
            self._call(call)
        return fresh

    def _call(self, delta: Json) -> None:
        """Adds to a call. It is named by its index; some servers leave that out, or give every call the same one."""
        function: Json = delta.get("function") or {}
        ref, index = delta.get("id") or None, delta.get("index")
        call = self._slots.get(index) if index is not None else self._calls[-1] if self._calls else None
        if call is None or (ref and call.ref and ref != call.ref) or (index is None and function.get("name")):
            call = _Call(ref, function.get("name") or "", [])
            self._calls.append(call)
            if index is not None:
                self._slots[index] = call
        call.ref = call.ref or ref
        call.name = call.name or function.get("name") or ""
        arguments = function.get("arguments")
        if arguments is not None:
            call.arguments.append(arguments if isinstance(arguments, str) else json_text(arguments))

    def tool_requests(self) -> list[Part]:
        """Returns the calls of tools; whole once the stream has ended."""
        return [
            Part(tool_request=ToolRequest(
                name=call.name,
                ref=call.ref or f"call_{number}",
                input=tool_input("".join(call.arguments), call.name, self._wrapped),
            ))
            for number, call in enumerate(self._calls)
        ]  # fmt: skip

    def response(self) -> ModelResponse:
        """Returns the response of everything that was added."""
        if not self._answered:
            raise GenkitError("INTERNAL", "The provider's answer holds no choices.",
                              hint="Ask again; if it stays, the server is not an OpenAI-compatible one.")  # fmt: skip
        content: list[Part] = []
        if self._reasoning:
            content.append(Part(reasoning="".join(self._reasoning)))
        if self._text:
            content.append(Part(text=self.text))
        content += self.tool_requests()
        finish: FinishReason = "unknown" if self._finish is None else _FINISH.get(self._finish, "other")
        return ModelResponse(
            message=Message(role="model", content=content),
            finish_reason="blocked" if self._refusal else finish,
            finish_message="".join(self._refusal) or (self._finish if finish == "other" else None),
            usage=self._usage,
            custom=self._about or None,
        )


def _delta_text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(str(piece.get("text") or "") for piece in content if isinstance(piece, dict))


def _usage(raw: Json) -> Usage:
    prompt: Json = raw.get("prompt_tokens_details") or {}
    completion: Json = raw.get("completion_tokens_details") or {}
    return Usage(
        input_tokens=raw.get("prompt_tokens"), output_tokens=raw.get("completion_tokens"),
        total_tokens=raw.get("total_tokens"), cached_content_tokens=prompt.get("cached_tokens"),
        thoughts_tokens=completion.get("reasoning_tokens"),
    )  # fmt: skip
