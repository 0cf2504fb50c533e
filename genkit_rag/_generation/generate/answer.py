"""The answer of a model inside a generation: its chunks, checks, usage and corrections."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from genkit_rag._core.context import ActionContext
from genkit_rag._core.errors import GenkitError
from genkit_rag._documents.part import Message, Role
from genkit_rag._generation.model import ModelRequest, ModelResponse, ModelResponseChunk, SoFar, Usage

SendChunk = Callable[[ModelResponseChunk], None]
ParseChunk = Callable[[str, str], Any]
"""`(text so far, text before this chunk) -> output so far`."""

_COUNTS = tuple(name for name in Usage.model_fields if name != "custom")
_RETRY = "output-retry"


class ChunkEmitter:
    """Passes the chunks of one generation to its caller, with role and index; `index` counts the messages."""

    __slots__ = ("_index", "_parse", "_role", "_send", "_so_far")

    def __init__(self, ctx: ActionContext, parse: ParseChunk | None = None) -> None:
        self._send = ctx.send_chunk
        self._parse = parse
        self._role: Role | None = None
        self._index = -1
        self._so_far = SoFar(parse)

    def next_message(self) -> None:
        """Start a new message with the next chunk, even if the role stays the same."""
        self._role = None

    def emit(self, chunk: ModelResponseChunk) -> None:
        """Pass on one chunk."""
        role = chunk.role or "model"
        if role != self._role:
            self._role = role
            self._index += 1
            self._so_far = SoFar(self._parse)
        elif chunk.aggregated:  # it holds the whole message so far
            self._so_far = SoFar(self._parse)
        index = self._index
        if chunk.role != role or chunk.index != index:
            if chunk.index is not None:  # the model may send the same object twice, so copy it
                chunk = chunk.model_copy()
            chunk.role, chunk.index = role, index
        self._so_far.add(chunk)
        self._send(chunk)


def check_answer(answer: ModelResponse) -> Message:
    """Return the message of the answer; raises FAILED_PRECONDITION for a blocked or empty answer."""
    if answer.message is not None and answer.finish_reason != "blocked":
        return answer.message
    what = "blocked the answer" if answer.finish_reason == "blocked" else "returned no message"
    raise GenkitError(
        "FAILED_PRECONDITION",
        f"The model {what}: {answer.finish_message or 'it gave no reason'}.",
        hint="See `error.response.raw` for the model's raw response.",
        details={"finishReason": answer.finish_reason},
    )


def internal(what: str, error: Exception) -> GenkitError:
    """Wrap an exception that is not a `GenkitError` into an INTERNAL error."""
    hint = "The exception is the `__cause__` of this error."
    return GenkitError("INTERNAL", f"{what} failed: {type(error).__name__}: {error}", hint=hint, cause=error)


def with_correction(request: ModelRequest, answer: Message, feedback: str) -> ModelRequest:
    """Return the request with an invalid answer and the feedback on it, in place of an earlier such pair."""
    wrong = answer.model_copy(update={"metadata": {**(answer.metadata or {}), "purpose": _RETRY}})
    correction = Message.user(feedback)
    correction.metadata = {"purpose": _RETRY}
    return request.model_copy(update={"messages": [*_without_corrections(request.messages), wrong, correction]})


def without_corrections(request: ModelRequest) -> ModelRequest:
    """Return the request without invalid answers and the feedback on them."""
    return request.model_copy(update={"messages": _without_corrections(request.messages)})


def _without_corrections(messages: Sequence[Message]) -> list[Message]:
    return [message for message in messages if (message.metadata or {}).get("purpose") != _RETRY]


def with_basic_stats(request: ModelRequest, response: ModelResponse) -> Usage:
    """Return the model's usage; characters and media that the model does not count are counted here."""
    counted: dict[str, Any] = _counts("input", request.messages) | _counts(
        "output", [response.message] if response.message else []
    )
    reported = response.usage
    if reported is None:
        return Usage(**counted)
    return reported.model_copy(update={name: n for name, n in counted.items() if getattr(reported, name) is None})


def add_usage(total: Usage | None, more: Usage) -> Usage:
    """Return the sum; a count that both lack stays None."""
    if total is None:
        return more
    counts = {
        name: (getattr(total, name) or 0) + (getattr(more, name) or 0)
        for name in _COUNTS
        if getattr(total, name) is not None or getattr(more, name) is not None
    }
    return Usage(**counts, custom=more.custom if more.custom is not None else total.custom)


def _counts(side: str, messages: Iterable[Message]) -> dict[str, float]:
    characters = 0
    media: dict[str, float] = {}
    for message in messages:
        for part in message.content:
            if part.text is not None:
                characters += len(part.text)
            elif part.media is not None:
                kind = _media_kind(part.media.content_type or part.media.url)
                if kind:
                    media[f"{side}_{kind}"] = media.get(f"{side}_{kind}", 0) + 1
    return {f"{side}_characters": characters, **media}


def _media_kind(content_type: str) -> str | None:
    for prefix, kind in (("image", "images"), ("video", "videos"), ("audio", "audio_files")):
        if content_type.removeprefix("data:").startswith(prefix):
            return kind
    return None
