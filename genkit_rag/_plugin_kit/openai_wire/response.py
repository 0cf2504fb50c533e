"""Answers, whole or in chunks, put together as one response."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

from genkit_rag._core.errors import GenkitError
from genkit_rag._documents.part import Message, Part, ToolRequest
from genkit_rag._generation.model import FinishReason, ModelRequest, ModelResponse, Usage
from genkit_rag._plugin_kit.http_errors import error_text, status_of_error
from genkit_rag._plugin_kit.openai_wire.output import Unwrapper, is_wrapped
from genkit_rag._plugin_kit.openai_wire.request import PROVIDER_DATA
from genkit_rag._plugin_kit.openai_wire.tools import json_text, tool_input, wrapped_tools

Json = dict[str, Any]

_FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "tool_calls": "stop",
    "function_call": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "end_turn": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "content_filter": "blocked",
    "safety": "blocked",
    "abort": "aborted",
}
_FAILED = ("error", "insufficient_system_resource")
_CALL = ("id", "type", "index", "function")
_THOUGHTS = ("reasoning_content", "reasoning")
_UNREADABLE = (AttributeError, KeyError, TypeError, ValueError)  # what reading data of another form ends in
_EMPTY = "it holds neither text nor a call of a tool"
_EMPTY_AT_LIMIT = "its tokens were used up before it began (max_output_tokens)"


def chat_response(request: ModelRequest, payload: Any) -> ModelResponse:
    """Parse a complete answer without streaming; INTERNAL if it is invalid."""
    if not isinstance(payload, dict) or not ("choices" in payload or error_text(payload)):
        raise _malformed(payload)
    stream = ChatStream(request)
    stream.add(payload)
    response = stream.response()
    response.raw = payload
    return response


@dataclass(slots=True)
class _Call:
    ref: str | None
    name: str
    arguments: list[str] = field(default_factory=list[str])
    kept: Json = field(default_factory=dict[str, Any])


class ChatStream:
    """Puts an answer together from the chunks of a stream.

    Attributes:
        finished: True when the provider said why it stopped.
    """

    def __init__(self, request: ModelRequest) -> None:
        self.finished = False
        self._wrapped = wrapped_tools(request)
        self._unwrapper = Unwrapper() if is_wrapped(request.output) else None
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._thoughts: Json = {}
        self._refusal: list[str] = []
        self._calls: list[_Call] = []
        self._slots: dict[int, _Call] = {}
        self._finish: str | None = None
        self._usage: Usage | None = None
        self._raw_usage: Json | None = None
        self._about: Json = {}

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._text)

    def add(self, chunk: Any) -> list[Part]:
        """Add a chunk and return its new text and reasoning; raise the error of an error chunk."""
        if not isinstance(chunk, dict):
            raise _malformed(chunk)
        try:
            return self._add(cast(Json, chunk))
        except _UNREADABLE as error:
            raise _malformed(chunk) from error

    def _add(self, body: Json) -> list[Part]:
        if body.get("error") or body.get("object") == "error" or ("choices" not in body and error_text(body)):
            raise _broken_off(status_of_error(body), error_text(body) or "it gave no reason")
        self._about |= {name: body[name] for name in ("id", "model", "system_fingerprint") if body.get(name)}
        if body.get("usage"):
            self._usage, self._raw_usage = _usage(body["usage"]), body["usage"]
        for choice in body.get("choices") or ():
            if not choice.get("index"):  # one answer was asked for; further ones (n > 1) are left out
                return self._choice(choice)
        return []

    def _choice(self, choice: Json) -> list[Part]:
        fresh = self._delta(choice.get("delta") or choice.get("message") or {})
        reason = choice.get("finish_reason")
        if reason:
            if reason in _FAILED:
                raise _broken_off("UNAVAILABLE", error_text(choice) or str(reason))
            self._finish, self.finished = str(reason), True
            if self._unwrapper is not None:
                fresh += self._said(self._unwrapper.end())
        return fresh

    def _delta(self, delta: Json) -> list[Part]:
        fresh = self._thought(delta)
        if delta.get("content"):
            text = _delta_text(delta["content"])
            fresh += self._said(text if self._unwrapper is None else self._unwrapper.feed(text))
        if delta.get("refusal"):
            self._refusal.append(str(delta["refusal"]))
        for call in delta.get("tool_calls") or ():
            self._call(call)
        return fresh

    def _said(self, text: str) -> list[Part]:
        if not text:
            return []
        self._text.append(text)
        return [Part(text=text)]

    def _thought(self, delta: Json) -> list[Part]:
        """Add reasoning. The name of its field is kept, since the next request must repeat it under that name."""
        if isinstance(details := delta.get("reasoning_details"), list):
            self._thoughts["reasoning_details"] = [*self._thoughts.get("reasoning_details", ()), *details]
        name = next((name for name in _THOUGHTS if isinstance(delta.get(name), str) and delta[name]), None)
        if name is None:
            return []
        self._thoughts[name] = None
        self._reasoning.append(delta[name])
        return [Part(reasoning=delta[name])]

    def _call(self, delta: Json) -> None:
        """Add to a tool call, identified by its index; some servers omit the index or repeat the same one."""
        function: Json = delta.get("function") or {}
        ref, index = delta.get("id") or None, delta.get("index")
        call = self._slots.get(index) if index is not None else self._calls[-1] if self._calls else None
        if call is None or (ref and call.ref and ref != call.ref) or (index is None and function.get("name")):
            call = _Call(ref, "")
            self._calls.append(call)
            if index is not None:
                self._slots[index] = call
        call.ref = call.ref or ref
        call.name = call.name or str(function.get("name") or "")
        call.kept |= {name: value for name, value in delta.items() if name not in _CALL and value is not None}
        arguments = function.get("arguments")
        if arguments is not None:
            call.arguments.append(arguments if isinstance(arguments, str) else json_text(arguments))

    def tool_requests(self) -> list[Part]:
        """Return the tool calls; complete after the end of the stream."""
        return [
            Part(
                tool_request=ToolRequest(
                    name=call.name,
                    ref=call.ref or f"call_{number}",
                    input=tool_input("".join(call.arguments), call.name, self._wrapped),
                ),
                metadata={PROVIDER_DATA: call.kept} if call.kept else None,
            )
            for number, call in enumerate(self._calls)
        ]

    def response(self) -> ModelResponse:
        """Return the response of all added chunks; without a message if the answer was empty."""
        if self._unwrapper is not None:
            self._said(self._unwrapper.end())
        content = [*self._said_so_far(), *self.tool_requests()]
        reason = self._finish
        finish: FinishReason = "unknown" if reason is None else _FINISH.get(reason, "other")
        note = reason if finish == "other" else None
        if not content and note is None:
            note = _EMPTY_AT_LIMIT if finish == "length" else _EMPTY
        return ModelResponse(
            message=Message(role="model", content=content) if content else None,
            finish_reason="blocked" if self._refusal else finish,
            finish_message="".join(self._refusal) or note,
            usage=self._usage,
            custom=self._about or None,
            raw={**self._about, "finish_reason": reason, "usage": self._raw_usage},
        )

    def partial(self) -> ModelResponse:
        """Return the part of a broken answer, without tool calls, which may be incomplete."""
        content = self._said_so_far()
        return ModelResponse(
            message=Message(role="model", content=content) if content else None,
            finish_reason="unknown",
            finish_message="the answer broke off",
            usage=self._usage,
        )

    def _said_so_far(self) -> list[Part]:
        content: list[Part] = []
        if self._reasoning or self._thoughts:
            kept = {PROVIDER_DATA: self._thoughts} if self._thoughts else None
            content.append(Part(reasoning="".join(self._reasoning), metadata=kept))
        return [*content, Part(text=self.text)] if self._text else content


def _malformed(chunk: Any) -> GenkitError:
    shown = json_text(chunk)
    return GenkitError(
        "INTERNAL",
        f"The provider sent something that is no chat completion: {shown[:200]}",
        hint="Check that base_url is the one of an OpenAI-compatible API.",
    )


def _broken_off(status: Any, text: str) -> GenkitError:
    return GenkitError(
        status, f"The provider broke off: {text}", hint="What had come is in `error.response`; ask again."
    )


def _delta_text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(str(piece.get("text") or "") for piece in content if isinstance(piece, dict))


def _usage(raw: Json) -> Usage:
    prompt: Json = raw.get("prompt_tokens_details") or {}
    completion: Json = raw.get("completion_tokens_details") or {}
    return Usage(
        input_tokens=raw.get("prompt_tokens"),
        output_tokens=raw.get("completion_tokens"),
        total_tokens=raw.get("total_tokens"),
        cached_content_tokens=prompt.get("cached_tokens"),
        thoughts_tokens=completion.get("reasoning_tokens"),
    )
