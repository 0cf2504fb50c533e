"""Attribute writers: from the attributes of our spans to those of other conventions, as pure functions.

OpenInference's names are those of its semantic conventions 0.1.42; lists are flattened with their index.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from genkit_rag._core.errors import invalid

WRITERS = ("genkit", "gen_ai", "openinference")
HIDDEN = "__REDACTED__"
"""What OpenInference writes in the place of hidden content."""

_KINDS = {
    "model": "LLM",
    "background-model": "LLM",
    "embedder": "EMBEDDING",
    "retriever": "RETRIEVER",
    "reranker": "RERANKER",
    "tool": "TOOL",
    "tool.v2": "TOOL",
    "agent": "AGENT",
    "evaluator": "EVALUATOR",
    "prompt": "PROMPT",
    "executable-prompt": "PROMPT",
}
_ROLES = {"model": "assistant"}
_REQUEST = "gen_ai.request."
_COUNTS = {
    "gen_ai.usage.input_tokens": "llm.token_count.prompt",
    "gen_ai.usage.output_tokens": "llm.token_count.completion",
    "gen_ai.usage.cache_read.input_tokens": "llm.token_count.prompt_details.cache_read",
    "gen_ai.usage.cache_write.input_tokens": "llm.token_count.prompt_details.cache_write",
    "gen_ai.usage.reasoning.output_tokens": "llm.token_count.completion_details.reasoning",
}
Pairs = Iterator[tuple[str, Any]]


def chosen_writers(names: Iterable[str] | None = None) -> tuple[str, ...]:
    """Return the attribute writers; default: `GENKIT_RAG_SPAN_WRITERS`, otherwise `genkit` and `gen_ai`.

    `genkit` is always included: the developer UI and Genkit's tools need it.
    """
    if names is None:
        names = os.environ.get("GENKIT_RAG_SPAN_WRITERS", "").split(",")
        names = [name.strip() for name in names if name.strip()] or ("genkit", "gen_ai")
    wanted = tuple(names)
    for name in wanted:
        if name not in WRITERS:
            raise invalid("writers", name, "is no span writer", hint=f"There are {', '.join(WRITERS)}.")
    return tuple(name for name in WRITERS if name in {"genkit", *wanted})


def written(attributes: Mapping[str, Any], writers: Iterable[str]) -> dict[str, Any]:
    """Convert the attributes to those of the chosen writers."""
    chosen = set(writers)
    found = {name: value for name, value in attributes.items() if "gen_ai" in chosen or not name.startswith("gen_ai.")}
    return found | (openinference(attributes) if "openinference" in chosen else {})


def openinference(attributes: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the OpenInference attributes of our span; none for a span that is not an action.

    `OPENINFERENCE_HIDE_INPUTS`, `_HIDE_OUTPUTS`, `_HIDE_INPUT_MESSAGES`, `_HIDE_OUTPUT_MESSAGES`, `_HIDE_INPUT_TEXT`
    and `_HIDE_OUTPUT_TEXT` are honoured.
    """
    if "genkit:type" not in attributes:
        return {}
    env = os.environ if environment is None else environment
    hides = lambda name: env.get(f"OPENINFERENCE_HIDE_{name}", "").lower() in ("1", "true")  # noqa: E731
    kind = str(attributes.get("genkit:metadata:subtype", ""))
    found: dict[str, Any] = {"openinference.span.kind": _KINDS.get(kind, "CHAIN")}
    found |= dict(_content(attributes, hides))
    writer = _BY_KIND.get(found["openinference.span.kind"])
    if writer is not None:
        found |= dict(writer(attributes, hides))
    if (session := attributes.get("gen_ai.conversation.id")) is not None:
        found["session.id"] = session
    return found


Hides = Callable[[str], bool]


def _content(attributes: Mapping[str, Any], hides: Hides) -> Pairs:
    for ours, theirs, switch in (("genkit:input", "input", "INPUTS"), ("genkit:output", "output", "OUTPUTS")):
        if ours in attributes:
            yield f"{theirs}.value", HIDDEN if hides(switch) else attributes[ours]
            yield f"{theirs}.mime_type", "application/json"


def _llm(attributes: Mapping[str, Any], hides: Hides) -> Pairs:
    yield from _named(attributes, "llm.model_name")
    if (provider := attributes.get("gen_ai.provider.name")) is not None:
        yield "llm.provider", provider
        yield "llm.system", provider
    settings = {
        name.removeprefix(_REQUEST): value
        for name, value in attributes.items()
        if name.startswith(_REQUEST) and name != "gen_ai.request.model"
    }
    if settings:
        yield "llm.invocation_parameters", json.dumps(settings)
    counts = {theirs: attributes[ours] for ours, theirs in _COUNTS.items() if ours in attributes}
    yield from counts.items()
    if counts:
        yield (
            "llm.token_count.total",
            sum(counts.get(f"llm.token_count.{side}", 0) for side in ("prompt", "completion")),
        )
    reasons = attributes.get("gen_ai.response.finish_reasons")
    if reasons:
        yield "llm.finish_reason", reasons if isinstance(reasons, str) else str(reasons[0])
    given, answer = _json(attributes.get("genkit:input")), _json(attributes.get("genkit:output"))
    if not hides("INPUTS") and not hides("INPUT_MESSAGES"):
        yield from _messages("llm.input_messages", given.get("messages"), hides("INPUT_TEXT"))
    if not hides("OUTPUTS") and not hides("OUTPUT_MESSAGES"):
        yield from _messages("llm.output_messages", [answer.get("message")], hides("OUTPUT_TEXT"))


