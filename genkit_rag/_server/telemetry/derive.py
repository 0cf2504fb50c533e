"""The meaning of a span's attributes, written by Genkit, OpenTelemetry's GenAI conventions or OpenInference.

Pure functions of a span. They never raise: telemetry of foreign programs is shown, not validated.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from genkit_rag._server.telemetry.wire import SpanData

MAX_TEXT_CHARS = 8_000
"""How much of a span's content goes into the full-text index."""

_OPERATIONS = {
    "chat": "model",
    "generate_content": "model",
    "text_completion": "model",
    "embeddings": "embedder",
    "retrieval": "retriever",
    "rerank": "reranker",
    "execute_tool": "tool",
    "invoke_workflow": "flow",
    "invoke_agent": "agent",
    "create_agent": "agent",
}
_OPENINFERENCE = {
    "LLM": "model",
    "EMBEDDING": "embedder",
    "RETRIEVER": "retriever",
    "RERANKER": "reranker",
    "TOOL": "tool",
    "CHAIN": "flow",
    "AGENT": "agent",
    "EVALUATOR": "evaluator",
    "PROMPT": "prompt",
}

_INPUTS = (
    "genkit:input",
    "input.value",
    "gen_ai.input.messages",
    "gen_ai.retrieval.query.text",
    "gen_ai.tool.call.arguments",
    "gen_ai.prompt",
)
_OUTPUTS = (
    "genkit:output",
    "output.value",
    "gen_ai.output.messages",
    "gen_ai.tool.call.result",
    "gen_ai.completion",
)
_MODELS = (
    "gen_ai.response.model",
    "gen_ai.request.model",
    "llm.model_name",
    "embedding.model_name",
    "reranker.model_name",
)
_IN_TOKENS = ("gen_ai.usage.input_tokens", "llm.token_count.prompt", "gen_ai.usage.prompt_tokens")
_OUT_TOKENS = ("gen_ai.usage.output_tokens", "llm.token_count.completion", "gen_ai.usage.completion_tokens")
_CONTENT = frozenset({*_INPUTS, *_OUTPUTS, *_MODELS, "gen_ai.retrieval.documents"})
_ERRORS = ("genkit:error", "exception.message")
_FLAT_DOCUMENT = re.compile(
    r"(?:retrieval\.documents|reranker\.output_documents)\.(\d{1,6})\.document\.(id|score|content|metadata)"
)
_FLAT_MESSAGE = re.compile(
    r"llm\.(?:input|output)_messages\.\d{1,6}\.message\.(?:content|contents\.\d{1,6}\.message_content\.text)"
)


@dataclass(frozen=True)
class FoundDocument:
    """A document that a retriever or a reranker returned."""

    id: str | None = None
    score: float | None = None
    text: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class SpanView:
    """A span in the form of a screen; unknown values are None or empty.

    Attributes:
        kind: The kind of the action, `span` if there is none.
        status: `running`, `ok` or `error`.
        input: The input, parsed if it is JSON.
        output: The output, parsed if it is JSON.
    """

    name: str
    kind: str
    status: str
    input: Any = None
    output: Any = None
    model: str | None = None
    provider: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    documents: list[FoundDocument] = field(default_factory=list[FoundDocument])
    error: str | None = None


def view(span: SpanData) -> SpanView:
    """Convert a span to the form of a screen."""
    attributes = span.attributes
    output = _parsed(_first(attributes, _OUTPUTS))
    return SpanView(
        name=name_of(span),
        kind=kind_of(span),
        status=status_of(span),
        input=_parsed(_first(attributes, _INPUTS)),
        output=output,
        model=_text(_first(attributes, _MODELS)),
        provider=_text(_first(attributes, ("gen_ai.provider.name", "llm.provider", "gen_ai.system"))),
        input_tokens=_number(_first(attributes, _IN_TOKENS)),
        output_tokens=_number(_first(attributes, _OUT_TOKENS)),
        documents=documents_of(attributes, output),
        error=error_of(span),
    )


def name_of(span: SpanData) -> str:
    """Return the name of the action, otherwise of the span."""
    return _text(span.attributes.get("genkit:name")) or span.display_name


