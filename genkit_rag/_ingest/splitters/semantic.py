"""Chunks that end where the subject changes."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._documents.document import Document
from genkit_rag._ingest.splitters.chunk import Chunk, Count, check_size, function_name
from genkit_rag._ingest.splitters.chunking import split_document
from genkit_rag._ingest.splitters.packing import Packing, Unit, estimated, markdown_units, pack
from genkit_rag._ingest.splitters.sentence_boundaries import sentence_spans
from genkit_rag._ingest.waiting import wait_for
from genkit_rag._rag.embedding import Embedding

if TYPE_CHECKING:
    import numpy as np

Embed = Callable[[list[str]], Any]
"""Gives one vector for each text, as rows of numbers; a function or a coroutine function."""

_BLOCK = 1_000
"""Sentences that are looked at together: the percentile is theirs, and memory does not grow with the text."""
_CACHED = 4 * _BLOCK


@dataclass(frozen=True, slots=True)
class SemanticSplitter:
    """Splits between sentences where the topic changes, as measured by embeddings, within a maximum size.

    At each end of a sentence, the sentences before and after it are compared by the cosine of their embeddings:
    TextTiling (Hearst, 1997) with embeddings. A chunk ends where the distance exceeds a percentile of all distances, as
    in Greg Kamradt's "semantic chunking" (2023). The result is deterministic for a text and an embedder. About one text
    per sentence is embedded in addition to the chunks, so it costs several times as much as `Splitter`.

    Args:
        embed: Returns one vector for each of a list of texts: a function or a coroutine function, such as
            `lambda texts: ai.embed_many("minilm/all-minilm-l6-v2", texts)`.
        percentile: The percentile of the distances between neighbours; higher values give fewer chunks.
        window: The number of compared sentences on each side of a boundary.
        size: The maximum size of a chunk.
        count: The unit of `size`. None estimates tokens; `len` counts characters.
        batch_size: Texts in one call of `embed`.
        embedder: A name for the embedder: text is split again when it changes.
    """

    embed: Embed
    percentile: float = 90.0
    window: int = 2
    size: int = 240
    count: Count | None = None
    batch_size: int = 64
    embedder: str = ""
    _known: OrderedDict[bytes, np.ndarray] = field(
        default_factory=OrderedDict["bytes", "np.ndarray"], init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        check_size(self.size)
        if not callable(self.embed):
            raise invalid(
                "embed",
                self.embed,
                "must be a function over a list of texts",
                hint='For example `lambda texts: ai.embed_many("fake/words", texts)`.',
            )
        if not 0 < self.percentile < 100:  # false for NaN as well
            raise invalid("percentile", self.percentile, "must lie between 0 and 100")
        for name, least in (("window", 1), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise invalid(name, getattr(self, name), f"must be at least {least}")

    def chunks(self, text: str, *, markdown: bool = False, language: str = "") -> Iterator[Chunk]:
        """Yield the chunks in order. With an asynchronous `embed` it must not run on the event loop's thread."""
        packing = Packing(self.size, estimated(self.count))
        if not markdown:
            return pack(text, self._parted(text, _sentences(text)), packing, lambda _: ())
        structure, units = markdown_units(text)
        parted = self._parted(text, units)
        return pack(text, parted, packing, lambda held: structure.path_of(text, held[0].start, held[-1].end))

    def split(self, document: Document) -> Iterator[Document]:
        """Yield the chunks of a text document; see `Splitter.split`."""
        return split_document(document, self)

    def with_count(self, count: Count | None) -> SemanticSplitter:
        """Return a copy that uses `count`, or `self` if a unit is already set."""
        return self if self.count is not None else replace(self, count=count)

    @property
    def settings(self) -> str:
        """What distinguishes this splitter's chunks from another's."""
        embedder = self.embedder or function_name(self.embed)
        return (
            f"semantic 1: percentile={self.percentile:g} window={self.window} size={self.size} "
            f"count={function_name(self.count)} embedder={embedder}"
        )

    def _parted(self, text: str, units: Iterable[Unit]) -> Iterator[Unit]:
        """Yield the units, marking those that begin another topic."""
        import numpy as np

        remaining = iter(units)
        while block := list(islice(remaining, _BLOCK)):
            if len(block) < 3:
                yield from block
                continue
            before = [_joined(text, block[max(at - self.window, 0) : at]) for at in range(1, len(block))]
            behind = [_joined(text, block[at : at + self.window]) for at in range(1, len(block))]
            vectors = self._vectors([*before, *behind])
            distances = 1.0 - np.einsum("ij,ij->i", vectors[: len(before)], vectors[len(before) :])
            threshold = np.percentile(distances, self.percentile)
            yield block[0]
            for unit, distance in zip(block[1:], distances, strict=True):
                yield unit._replace(apart=unit.apart or bool(distance > threshold))

    def _vectors(self, texts: Sequence[str]) -> np.ndarray:
        """Return unit vectors, reusing recent embeddings."""
        import numpy as np

        keys = [hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest() for text in texts]
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._known}
        wanted = iter(missing.items())
        while batch := list(islice(wanted, self.batch_size)):
            given: Any = wait_for(self.embed([text for _, text in batch]))
            rows = np.asarray([_vector(row) for row in given], dtype=np.float64)
            if rows.ndim != 2 or len(rows) != len(batch) or not np.isfinite(rows).all():
                raise GenkitError(
                    "INTERNAL",
                    f"`embed` gave an array of {rows.shape} for {len(batch)} texts.",
                    hint="It must return one vector of finite numbers for each text.",
                )
            norms = np.linalg.norm(rows, axis=1, keepdims=True)
            for (key, _), row in zip(batch, rows / np.where(norms > 0, norms, 1), strict=True):
                self._known[key] = row
        vectors = np.stack([self._known[key] for key in keys])
        while len(self._known) > _CACHED:
            self._known.popitem(last=False)
        return vectors


def _vector(row: Any) -> Any:
    """Return a vector, or the first embedding of a document in the form of `ai.embed_many`."""
    return row[0].embedding if isinstance(row, list) and row and isinstance(row[0], Embedding) else row


def _joined(text: str, units: Sequence[Unit]) -> str:
    return text[units[0].start : units[-1].end]


def _sentences(text: str) -> Iterator[Unit]:
    return (Unit(start, end) for start, end in sentence_spans(text))
