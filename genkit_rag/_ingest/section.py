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
"""Metadata names that have a meaning here or on the wire; a column of the same name gets an underscore behind it."""


@dataclass(slots=True)
class Section:
    """A piece of a source: a whole file, a page, a row.

    Attributes:
        text: Its text; chunk offsets count from its beginning.
        metadata: JSON-compatible facts that each of its chunks carries.
        markdown: Whether the text has the structure of Markdown.
        key: What identifies it within its source, for rows. Sections without one are told apart by their text.
        row_id: The row's own id, where it has one; it becomes part of the chunk ids.
        language: The programming language of the text, in lower case, such as "python"; empty where it is none.
        offset: Where the text begins, for a piece of a text that is too long to be one section; offsets of chunks
            count from the beginning of the whole.
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
    """What one archive, with the archives inside of it, may unfold into."""
    max_ratio: int = Field(default=200, ge=1)
    """How many times its size a compressed file may unfold into; the first 16 MiB are free."""
    max_depth: int = Field(default=4, ge=0)
    """Archives and messages within each other; 0 opens none inside of another."""
    max_tree_bytes: int = Field(default=64 * 1024**2, ge=1)
    """What is parsed at once (XML of an office file, a notebook, a message); its tree takes several times as much."""
    max_memory_bytes: int = Field(default=1024**3, ge=256 * 1024**2)
    """Memory of the process that reads a spreadsheet."""


@dataclass(frozen=True, slots=True)
class LoadContext:
    """What a loader is told, and where it reports what it left out of a file that it could read.

    Attributes:
        limits: The bounds to keep.
        note: Takes a sentence for the report, such as "page 3 is damaged".
        text_field: The field of JSON Lines rows with the text; None takes the first of `text`, `content`, `body`.
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
    """Returns the scalars of a row as metadata, with reserved names moved aside and long texts left out."""
    metadata: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, str) and len(value) > MAX_VALUE_CHARACTERS:
            continue
        if isinstance(value, str | int | float | bool) or value is None:
            metadata[f"{name}_" if name in RESERVED else name] = value
    return metadata
