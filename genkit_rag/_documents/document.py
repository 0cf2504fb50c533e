"""The document: the unit that is indexed, retrieved, reranked and passed to a model."""

from __future__ import annotations

import hashlib
import html
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import core_schema

from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._documents.part import Media, Part, join_text
from genkit_rag._documents.wire import WireModel, wire_schema

# Not pydantic: a retrieval makes k of these, and a text document costs a tenth of a model this way. On the wire it
# is Genkit's DocumentData (`_Wire`).


class Document:
    """Content (text or media parts) with metadata and an id.

    A retrieved document has `score` (higher is better), `rank` (0 is best) and `retriever` set; in the wire format they
    are in the metadata.

    Args:
        content: Text, a part, or a list of parts with text or media.
        metadata: JSON-compatible facts for filters.
        id: Your id, or None for a hash of content and metadata (indexing the same document twice changes nothing).
    """

    __slots__ = ("_content", "_id", "_text", "metadata", "rank", "retriever", "score", "scores")

    def __init__(
        self,
        content: str | Part | Sequence[Part] = "",
        metadata: Mapping[str, Any] | None = None,
        *,
        id: str | None = None,
        score: float | None = None,
    ) -> None:
        if isinstance(content, str):
            self._text: str | None = content
            self._content: list[Part] | None = None
        else:
            given: Any = content
            parts: list[Any] = list(given) if isinstance(given, list | tuple) else [given]
            if not all(isinstance(part, Part) and (part.text is not None or part.media is not None) for part in parts):
                raise invalid(
                    "content",
                    parts,
                    "must hold text and media parts only",
                    hint="Write Document(text, metadata), or pass parts with text or media.",
                )
            self._text = None
            self._content = parts
        if metadata and type(metadata) is not dict and not isinstance(metadata, Mapping):  # the ABC is slow to ask
            raise invalid("metadata", metadata, "must be an object", hint="Write {'source': 'a.md'}.")
        self.metadata: dict[str, Any] = dict(metadata) if metadata else {}
        self._id = id
        self.score = score
        self.rank: int | None = None
        self.retriever: str | None = None
        self.scores: dict[str, float] | None = None
        """Every stage's score by the stage's name, for documents that were fused or reranked."""

    @classmethod
    def from_text(cls, text: str, metadata: Mapping[str, Any] | None = None, *, id: str | None = None) -> Document:
        """Create a document with one text part."""
        return cls(text, metadata, id=id)

    @classmethod
    def from_media(
        cls,
        url: str,
        content_type: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        *,
        id: str | None = None,
    ) -> Document:
        """Create a document with one media part; `url` may be a `data:` URL."""
        return cls(Part(media=Media(url=url, content_type=content_type)), metadata, id=id)

    @classmethod
    def from_data(
        cls, data: str, data_type: str = "text", metadata: Mapping[str, Any] | None = None, *, id: str | None = None
    ) -> Document:
        """Create a text document for `data_type='text'`, otherwise a media document with that content type."""
        if data_type == "text":
            return cls.from_text(data, metadata, id=id)
        return cls.from_media(data, data_type, metadata, id=id)

    @property
    def id(self) -> str:
        """The id that was given, else `content_hash`."""
        if self._id is None:
            self._id = self.content_hash
        return self._id

    @property
    def content_hash(self) -> str:
        """A hash (blake2b, 32 hex digits) of content and metadata; the same in every process."""
        body: Any = self._text
        if body is None:
            body = [part.to_wire() for part in self.content]
            if len(body) == 1 and body[0].keys() == {"text"}:
                body = body[0]["text"]
        blob = json.dumps([body, self.metadata], sort_keys=True, ensure_ascii=False, default=str)
        return hashlib.blake2b(blob.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    @property
    def content(self) -> list[Part]:
        """The parts."""
        if self._content is None:
            self._content = [Part(text=self._text)]
            self._text = None
        return self._content

    @property
    def text(self) -> str:
        """The text parts, joined."""
        return self._text if self._text is not None else join_text(self.content)

    @property
    def plain_text(self) -> str | None:
        """The text, if the content is one text part without metadata; None otherwise."""
        if self._text is not None:
            return self._text
        parts = self.content
        return parts[0].text if len(parts) == 1 and parts[0].metadata is None else None

    @property
    def media(self) -> list[Media]:
        """The media parts."""
        return [] if self._text is not None else [part.media for part in self.content if part.media is not None]

    @property
    def data(self) -> str:
        """The text, else the first medium's URL, else an empty string."""
        return self.text or next((medium.url for medium in self.media), "")

    @property
    def data_type(self) -> str | None:
        """`text`, else the first medium's content type."""
        if self.text:
            return "text"
        return next((medium.content_type for medium in self.media), None)

    @property
    def is_text(self) -> bool:
        """True when there is nothing but text."""
        return self._text is not None or all(part.text is not None for part in self.content)

    def copy(self, **changes: Any) -> Document:
        """Copy the document (own metadata dict, shared parts) with changed attributes."""
        twin = Document.__new__(Document)
        for slot in Document.__slots__:
            setattr(twin, slot, getattr(self, slot))
        twin.metadata = dict(self.metadata)
        twin.scores = dict(self.scores) if self.scores else None
        for name, value in changes.items():
            setattr(twin, f"_{name}" if name == "id" else name, value)
        return twin

    def to_wire(self) -> dict[str, Any]:
        """Convert to Genkit's DocumentData: `{content, metadata}`, with id, score and rank in the metadata."""
        metadata = dict(self.metadata)
        extra = {
            "id": self._id,
            "score": self.score,
            "rank": self.rank,
            "retriever": self.retriever,
            "scores": self.scores,
        }
        metadata |= {name: value for name, value in extra.items() if value is not None}
        wire: dict[str, Any] = {"content": [part.to_wire() for part in self.content]}
        return {**wire, "metadata": metadata} if metadata else wire

    @classmethod
    def from_wire(cls, raw: Any) -> Document:
        """Create a document from DocumentData; a string becomes a text document."""
        if isinstance(raw, Document):
            return raw
        if isinstance(raw, str):
            return cls(raw)
        wire = _Wire.model_validate(raw)
        metadata = dict(wire.metadata or {})
        made = cls(wire.content, metadata)
        if isinstance(metadata.get("id"), str):
            made._id = made.metadata.pop("id")
        score = metadata.get("score")
        if isinstance(score, float) or (type(score) is int and abs(score) < 2**1023):  # a flag is no score
            made.score = float(made.metadata.pop("score"))
        if type(metadata.get("rank")) is int:
            made.rank = made.metadata.pop("rank")
        if isinstance(metadata.get("retriever"), str):
            made.retriever = made.metadata.pop("retriever")
        if isinstance(metadata.get("scores"), dict):
            made.scores = made.metadata.pop("scores")
        return made

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Document) and self.id == other.id and self.to_wire() == other.to_wire()

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        text = _shortened(self.data, 60)
        score = "" if self.score is None else f", score={self.score:.4f}"
        return f"Document({text!r}, id={self.id!r}{score}, metadata={_shortened(repr(self.metadata), 200)})"

    def _repr_html_(self) -> str:
        return documents_html([self])

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return wire_schema(_Wire, cls._validate, cls.to_wire, handler)

    @classmethod
    def _validate(cls, raw: Any) -> Document:
        try:
            return cls.from_wire(raw)
        except GenkitError as error:
            raise ValueError(error.message) from error