def _messages(prefix: str, messages: Any, hidden: bool) -> Pairs:
    for index, message in enumerate(messages if isinstance(messages, list) else []):
        if not isinstance(message, dict):
            continue
        at = f"{prefix}.{index}.message"
        role = str(message.get("role", "user"))
        yield f"{at}.role", _ROLES.get(role, role)
        parts = [part for part in message.get("content") or [] if isinstance(part, dict)]
        texts = [str(part["text"]) for part in parts if "text" in part]
        if texts:
            yield f"{at}.content", HIDDEN if hidden else "".join(texts)
        calls = [part["toolRequest"] for part in parts if isinstance(part.get("toolRequest"), dict)]
        for number, call in enumerate(calls):
            its = f"{at}.tool_calls.{number}.tool_call"
            yield f"{its}.function.name", str(call.get("name", ""))
            yield f"{its}.function.arguments", HIDDEN if hidden else json.dumps(call.get("input"))
            if call.get("ref"):
                yield f"{its}.id", str(call["ref"])
        for part in parts:
            if isinstance(reply := part.get("toolResponse"), dict) and reply.get("ref"):
                yield f"{at}.tool_call_id", str(reply["ref"])


def _embedding(attributes: Mapping[str, Any], hides: Hides) -> Pairs:
    return _named(attributes, "embedding.model_name")


def _retriever(attributes: Mapping[str, Any], hides: Hides) -> Pairs:
    listed = _json(attributes.get("genkit:output")).get("documents")
    if isinstance(listed, list) and not hides("OUTPUTS"):
        yield from _documents("retrieval.documents", listed)
        return
    for index, one in enumerate(_list(attributes.get("gen_ai.retrieval.documents"))):
        for name in ("id", "score"):
            if one.get(name) is not None:
                yield f"retrieval.documents.{index}.document.{name}", one[name]


def _reranker(attributes: Mapping[str, Any], hides: Hides) -> Pairs:
    yield from _named(attributes, "reranker.model_name")
    given, answer = _json(attributes.get("genkit:input")), _json(attributes.get("genkit:output"))
    if not hides("INPUTS"):
        if query := _text(given.get("query")):
            yield "reranker.query", query
        yield from _documents("reranker.input_documents", given.get("documents"))
    options = given.get("options")
    if isinstance(options, dict) and isinstance(options.get("k"), int):
        yield "reranker.top_k", options["k"]
    if not hides("OUTPUTS"):
        yield from _documents("reranker.output_documents", answer.get("documents"))


def _tool(attributes: Mapping[str, Any], hides: Hides) -> Pairs:
    yield "tool.name", attributes.get("gen_ai.tool.name", attributes.get("genkit:name", ""))
    for ours, theirs in (("gen_ai.tool.description", "tool.description"), ("gen_ai.tool.call.id", "tool.id")):
        if ours in attributes:
            yield theirs, attributes[ours]
    if "genkit:input" in attributes and not hides("INPUTS"):
        yield "tool.parameters", attributes["genkit:input"]


def _documents(prefix: str, documents: Any) -> Pairs:
    for index, document in enumerate(documents if isinstance(documents, list) else []):
        if not isinstance(document, dict):
            continue
        at = f"{prefix}.{index}.document"
        metadata = document.get("metadata")
        if text := _text(document):
            yield f"{at}.content", text
        if isinstance(metadata, dict) and metadata:
            yield f"{at}.metadata", json.dumps(metadata)
            yield from ((f"{at}.{name}", metadata[name]) for name in ("id", "score") if metadata.get(name) is not None)


def _text(document: Any) -> str:
    parts = document.get("content") if isinstance(document, dict) else None
    return "".join(str(part["text"]) for part in parts or [] if isinstance(part, dict) and "text" in part)


def _named(attributes: Mapping[str, Any], theirs: str) -> Pairs:
    name = attributes.get("gen_ai.response.model", attributes.get("gen_ai.request.model"))
    if name is not None:
        yield theirs, name


def _json(text: Any) -> dict[str, Any]:
    found = _parse(text)
    return found if isinstance(found, dict) else {}


def _list(text: Any) -> list[dict[str, Any]]:
    found = _parse(text)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _parse(text: Any) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):  # it was cut
        return None


_BY_KIND: dict[str, Callable[[Mapping[str, Any], Hides], Pairs]] = {
    "LLM": _llm,
    "EMBEDDING": _embedding,
    "RETRIEVER": _retriever,
    "RERANKER": _reranker,
    "TOOL": _tool,
}
