"""Documents to rows and back: checked on the way in, equal on the way out."""

from __future__ import annotations

import json
import math
import re
import struct
import unicodedata
import uuid
from collections.abc import Sequence
from typing import Any, cast

from pydantic_core import from_json

from genkit_rag.plugin_api import Document, GenkitError, Part, Vectors, invalid

TEXT, PARTS = 0, 1
"""What `content` holds: the text itself, or the parts as JSON."""
MAX_DEPTH = 64
"""How deep metadata may nest."""
MAX_KEY_BYTES = 2000
"""Bytes of namespace and id together: the limit of an entry in PostgreSQL's index."""
INDEXED_CHARACTERS = 200_000
"""How much of a text is searched by words; a tsvector is limited to a megabyte."""
NUL_STANDS_AS = "\U0010ffff"
"""What filters see in place of a NUL, which jsonb cannot hold."""

_WORD = re.compile(r"[^\W_]+")
_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"


def words_of(text: str) -> str:
    """Return the words of a text with single spaces between them.

    PostgreSQL's own parser takes `a.b` for a host and `a/b` for a path, and then finds neither a nor b.
    """
    return " ".join(_WORD.findall(unicodedata.normalize("NFKC", text[:INDEXED_CHARACTERS])))


def encode(documents: Sequence[Document], vectors: Vectors, namespace: str) -> bytes:
    """Encode rows `(namespace, id, kind, content, metadata, facts, body, version, embedding)` as binary COPY data.

    Sorted by id, so that two writers lock rows in one order. Raises INVALID_ARGUMENT that names the document for what
    could not be given back as it came.
    """
    space = namespace.encode()
    out = bytearray(_HEADER)
    big_endian = vectors.astype(">f4")
    head = struct.pack(">hh", vectors.shape[1], 0)
    for position in sorted(range(len(documents)), key=lambda i: documents[i].id):
        document = documents[position]
        kind, content = _content(document)
        facts = b"\1" + _utf8(document, facts_of(document))  # the version of jsonb's binary form
        fields = (
            space,
            document.id.encode(),
            struct.pack(">h", kind),
            _utf8(document, content),
            _utf8(document, json.dumps(document.metadata, ensure_ascii=False)),
            facts,
            _utf8(document, words_of(document.text)),
            uuid.uuid4().bytes,
            head + big_endian[position].tobytes(),
        )
        out += struct.pack(">h", len(fields))
        for value in fields:
            out += struct.pack(">i", len(value))
            out += value
    out += _TRAILER
    return bytes(out)


def decode(name: str, kind: int, content: str, metadata: str) -> Document:
    """Decode a row to a document."""
    body: str | list[Part] = content
    if kind == PARTS:
        body = [Part.model_validate(part) for part in from_json(content)]
    return Document(body, cast("dict[str, Any]", from_json(metadata)), id=name)


def check_names(argument: str, names: Sequence[str]) -> None:
    """Raise INVALID_ARGUMENT for a name that cannot be a key in PostgreSQL."""
    for name in names:
        problem = None
        if not isinstance(name, str):
            problem = "must be text"
        elif "\0" in name:
            problem = "must not hold a NUL character"
        else:
            try:
                if len(name.encode()) > MAX_KEY_BYTES:
                    problem = f"must not be longer than {MAX_KEY_BYTES} bytes"
            except UnicodeEncodeError:
                problem = "must not hold lone surrogates"
        if problem is not None:
            raise invalid(argument, name, problem, hint="Use plain text, or a hash of it.")


def check_batch(documents: Sequence[Document], namespace: str) -> None:
    """Raise INVALID_ARGUMENT for ids that are invalid, too long with their namespace, or repeated."""
    check_names("namespace", [namespace])
    names = [document.id for document in documents]
    check_names("id", names)
    seen: set[str] = set()
    for name in names:
        if name in seen or not name:
            raise invalid("id", name, "must be there, and once in a batch", hint="Leave it out: then it is a hash.")
        seen.add(name)
    longest = max(names, key=lambda name: len(name.encode()), default="")
    if len(longest.encode()) + len(namespace.encode()) > MAX_KEY_BYTES:
        raise invalid("id", longest, f"is longer than {MAX_KEY_BYTES} bytes with its namespace", hint="Use a hash.")


def facts_of(document: Document) -> str:
    """Return the metadata as JSON for filters, with exact numbers, so that jsonb compares like Python."""
    try:
        return json.dumps(_fact(document.metadata, "$", 0), ensure_ascii=False)
    except _Problem as problem:
        raise _refused(document, problem.args[0], problem.args[1]) from None


def scalar(value: Any) -> Any:
    """Return a scalar in the form of `facts`."""
    if isinstance(value, str):
        return value.replace("\0", NUL_STANDS_AS)
    if isinstance(value, float) and value.is_integer():
        return int(value)  # JSON's shortest form of 2.0**62 is another integer
    return value


class _Problem(Exception):
    """`(problem, hint)`."""


def _fact(value: Any, path: str, depth: int) -> Any:
    if value is None or isinstance(value, str | bool | int):
        return scalar(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _Problem(f"has {value!r} in its metadata at {path}", "Leave it out, or use None.")
        return scalar(value)
    if depth > MAX_DEPTH:
        raise _Problem(f"has metadata that nests deeper than {MAX_DEPTH}", "Flatten it.")
    if isinstance(value, list | tuple):
        items = cast("Sequence[Any]", value)
        return [_fact(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(items)]
    if not isinstance(value, dict):
        raise _Problem(
            f"has a {type(value).__name__} in its metadata at {path}",
            "Metadata is JSON: strings, numbers, booleans, None, lists and objects; write dates with `isoformat()`.",
        )
    made: dict[str, Any] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise _Problem(f"has the key {key!r} in its metadata at {path}", "Keys must be strings.")
        made[scalar(key)] = _fact(item, f"{path}.{key}", depth + 1)
    return made


def _content(document: Document) -> tuple[int, str]:
    text = document.plain_text if document.is_text else None
    if text is not None and "\0" not in text:
        return TEXT, text
    return PARTS, json.dumps([part.to_wire() for part in document.content], ensure_ascii=False)


def _utf8(document: Document, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise _refused(
            document, "holds a lone surrogate, which is not text", "Decode it with errors='replace'."
        ) from None


def _refused(document: Document, problem: str, hint: str) -> GenkitError:
    return GenkitError(
        "INVALID_ARGUMENT",
        f"The document {document.id!r} {problem}.",
        hint=hint,
        details={"argument": "documents", "id": document.id},
    )
