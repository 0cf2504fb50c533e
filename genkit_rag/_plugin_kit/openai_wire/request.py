"""Requests: messages, settings, tools and the wished output, as the body of a chat completion."""

from __future__ import annotations

from typing import Any

from genkit_rag._core.errors import invalid
from genkit_rag._documents.part import Media, Message, Part
from genkit_rag._generation.model import ModelRequest
from genkit_rag._plugin_kit.openai_wire.output import response_format
from genkit_rag._plugin_kit.openai_wire.tools import (
    function_tools,
    json_text,
    tool_arguments,
    tool_result,
    wrapped_tools,
)

Json = dict[str, Any]

PROVIDER_DATA = "openai"
"""The metadata key of a part for provider data that the next request must repeat."""

_ROLES = {"system": "system", "user": "user", "model": "assistant"}
_OURS = ("stream", "stream_options")
_ASK_FOR_JSON = {"role": "system", "content": "Answer with one JSON value."}


def chat_body(model: str, request: ModelRequest, *, max_tokens_key: str = "max_tokens") -> Json:
    """Build the body of a chat completion request.

    Unknown keys of the config are passed unchanged. `max_tokens_key` is the server's name for `max_output_tokens`.
    INVALID_ARGUMENT for parts that the format cannot express.
    """
    config = request.typed_config()
    known = {
        "temperature": config.temperature,
        "top_p": config.top_p,
        "top_k": config.top_k,
        max_tokens_key: config.max_output_tokens,
        "stop": config.stop_sequences,
        "response_format": response_format(request),
    }
    extra = config.model_extra or {}
    body: Json = {key: value for key, value in extra.items() if value is not None and key not in _OURS}
    body |= {key: value for key, value in known.items() if value is not None}
    body |= {"model": config.version or model, "messages": chat_messages(request)}
    if (body.get("response_format") or {}).get("type") == "json_object" and "json" not in str(body["messages"]).lower():
        body["messages"].insert(0, _ASK_FOR_JSON)  # servers refuse, or never end, when nobody speaks of JSON
    if request.tools:
        body["tools"] = function_tools(request.tools)
        if request.tool_choice:
            body["tool_choice"] = request.tool_choice
    return body


def chat_messages(request: ModelRequest) -> list[Json]:
    """Convert the messages of a request."""
    wrapped = wrapped_tools(request)
    users = [at for at, message in enumerate(request.messages) if message.role == "user"]
    found: list[Json] = []
    for at, message in enumerate(request.messages):
        if message.role == "tool":
            found += _tool_messages(message)
        elif message.role == "model":
            # Reasoning is repeated within the current tool loop only: the model continues it there, and ignores that
            # of earlier turns.
            found.append(_assistant_message(message, wrapped, thinks=at > (users[-1] if users else -1)))
        else:
            found.append({"role": _ROLES[message.role], "content": _content(message)})
    return found


def _tool_messages(message: Message) -> list[Json]:
    """Build the tool messages, followed by a user message with media, which a tool message cannot contain."""
    found: list[Json] = []
    shown: list[Json] = []
    for part in message.content:
        result = part.tool_response
        if result is None:
            raise invalid(
                "messages",
                part,
                "hold a part that is no result in a tool message",
                hint="Put it into a message of another role.",
            )
        text, media = tool_result(result)
        found.append({"role": "tool", "tool_call_id": result.ref or result.name, "content": text})
        if media:
            shown += [{"type": "text", "text": f"Media from the tool {result.name}:"}, *map(_media, media)]
    return [*found, {"role": "user", "content": shown}] if shown else found


def _assistant_message(message: Message, wrapped: frozenset[str], *, thinks: bool) -> Json:
    calls: list[Json] = []
    made: Json = {"role": "assistant"}
    for part in message.content:
        kept: Json = (part.metadata or {}).get(PROVIDER_DATA) or {}
        call = part.tool_request
        if call is not None:
            data = tool_arguments(call, wrapped)
            function = {"name": call.name, "arguments": data if isinstance(data, str) else json_text(data)}
            calls.append({**kept, "id": call.ref or call.name, "type": "function", "function": function})
        elif part.reasoning is not None and thinks:
            made |= {name: part.reasoning if value is None else value for name, value in kept.items()}
    content = "".join(text_of(part) for part in message.content if part.tool_request is None)
    if not calls:
        return {**made, "content": content}
    return {**made, "content": content or None, "tool_calls": calls}


def _content(message: Message) -> str | list[Json]:
    """Plain text stays a string: not every compatible server takes a list."""
    if any(part.media is not None for part in message.content):
        return [
            {"type": "text", "text": text_of(part)} if part.media is None else _media(part.media)
            for part in message.content
        ]
    return "".join(text_of(part) for part in message.content)


def text_of(part: Part) -> str:
    """Return a part as text: data as JSON, reasoning as nothing; INVALID_ARGUMENT for other kinds."""
    if part.text is not None:
        return part.text
    if part.is_data:
        return json_text(part.data)
    if part.reasoning is not None or not part.model_fields_set - {"metadata"}:
        return ""
    raise invalid(
        "messages",
        part,
        "hold a part that cannot stand in this role",
        hint="Put media into a user message, results of tools into a tool message, and the content of a "
        "resource in its place.",
    )


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
    raise invalid(
        "messages",
        kind,
        "hold media of a type that this provider does not take",
        hint="It takes images, and audio and PDF as `data:` URLs, which the middleware "
        "`download_request_media` makes of others.",
    )
