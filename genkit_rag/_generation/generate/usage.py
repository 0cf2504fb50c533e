"""Counts of what went to models and came back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from genkit_rag._documents.part import Message
from genkit_rag._generation.model import ModelRequest, ModelResponse, Usage

_COUNTS = tuple(name for name in Usage.model_fields if name != "custom")


def with_basic_stats(request: ModelRequest, response: ModelResponse) -> Usage:
    """Returns the model's usage, with characters and media counted where it did not say."""
    counted: dict[str, Any] = _counts("input", request.messages) | _counts(
        "output", [response.message] if response.message else []
    )
    said = response.usage
    if said is None:
        return Usage(**counted)
    return said.model_copy(update={name: n for name, n in counted.items() if getattr(said, name) is None})


def add_usage(total: Usage | None, more: Usage) -> Usage:
    """Returns the sum; a count that nobody gave stays absent."""
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
