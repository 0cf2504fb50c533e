"""The events of an ingestion, and its report."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from genkit_rag._core.errors import GenkitError

MAX_LISTED = 1_000
"""The maximum length of each list in a report, to bound memory."""

SourceStatus = Literal["added", "changed", "unchanged", "removed", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Started:
    """The totals, before anything is read; None where the sources are a stream of documents."""

    files: int | None
    bytes: int | None


@dataclass(frozen=True, slots=True)
class SourceDone:
    """A source is dealt with. `reason` says why it failed or was skipped."""

    source: str
    status: SourceStatus
    chunks: int = 0
    bytes: int = 0
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A chunk that was not embedded, since it is a near-duplicate of an indexed one.

    Attributes:
        source: The source of the chunk.
        chunk: The id of the chunk.
        original: The id of the indexed chunk.
        similarity: The Jaccard similarity of their word shingles.
    """

    source: str
    chunk: str
    original: str
    similarity: float


@dataclass(frozen=True, slots=True)
class ChunksDone:
    """A batch is durable: so many chunks were embedded, so many were there already, so many went."""

    embedded: int = 0
    kept: int = 0
    deleted: int = 0
    duplicates: tuple[Duplicate, ...] = ()


@dataclass(frozen=True, slots=True)
class Note:
    """Something about a source that was read: pages left out, an encoding guessed."""

    source: str
    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The end."""

    report: IngestReport


Event = Started | SourceDone | ChunksDone | Note | Finished
Progress = Callable[[Event], None]
"""Called on the event loop's thread; it should return at once."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A source, with a problem or a note."""

    source: str
    reason: str


@dataclass(slots=True)
class IngestReport:
    """The result of an ingestion; with `dry_run`, the expected result.

    Each list has at most a thousand entries; the counters are complete.

    Attributes:
        found: All sources: added, changed, unchanged, failed and skipped.
        added: New sources.
        changed: Sources whose chunks were replaced.
        unchanged: Sources that were not read again.
        removed: Deleted sources, whose chunks were deleted.
        failures: The number of sources that could not be read.
        skips: The number of files without a loader.
        failed: Sources that could not be read, with the reason; their indexed chunks are kept.
        skipped: Files without a loader.
        notes: Content that was left out of sources that were read.
        duplicates: Near-duplicate chunks that were held back.
        chunks_added: Embedded chunks.
        chunks_kept: Chunks without a new embedding, including those of unchanged sources.
        chunks_deleted: Chunks that their source no longer contains.
        chunks_duplicate: Chunks of the read sources that were held back as near-duplicates.
        bytes: The size of the read sources.
        seconds: The duration.
        dry_run: Whether nothing was changed.
    """

    found: int = 0
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    failures: int = 0
    skips: int = 0
    failed: list[Problem] = field(default_factory=list[Problem])
    skipped: list[Problem] = field(default_factory=list[Problem])
    notes: list[Problem] = field(default_factory=list[Problem])
    duplicates: list[Duplicate] = field(default_factory=list[Duplicate])
    chunks_added: int = 0
    chunks_kept: int = 0
    chunks_deleted: int = 0
    chunks_duplicate: int = 0
    bytes: int = 0
    seconds: float = 0.0
    dry_run: bool = False

    @property
    def ok(self) -> bool:
        """Whether no source failed."""
        return not self.failures

    def to_dict(self) -> dict[str, Any]:
        """Convert the report to JSON-compatible data."""
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        """Serialise the report as JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def record(self, event: Event) -> None:
        """Add an event to the totals."""
        match event:
            case SourceDone():
                self._record_source(event)
            case ChunksDone(embedded, kept, deleted, duplicates):
                self.chunks_added += embedded
                self.chunks_kept += kept
                self.chunks_deleted += deleted
                self.chunks_duplicate += len(duplicates)
                self.duplicates += duplicates[: MAX_LISTED - len(self.duplicates)]
            case Note(source, text):
                if len(self.notes) < MAX_LISTED:
                    self.notes.append(Problem(source, text))
            case _:
                pass

    def _record_source(self, event: SourceDone) -> None:
        self.found += event.status != "removed"
        if event.status in ("failed", "skipped"):
            listed = self.failed if event.status == "failed" else self.skipped
            if len(listed) < MAX_LISTED:
                listed.append(Problem(event.source, event.reason or ""))
            self.failures += event.status == "failed"
            self.skips += event.status == "skipped"
            return
        setattr(self, event.status, getattr(self, event.status) + 1)
        if event.status in ("added", "changed"):
            self.bytes += event.bytes
        elif event.status == "unchanged":
            self.chunks_kept += event.chunks


class IngestStopped(GenkitError):
    """Raised if the index itself fails (an unavailable embedder, a full disk); run again to continue.

    Attributes:
        report: The report up to that point; the completed work is kept.
    """

    def __init__(self, cause: Exception, report: IngestReport) -> None:
        known = cause if isinstance(cause, GenkitError) else None
        done = report.added + report.changed
        hint = "What was done is kept: run it again to go on."
        super().__init__(
            known.status if known else "INTERNAL",
            f"The ingestion stopped after {done} sources: {known.message if known else cause!r}",
            hint=f"{known.hint} {hint}" if known and known.hint else hint,
            details=dict(known.details) if known else None,
            cause=cause,
            retry_after=known.retry_after if known else None,
        )
        self.report = report
