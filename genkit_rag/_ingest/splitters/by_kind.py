"""One splitter for each kind of text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from genkit_rag._documents.document import Document
from genkit_rag._ingest.splitters.chunk import Chunk, Count, TextSplitter, with_count
from genkit_rag._ingest.splitters.chunking import split_document
from genkit_rag._ingest.splitters.text import Splitter


@dataclass(frozen=True, slots=True)
class Splitters:
    """Chooses the splitter by the kind of text.

    Args:
        default: For everything else.
        markdown: For Markdown, and HTML, which is loaded as Markdown; None for the default.
        code: For programs; None for the default.
    """

    default: TextSplitter = field(default_factory=Splitter)
    markdown: TextSplitter | None = None
    code: TextSplitter | None = None

    def chunks(self, text: str, *, markdown: bool = False, language: str = "") -> Iterator[Chunk]:
        """Yield the chunks of the splitter for that kind of text."""
        chosen = self.code if language else self.markdown if markdown else None
        return (chosen or self.default).chunks(text, markdown=markdown, language=language)

    def split(self, document: Document) -> Iterator[Document]:
        """Yield the chunks of a text document, by its `content_type`; see `Splitter.split`."""
        return split_document(document, self)

    def with_count(self, count: Count | None) -> Splitters:
        """Return a copy whose splitters use `count`, unless they have their own unit."""
        return replace(
            self,
            default=with_count(self.default, count),
            markdown=self.markdown and with_count(self.markdown, count),
            code=self.code and with_count(self.code, count),
        )

    @property
    def settings(self) -> str:
        """What distinguishes this splitter's chunks from another's."""
        kinds = (("default", self.default), ("markdown", self.markdown), ("code", self.code))
        return "; ".join(f"{kind}: {splitter.settings}" for kind, splitter in kinds if splitter is not None)
