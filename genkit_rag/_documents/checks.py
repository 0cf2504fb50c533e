"""What may be stored: documents that every store can give back exactly as they came."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from pydantic import BaseModel

from genkit_rag._core.errors import GenkitError
from genkit_rag._documents.document import Document

MAX_TEXT = 64 * 1024 * 1024
"""The maximum number of characters of a text; above it, storage engines fail in different ways."""

MAX_DEPTH = 64
"""How deep metadata may nest."""

_EXACT = 2**53
"""Beyond it (and up to 63 bits) integers get the slow check."""


def check_documents(documents: Sequence[Document]) -> list[str]:
    """Validate documents for storage and return their ids; INVALID_ARGUMENT names the document and the path.

    Ids are text, not empty, each once. Content and metadata are text that UTF-8 can hold; metadata is JSON: finite
    numbers, integers of 63 bits, at most 64 levels. No text is longer than `MAX_TEXT`.
    """
    ids = [id_of(document, position) for position, document in enumerate(documents)]
    check_names("id", ids)
    if len(set(ids)) != len(ids) or "" in ids:
        twice = next(name for name in ids if name == "" or ids.count(name) > 1)
        problem = "is there twice in one batch" if twice else "is empty"
        raise GenkitError(
            "INVALID_ARGUMENT",
            f"The document id {twice!r} {problem}.",
            hint="Give every document an id of its own, or none: then it is a hash of its content.",
            details={"argument": "documents"},
        )
    for name, document in zip(ids, documents, strict=True):
        _check_document(document, repr(name), {"argument": "documents", "id": name})
    return ids


def id_of(document: Document, position: int) -> str:
    """Return the id of a document; INVALID_ARGUMENT with the path if it has none and its metadata is not JSON."""
    try:
        return document.id
    except (TypeError, ValueError, RecursionError):
        _check_document(document, f"at position {position}", {"argument": f"documents[{position}]"})
        raise


def _check_document(document: Document, which: str, details: dict[str, Any]) -> None:
    try:
        _check_metadata(document.metadata)
        if (text := document.plain_text) is not None:
            _check_text(text, "content")
            return
        for number, part in enumerate(document.content):
            for name, value in part:  # as it was given: the wire would make null of NaN and text of a date
                plain = dict(value) if isinstance(value, BaseModel) else value
                _check(plain, f"content[{number}].{name}", 0)
    except _Problem as problem:
        raise GenkitError(
            "INVALID_ARGUMENT", f"The document {which} {problem.args[0]}.", hint=problem.args[1], details=details
        ) from None


def check_names(argument: str, names: Iterable[str]) -> None:
    """Raise INVALID_ARGUMENT for an id or namespace that some store cannot hold."""
    for name in names:
        problem = None
        if not isinstance(name, str):
            problem = "must be a string"
        elif "\0" in name:
            problem = "must not hold a NUL character"
        elif not name.isascii():
            try:
                name.encode()
            except UnicodeEncodeError:
                problem = "must not hold lone surrogates"
        if problem is not None:
            raise GenkitError(
                "INVALID_ARGUMENT",
                f"`{argument}` {problem}, got {name!r}.",
                hint="Use plain text, or a hash of it.",
                details={"argument": argument},
            )


class _Problem(Exception):
    """`(problem, hint)`."""


def _check_metadata(metadata: Mapping[str, Any]) -> None:
    for key, value in metadata.items():
        kind = type(value)
        if (
            type(key) is str
            and key.isascii()
            and (
                (kind is str and len(value) < 4096 and value.isascii())
                or kind is bool
                or value is None
                or (kind is int and -_EXACT < value < _EXACT)
            )
        ):
            continue  # nearly all metadata is this: a fifth of the time
        _check(metadata, "metadata", 0)
        return


def _check(value: Any, path: str, depth: int) -> None:
    if isinstance(value, str):
        _check_text(value, path)
    elif isinstance(value, bool | int | float | None):
        _check_number(value, path)
    elif depth > MAX_DEPTH:
        raise _Problem(f"nests deeper than {MAX_DEPTH} levels in its metadata", "Flatten it.")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(cast("list[Any]", value)):
            _check(item, f"{path}[{index}]", depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            if type(key) is not str:
                raise _Problem(f"has the key {key!r} in `{path}`", "Keys must be strings.")
            _check_text(key, path)
            _check(item, f"{path}.{key}", depth + 1)
    else:
        raise _Problem(
            f"has a value of the type {type(value).__name__} in `{path}`",
            "Metadata is JSON: strings, numbers, booleans, None, lists and objects; write dates with `isoformat()`.",
        )


def _check_number(value: float | None, path: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise _Problem(f"has {value!r} in `{path}`", "Leave it out, or use None.")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise _Problem(f"has an integer beyond 63 bits in `{path}`", "Store it as a string.")


def _check_text(text: str, path: str) -> None:
    if len(text) > MAX_TEXT:
        raise _Problem(f"has {len(text):,} characters in `{path}`, more than {MAX_TEXT:,}", "Split it into passages.")
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _Problem(
            f"holds a lone surrogate in `{path}`, which is not text", "Decode it with errors='replace'."
        ) from None