def documents_html(documents: Sequence[Document]) -> str:
    """Render an HTML table for notebooks: score, id, text and metadata of each document, shortened."""
    head = "".join(f'<th scope="col">{name}</th>' for name in ("score", "id", "text", "metadata"))
    lines: list[str] = []
    for document in documents:
        score = "" if document.score is None else f"{document.score:.4f}"
        values = (score, document.id, _shortened(document.data, 500), _shortened(str(document.metadata), 500))
        lines.append(f"<tr>{''.join(f'<td>{html.escape(str(value))}</td>' for value in values)}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _shortened(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."


class _Wire(WireModel):
    """DocumentData."""

    content: list[Part]
    metadata: dict[str, Any] | None = None


def to_document(value: str | Document | Part | Sequence[Part], argument: str = "document") -> Document:
    """Convert a text, part or document to a document; INVALID_ARGUMENT for anything else."""
    if isinstance(value, Document):
        return value
    given: Any = value
    parts: Any = given if isinstance(given, list | tuple) else [given]
    if not isinstance(given, str) and not all(isinstance(part, Part) for part in parts):
        hint = "Write Document(text, metadata)." if argument == "document" else "Pass what is looked for as text."
        raise invalid(argument, given, "has a wrong type: it must be text, a Document or parts", hint=hint)
    return Document(value)


def to_documents(
    values: Iterable[str | Document | Part | Sequence[Part]], argument: str = "documents"
) -> list[Document]:
    """Convert a list of texts, parts or documents to documents; INVALID_ARGUMENT for a single one."""
    given: Any = values
    if isinstance(given, str | Document | Part | Mapping) or not isinstance(given, Iterable):
        raise invalid(argument, given, "must be a list", hint="Put the one document into a list: [document].")
    return [to_document(value) for value in values]
