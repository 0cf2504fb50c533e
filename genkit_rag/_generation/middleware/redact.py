"""Redaction middleware: replaces secrets and personal data before they reach the model."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, cast

from genkit_rag._core.context import ActionContext
from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._core.threads import run_in_thread
from genkit_rag._documents.part import Part
from genkit_rag._generation.middleware.base import Middleware, ModelParams, Next, WireConfig
from genkit_rag._generation.middleware.map_parts import map_message, map_parts
from genkit_rag._generation.middleware.placeholders import Placeholders
from genkit_rag._generation.middleware.sensitive import FINDERS, Finder, by_pattern
from genkit_rag._generation.model import ModelRequest, ModelResponse, ModelResponseChunk

BuiltInPattern = Literal["private_key", "api_key", "email", "iban", "card", "phone"]
_NAME = re.compile(r"[a-z][a-z0-9_]*")
IN_THREAD = 8_000
"""Requests with more characters are searched in a worker thread; 10,000 take about 3 milliseconds."""

_JSON = ("json", "array", "jsonl")


@dataclass(frozen=True)
class Redact(Middleware):
    r"""A middleware that replaces secrets and personal data in requests by placeholders such as `[EMAIL_1]`.

    Messages, inputs and outputs of tools, data and the content of documents are searched; metadata, media, tool
    definitions and the config are not. The same text has the same placeholder in the whole request. Detection is by
    format only: names and postal addresses are not detected.

    Args:
        patterns: The patterns to search for: `email`, `phone`, `card` (with a valid check digit), `iban` (likewise),
            `api_key` (formats of many providers, JSON Web Tokens, bearer tokens), `private_key` (PEM); all by default.
        custom: Further regular expressions by name: `{"badge": r"B-\d{6}"}` gives `[BADGE_1]`. They take precedence.
        restore: Whether to restore the originals in the answer, streamed or not, and in the inputs of tools.
    """

    wire_config: ClassVar[WireConfig] = {"patterns": list[BuiltInPattern] | None, "restore": bool}

    patterns: Sequence[str] | None = None
    custom: Mapping[str, str | re.Pattern[str]] | None = None
    restore: bool = True
    _finders: Mapping[str, Finder] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        wanted = FINDERS if self.patterns is None else self.patterns
        if isinstance(wanted, str) or not set(wanted) <= set(FINDERS):
            raise invalid("patterns", wanted, f"must be a list of {', '.join(FINDERS)}", hint="See `custom`.")
        finders: dict[str, Finder] = {}
        for name, pattern in (self.custom or {}).items():
            if not _NAME.fullmatch(name) or name in FINDERS:
                raise invalid("custom", name, "must be a new name of lower-case letters, digits and `_`")
            try:
                finders[name] = by_pattern(pattern)
            except re.error as error:
                raise invalid("custom", pattern, f"must be a valid regular expression ({error})") from error
        object.__setattr__(self, "_finders", finders | {name: FINDERS[name] for name in FINDERS if name in wanted})

    async def wrap_model(self, params: ModelParams, next: Next[ModelParams, ModelResponse], /) -> ModelResponse:
        """Call the model without secrets, and restore the originals in its answer."""
        texts = _texts(params.request)
        table = Placeholders(self._finders, texts)
        if sum(map(len, texts)) > IN_THREAD:
            request = await run_in_thread(_hidden, params.request, table)
        else:
            request = _hidden(params.request, table)
        if request is params.request:
            return await next(params)
        if not self.restore:
            return await next(replace(params, request=request))
        answer = _Answer(table, params)
        try:
            response = await next(replace(params, request=request, ctx=answer.ctx))
        except Exception as error:
            answer.flush()
            if isinstance(error, GenkitError) and isinstance(error.response, ModelResponse):
                error.response = answer.restored(error.response)  # the text before the stream broke off
            raise
        answer.flush()
        return answer.restored(response)


def _hidden(request: ModelRequest, table: Placeholders) -> ModelRequest:
    return map_parts(request, lambda part: _change(part, table.hide, table.hide_all))


class _Answer:
    """The answer with the originals; a possibly incomplete placeholder waits for the next chunk."""

    def __init__(self, table: Placeholders, params: ModelParams) -> None:
        self._table = table
        self._send = params.ctx.send_chunk
        self._waiting: tuple[str, str] | None = None  # the part's field, and the text
        output = params.request.output
        self._is_json = output is not None and (
            output.format in _JSON or "json" in (output.content_type or "") or output.schema_ is not None
        )
        send = self._receive if params.ctx.streaming else None
        self.ctx = ActionContext(params.ctx.context, send, params.ctx.metadata)

    def restored(self, response: ModelResponse) -> ModelResponse:
        """Restore the originals in the message of a response."""
        if response.message is None:
            return response
        return response.model_copy(update={"message": map_message(response.message, self.shown)})

    def shown(self, part: Part) -> Part:
        """Restore the originals in a complete part."""
        return _change(part, self._show, self._table.show_all)

    def flush(self) -> None:
        """Send the text that waits, because it is not a placeholder."""
        if left := self._left():
            self._send(ModelResponseChunk(content=left))

    def _receive(self, chunk: ModelResponseChunk) -> None:
        if chunk.aggregated:  # it repeats the previous chunks
            self._send(chunk.model_copy(update={"content": [self.shown(part) for part in chunk.content]}))
            return
        content: list[Part] = []
        for part in chunk.content:
            content += self._arrived(part)
        if content or chunk.custom is not None or not chunk.content:
            self._send(chunk.model_copy(update={"content": content}))

    def _arrived(self, part: Part) -> list[Part]:
        """Return the parts that can be sent after the arrival of a part."""
        name = "text" if part.text is not None else "reasoning" if part.reasoning is not None else None
        if name is None:
            return [*self._left(), self.shown(part)]
        before: list[Part] = []
        said: str = getattr(part, name)
        if self._waiting is not None and self._waiting[0] == name:
            said = self._waiting[1] + said
            self._waiting = None
        else:
            before = self._left()
        held = self._table.unfinished(said)
        if held:
            self._waiting = name, said[-held:]
            said = said[:-held]
        return [*before, part.model_copy(update={name: self._show(said)})] if said else before

    def _left(self) -> list[Part]:
        if self._waiting is None:
            return []
        name, text = self._waiting
        self._waiting = None
        return [Part(text=text) if name == "text" else Part(reasoning=text)]

    def _show(self, text: str) -> str:
        return self._table.show(text, json_text=self._is_json)


def _change(part: Part, text: Callable[[str], str], data: Callable[[Any], Any]) -> Part:
    """Change the texts and data of a part; return the same part for no change."""
    update: dict[str, Any] = {}
    for name, change in (("text", text), ("reasoning", text), ("data", data), ("custom", data)):
        value = getattr(part, name)
        if value is not None and (changed := change(value)) != value:
            update[name] = changed
    for name, inner in (("tool_request", "input"), ("tool_response", "output")):
        holder: Any = getattr(part, name)
        value = getattr(holder, inner, None)
        if value is not None and (changed := data(value)) != value:
            update[name] = holder.model_copy(update={inner: changed})
    return part.model_copy(update=update) if update else part


def _texts(request: ModelRequest) -> list[str]:
    """Return all texts to search."""
    found: list[str] = []

    def keep(value: Any) -> Any:
        found.append(value if isinstance(value, str) else str(value))
        return value

    def look(part: Part) -> Part:
        return _change(part, cast(Callable[[str], str], keep), keep)

    map_parts(request, look)
    return found


redact = Redact
