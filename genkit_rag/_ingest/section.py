"""What loaders give: pieces of a source, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from genkit_rag._documents.wire import WireModel

RESERVED = frozenset(
    (
        "id",
        "score",
        "rank",
        "retriever",
        "scores",
        "source",
        "page",
        "start",
        "end",
        "chunk",
        "heading_path",
        "prefix",
        "title",
    )
)
"""Reserved metadata names; a column with such a name gets a trailing underscore."""


@dataclass(slots=True)
class Section:
    """A piece of a source: a whole file, a page, a row.

    Attributes:
        text: The text; chunk offsets count from its beginning.
        metadata: JSON-compatible facts for each of its chunks.
        markdown: Whether the text is Markdown.
        key: Its identity within its source, for rows. Sections without one are identified by their text.
        row_id: The row's own id, if it has one; it becomes part of the chunk ids.
        language: The programming language of the text, in lower case, such as "python"; empty for other text.
        offset: The offset of a piece of a long text; chunk offsets count from the beginning of the whole text.
    """

    text: str
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    markdown: bool = False
    key: str = ""
    row_id: str | None = None
    language: str = ""
    offset: int = 0


class LoadLimits(WireModel):
    """Bounds against files that would exhaust the machine; a file beyond one is reported and left out."""

    max_file_bytes: int = Field(default=512 * 1024 * 1024, ge=1)
    max_pages: int = Field(default=20_000, ge=1)
    max_text_characters: int = Field(default=512 * 1024 * 1024, ge=1)
    """Text that one PDF may unfold into."""
    max_row_characters: int = Field(default=16 * 1024 * 1024, ge=1)
    """A line of JSON Lines, a field of CSV."""
    max_json_depth: int = Field(default=64, ge=1)
    max_entries: int = Field(default=20_000, ge=1)
    """Members of an archive, with those of the archives inside of it; parts of an office file; attachments."""
    max_unpacked_bytes: int = Field(default=2 * 1024**3, ge=1)
    """The maximum unpacked size of an archive with its nested archives."""
    max_ratio: int = Field(default=200, ge=1)
    """How many times its size a compressed file may unfold into; the first 16 MiB are free."""
    max_depth: int = Field(default=4, ge=0)
    """Archives and messages within each other; 0 opens none inside of another."""
    max_tree_bytes: int = Field(default=64 * 1024**2, ge=1)
    """The maximum size of XML, a notebook or a message parsed at once; its tree is several times larger."""
    max_memory_bytes: int = Field(default=1024**3, ge=256 * 1024**2)
    """Memory of the process that reads a spreadsheet."""


@dataclass(frozen=True, slots=True)
class LoadContext:
    """The limits of a loader, and the target of its notes about left-out content.

    Attributes:
        limits: The limits to keep.
        note: Takes a sentence for the report, such as "page 3 is damaged".
        text_field: The field of JSON Lines rows with the text; None for the first of `text`, `content`, `body`.
    """

    limits: LoadLimits = field(default_factory=LoadLimits)
    note: Callable[[str], None] = lambda _: None
    text_field: str | None = None


Loader = Callable[[Path, LoadContext], Iterator[Section]]
"""Yields the sections of a file; raises anything for a file that it cannot read."""


class UnreadableFile(ValueError):
    """A file that a loader gives up on; the text says why and what helps."""


MAX_VALUE_CHARACTERS = 4096
"""Every chunk of a row carries its metadata: without a bound a row with a long text would grow quadratically."""


def row_metadata(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scalars of a row as metadata, with reserved names changed and long texts left out."""
    metadata: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, str) and len(value) > MAX_VALUE_CHARACTERS:
            continue
        if isinstance(value, str | int | float | bool) or value is None:
            metadata[f"{name}_" if name in RESERVED else name] = value
    return metadata
