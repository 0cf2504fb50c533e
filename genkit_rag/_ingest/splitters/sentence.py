"""Chunks of whole sentences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from genkit_rag._core.errors import invalid
from genkit_rag._documents.document import Document
from genkit_rag._ingest.splitters.chunk import Chunk, Count, check_size, function_name
from genkit_rag._ingest.splitters.chunking import split_document
from genkit_rag._ingest.splitters.packing import Packing, Unit, estimated, markdown_units, pack
from genkit_rag._ingest.splitters.sentence_boundaries import sentence_spans


@dataclass(frozen=True, slots=True)
class SentenceSplitter:
    """Packs whole sentences into chunks; with `sentences=1` each is a chunk, for retrieval by sentence windows.

    In Markdown a heading begins a chunk, and code fences and tables stay whole when they fit. A sentence that is
    longer than a chunk is cut at its words.

    Args:
        sentences: The most sentences in a chunk; None for as many as fit.
        overlap: Sentences at the end of a chunk that the next one repeats; fewer where they would leave no room.
        size: The most that a chunk may count.
        count: The unit of `size`. None estimates tokens; `len` counts characters.
    """

    sentences: int | None = None
    overlap: int = 0
    size: int = 240
    count: Count | None = None

    def __post_init__(self) -> None:
        check_size(self.size)
        if self.sentences is not None and self.sentences < 1:
            raise invalid("sentences", self.sentences, "must be at least 1", hint="Use None for as many as fit.")
        if self.overlap < 0:
            raise invalid("overlap", self.overlap, "must not be negative", hint="Use 0 for no overlap.")
        if self.sentences is not None and self.overlap >= self.sentences:
            raise invalid(
                "overlap",
                self.overlap,
                f"must be smaller than `sentences` ({self.sentences})",
                hint="It counts sentences, not tokens.",
            )

    def chunks(self, text: str, *, markdown: bool = False, language: str = "") -> Iterator[Chunk]:
        """Yield the chunks in order; `language` is ignored."""
        packing = Packing(self.size, estimated(self.count), self.sentences, self.overlap)
        if not markdown:
            units = (Unit(start, end) for start, end in sentence_spans(text))
            return pack(text, units, packing, lambda _: ())
        structure, found = markdown_units(text)
        return pack(text, found, packing, lambda held: structure.path_of(text, held[0].start, held[-1].end))

    def split(self, document: Document) -> Iterator[Document]:
        """Yield the chunks of a text document; see `Splitter.split`."""
        return split_document(document, self)

    def with_count(self, count: Count | None) -> SentenceSplitter:
        """Return a copy that uses `count`, or `self` if a unit is already set."""
        return self if self.count is not None else replace(self, count=count)

    @property
    def settings(self) -> str:
        """What distinguishes this splitter's chunks from another's."""
        return (
            f"sentences 1: sentences={self.sentences} overlap={self.overlap} size={self.size} "
            f"count={function_name(self.count)}"
        )
