"""Documents to rows and back: checked on the way in, checksummed on both."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, cast

from pydantic_core import PydanticSerializationError, from_json, to_json

from genkit_rag.plugin_api import Document, GenkitError, Part

TEXT, PARTS = 0, 1
"""What `content` holds: the text itself, or the parts as JSON."""

MAX_DEPTH = 64
"""How deep metadata may nest."""

SMALL = 2**53

Row: TypeAlias = tuple[int, str, str, int, str, str, int]
"""`(seq, namespace, id, kind, content, metadata, crc)`: a row of the table `doc`."""


class Payload(NamedTuple):
    """A row as it is kept in memory. `metadata` is parsed once when it is flat, else at every use."""

    id: str
    kind: int
    content: str
    metadata: dict[str, Any] | str

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return 400 + len(self.content) + (len(self.metadata) if isinstance(self.metadata, str) else 100)

    def document(self, score: float | None = None) -> Document:
        """Returns a document that shares nothing that can be changed."""
        metadata = self.metadata
        if isinstance(metadata, str):
            metadata = cast("dict[str, Any]", from_json(metadata))
        content: str | list[Part] = self.content
        if self.kind == PARTS:
            content = [Part.model_validate(part) for part in from_json(self.content)]
        return Document(content, metadata, id=self.id, score=score)


def encode(documents: Sequence[Document], first_seq: int, namespace: str) -> tuple[list[Row], int]:
    """Returns the rows of documents and the sum of their key checksums.

    Raises INVALID_ARGUMENT, naming the document and the path, for what could not be given back as it came.
    """
    rows: list[Row] = []
    digest = 0
    for seq, document in enumerate(documents, first_seq):
        name = document.id
        try:
            kind, content = _content(document)
            check_metadata(document.metadata)
            metadata = to_json(document.metadata).decode()
            key = key_crc(seq, namespace, name)
            crc = zlib.crc32(f"\0{kind}\0{content}\0{metadata}".encode(), key)
        except (UnicodeEncodeError, PydanticSerializationError) as error:
            raise _refused(
                name, "holds a lone surrogate, which is not text", "Decode it with errors='replace'."
            ) from error
        except _Problem as problem:
            raise _refused(name, problem.args[0], problem.args[1]) from None
        rows.append((seq, namespace, name, kind, content, metadata, crc))
        digest += key
    return rows, digest


def decode(row: Row) -> Payload:
    """Returns the payload of a row; raises DATA_LOSS when its checksum does not hold."""
    check_row(row)
    _, _, name, kind, content, metadata, _ = row
    parsed = cast("dict[str, Any]", from_json(metadata))
    flat = not any(isinstance(value, dict | list) for value in parsed.values())
    return Payload(name, kind, content, parsed if flat else metadata)


def check_row(row: Row) -> None:
    """Raises DATA_LOSS when the row's checksum does not hold."""
    seq, namespace, name, kind, content, metadata, crc = row
    try:
        blob = f"\0{kind}\0{content}\0{metadata}".encode()
        found = zlib.crc32(blob, key_crc(seq, namespace, name))
    except (UnicodeEncodeError, TypeError):
        found = -1
    if found != crc:
        raise damaged(f"the row {seq} (document {name!r}) does not match its checksum")


def key_crc(seq: int, namespace: str, name: str) -> int:
    """Returns the checksum of what identifies a row; the sum of all of them stands in the table `meta`."""
    return zlib.crc32(f"{seq}\0{namespace}\0{name}".encode())


def vector_crc(seq: int, data: bytes | memoryview) -> int:
    """Returns the checksum of a vector in its row."""
    return zlib.crc32(data, seq & 0xFFFFFFFF)


def check_vector(seq: int, data: object, crc: object) -> None:
    """Raises DATA_LOSS when the vector's checksum does not hold."""
    if not isinstance(data, bytes) or vector_crc(seq, data) != crc:
        raise damaged(f"the vector {seq} does not match its checksum")


def metadata_of(row: Row) -> dict[str, Any]:
    """Returns the metadata of a row, checked."""
    check_row(row)
    return cast("dict[str, Any]", from_json(row[5]))


def text_of(row: Row) -> str:
    """Returns the text of a row, checked: what a search by words sees."""
    check_row(row)
    if row[3] == TEXT:
        return row[4]
    return "".join(part.get("text") or "" for part in from_json(row[4]))


def check_names(argument: str, names: Iterable[str]) -> None:
    """Raises INVALID_ARGUMENT for an id or namespace that is not text that every file system tool can hold."""
    for name in names:
        problem = None
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
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


def check_batch(documents: Sequence[Document]) -> list[str]:
    """Returns the ids of a batch; raises INVALID_ARGUMENT for ids that are empty, no text or there twice."""
    ids = [document.id for document in documents]
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
    return ids


def damaged(what: str) -> GenkitError:
    """Returns the DATA_LOSS error for damaged data."""
    return GenkitError(
        "DATA_LOSS",
        f"The store is damaged: {what}.",
        hint="Restore it from a backup, or index the documents again into a new store. "
        "`await store.verify()` lists what is damaged.",
    )


class _Problem(Exception):
    """`(problem, hint)`."""


def _content(document: Document) -> tuple[int, str]:
    if document.is_text:
        text = document.plain_text
        if text is not None:
            return TEXT, text
    return PARTS, to_json([part.to_wire() for part in document.content]).decode()


def check_metadata(metadata: Mapping[str, Any]) -> None:
    """Raises `_Problem` for metadata that JSON could not give back as it is."""
    for key, value in metadata.items():
        kind = type(value)
        if type(key) is str and (
            kind is str or kind is bool or value is None or (kind is int and -SMALL < value < SMALL)
        ):
            continue
        _check(metadata, "$", 0)
        return


def _check(value: Any, path: str, depth: int) -> None:
    if isinstance(value, bool | str | None):
        return
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise _Problem(f"has an integer beyond 63 bits in its metadata at {path}", "Store it as a string.")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise _Problem(f"has {value!r} in its metadata at {path}", "Leave it out, or use None.")
    elif depth > MAX_DEPTH:
        raise _Problem(f"has metadata that nests deeper than {MAX_DEPTH}", "Flatten it.")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(cast("list[Any]", value)):
            _check(item, f"{path}[{index}]", depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            if type(key) is not str:
                raise _Problem(f"has the key {key!r} in its metadata at {path}", "Keys must be strings.")
            _check(item, f"{path}.{key}", depth + 1)
    else:
        raise _Problem(
            f"has a {type(value).__name__} in its metadata at {path}",
            "Metadata is JSON: strings, numbers, booleans, None, lists and objects; write dates with `isoformat()`.",
        )


def _refused(name: str, problem: str, hint: str) -> GenkitError:
    return GenkitError(
        "INVALID_ARGUMENT",
        f"The document {name!r} {problem}.",
        hint=hint,
        details={"argument": "documents", "id": name},
    )
