"""Passages that a tool found: their keys, and how they travel in a conversation."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json

from genkit_rag._documents.document import Document
from genkit_rag._documents.part import Message, Part

# A key is a hash of the passage instead of a number. Numbers are shorter, but a miscopied number is a valid key of
# another
# passage and goes unnoticed, while a wrong hash is reported. Numbers also need a shared counter, but calls run
# concurrently, and conversations are cut and continued in other processes.
_LETTERS = "bcdfghjkmnpqrstvwxyz"
_DIGITS = "23456789"
_CHARACTERS = _LETTERS + _DIGITS
KEY_LENGTH = 8
"""36 bits: two of a hundred passages have one key in one of fifteen million conversations."""
KEY_FORM = re.compile(rf"[{_LETTERS}][{_DIGITS}][{_CHARACTERS}]{{{KEY_LENGTH - 2},}}")
"""A letter, a digit, then either, without vowels: no number and no word has this form."""
_LONG = 24

PASSAGES = "passages"
"""The field of a tool's output with the passages, and of its response's metadata with what else is known of them."""
MAX_FACTS = 4_000
"""How many bytes of a document's metadata, as JSON, travel with it; fields that are over it are left out."""


def passage_keys(documents: Sequence[Document]) -> dict[str, Document]:
    """Return the documents by key, without duplicates.

    A key depends on id and content only: the same passage has the same key in every call, turn and process. Two
    passages of one call never have the same key; `cited_passages` sees to those of several.
    """
    found: dict[str, Document] = {}
    for document in documents:
        found.setdefault(_digest(document), document)
    short = [digest[:KEY_LENGTH] for digest in found]
    # On a collision, both keys become long, so that the result does not depend on the order of discovery.
    return {key if short.count(key) == 1 else digest: found[digest] for key, digest in zip(short, found, strict=True)}


def _digest(document: Document) -> str:
    """Return the long form of a passage's key."""
    identity = json.dumps([document.id, document.text, [medium.url for medium in document.media]])
    number = int.from_bytes(hashlib.blake2b(identity.encode(), digest_size=32).digest(), "big")
    characters: list[str] = []
    for place in range(_LONG):
        alphabet = (_LETTERS, _DIGITS)[place] if place < 2 else _CHARACTERS
        number, at = divmod(number, len(alphabet))
        characters.append(alphabet[at])
    return "".join(characters)


def passage_facts(document: Document) -> dict[str, Any]:
    """Return the metadata of a document for the model, bounded and JSON-compatible."""
    own = {
        "id": document.id,
        "score": document.score,
        "rank": document.rank,
        "retriever": document.retriever,
        "scores": document.scores,
    }
    return {**_bounded(document.metadata), **{name: value for name, value in own.items() if value is not None}}


def _bounded(metadata: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    left = MAX_FACTS
    for name, value in metadata.items():
        try:
            encoded = to_json(value, inf_nan_mode="null", fallback=str)
        except (PydanticSerializationError, ValueError):  # what is no Unicode text cannot cross a wire
            continue
        if len(name) + len(encoded) <= left:
            left -= len(name) + len(encoded)
            kept[name] = from_json(encoded)
    return kept


def cited_passages(messages: Sequence[Message]) -> dict[str, Document]:
    """Return the passages that retriever tools returned in a conversation, by the keys that the model was given.

    The text of a document is the text that the model read; its metadata are those of the store, bounded. A passage that
    was found several times is returned once, in its last version. A key of two different documents is dropped. Anyone
    who can write the conversation can write passages into it: do not accept tool messages from untrusted sources.
    """
    found: dict[str, Document] = {}
    clashing: set[str] = set()
    for key, document in _passages(messages):
        if found.setdefault(key, document).id != document.id:
            clashing.add(key)
        found[key] = document
    return {key: document for key, document in found.items() if key not in clashing}


def has_searched(messages: Sequence[Message]) -> bool:
    """Return whether a retriever tool has run in a conversation, with or without results."""
    return next(_searches(messages), None) is not None


def _searches(messages: Sequence[Message]) -> Iterator[tuple[Part, Mapping[str, Any]]]:
    """Yield the responses of retriever tools, and the facts of their passages by key."""
    for message in messages:
        if message.role == "tool":
            for part in message.content:
                facts = (part.metadata or {}).get(PASSAGES)
                if part.tool_response is not None and isinstance(facts, Mapping):
                    yield part, cast("Mapping[str, Any]", facts)


def _passages(messages: Sequence[Message]) -> Iterator[tuple[str, Document]]:
    for part, facts in _searches(messages):
        output: Any = part.tool_response.output if part.tool_response else None
        items: Any = output.get(PASSAGES) if isinstance(output, Mapping) else None
        for item in items if isinstance(items, list) else ():
            document = _document(item, facts)
            if document is not None:
                yield item["key"], document


def _document(item: Any, facts: Mapping[str, Any]) -> Document | None:
    """Return the document of a passage; None if it is not a passage, for example after a middleware changed it."""
    if not isinstance(item, Mapping):
        return None
    key, text = item.get("key"), item.get("text")
    if not isinstance(key, str) or not isinstance(text, str) or not KEY_FORM.fullmatch(key) or key not in facts:
        return None
    try:
        return Document.from_wire({"content": [{"text": text}], "metadata": facts[key]})
    except ValidationError:
        return None