def kind_of(span: SpanData) -> str:
    """Return the kind of the action by Genkit's names; `span` if it is not an action."""
    attributes = span.attributes
    own = attributes.get("genkit:metadata:subtype") or attributes.get("genkit:type")
    if isinstance(own, str) and own:
        return own[:100]
    by_openinference = _OPENINFERENCE.get(str(attributes.get("openinference.span.kind")))
    return by_openinference or _OPERATIONS.get(str(attributes.get("gen_ai.operation.name")), "span")


def status_of(span: SpanData) -> str:
    """Return `running`, `error` or `ok`."""
    if not span.end_time:
        return "running"
    failed = (span.status is not None and span.status.code == 2) or span.attributes.get("genkit:state") == "error"
    return "error" if failed else "ok"


def tokens_of(span: SpanData) -> tuple[int, int]:
    """Return input and output tokens of a model or embedder span; zero for others, which would count them twice."""
    if kind_of(span) not in ("model", "embedder", "background-model"):
        return 0, 0
    attributes = span.attributes
    return _number(_first(attributes, _IN_TOKENS)) or 0, _number(_first(attributes, _OUT_TOKENS)) or 0


def error_of(span: SpanData) -> str | None:
    """Return the error text; None if the span did not fail."""
    if status_of(span) != "error":
        return None
    for event in (span.time_events and span.time_events.time_event) or []:
        if (said := _text(_first(event.annotation.attributes, _ERRORS))) is not None:
            return said
    return _text(_first(span.attributes, _ERRORS)) or (span.status and span.status.message) or "failed"


def documents_of(attributes: Mapping[str, Any], output: Any = None) -> list[FoundDocument]:
    """Return the documents of a retrieval or a reranking, in the returned order.

    Genkit's output has the texts; the GenAI conventions have ids and scores; OpenInference has one attribute per field.
    """
    if isinstance(output, dict) and isinstance(output.get("documents"), list):
        return [_of_genkit(one) for one in output["documents"] if isinstance(one, dict)]
    listed = _parsed(attributes.get("gen_ai.retrieval.documents"))
    if isinstance(listed, list):
        return [_of_parts(one) for one in listed if isinstance(one, dict)]
    flat: dict[int, dict[str, Any]] = {}
    for name, value in attributes.items():
        if (match := _FLAT_DOCUMENT.fullmatch(name)) is not None:
            flat.setdefault(int(match[1]), {})[match[2]] = value
    return [_of_parts(flat[index]) for index in sorted(flat)]


def searchable(span: SpanData) -> str:
    """Return the text that a search matches: names, content, the error; capped."""
    parts = [span.display_name, name_of(span), error_of(span) or "", *_content(span.attributes)]
    return "\n".join(part[:MAX_TEXT_CHARS] for part in parts if part)[:MAX_TEXT_CHARS]


def _content(attributes: Mapping[str, Any]) -> Iterator[str]:
    for name, value in attributes.items():
        if name in _CONTENT or _FLAT_MESSAGE.fullmatch(name):
            yield value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        elif isinstance(value, str) and (match := _FLAT_DOCUMENT.fullmatch(name)) and match[2] != "score":
            yield value


def _of_genkit(raw: dict[str, Any]) -> FoundDocument:
    given = raw.get("metadata")
    metadata: dict[str, Any] = given if isinstance(given, dict) else {}
    content = raw.get("content")
    parts = content if isinstance(content, list) else []
    texts = [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
    return FoundDocument(_text(metadata.get("id")), _score(metadata.get("score")), "".join(texts) or None, metadata)


def _of_parts(raw: dict[str, Any]) -> FoundDocument:
    metadata = _parsed(raw.get("metadata"))
    text = raw.get("content", raw.get("text"))
    found = metadata if isinstance(metadata, dict) else {}
    return FoundDocument(_text(raw.get("id")), _score(raw.get("score")), _text(text), found)


def _first(attributes: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((attributes[name] for name in names if attributes.get(name) is not None), None)


def _parsed(value: Any) -> Any:
    if not isinstance(value, str) or value[:1] not in ("{", "[", '"'):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):  # cut off, or no JSON after all
        return value


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None if value is None else str(value)


def _score(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _number(value: Any) -> int | None:
    try:
        return max(0, min(int(value), 2**53))
    except (TypeError, ValueError, OverflowError):
        return None
