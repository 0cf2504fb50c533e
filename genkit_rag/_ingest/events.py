"""What an ingestion tells while it runs, and at the end."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from genkit_rag._core.errors import GenkitError

MAX_LISTED = 1_000
"""What a report lists of a kind: a folder of a million pictures must not fill the memory."""

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
    """A chunk that was not embedded, since one that is indexed says nearly the same.

    Attributes:
        source: Its source.
        chunk: Its id.
        original: The id of the chunk that is indexed.
        similarity: The share of word shingles that the two have in common.
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
    """A source and what is to be said about it."""

    source: str
    reason: str


@dataclass(slots=True)
class IngestReport:
    """What an ingestion did; with `dry_run`, what it would have done.

    The lists hold the first thousand of each kind; the counters count all.

    Attributes:
        found: Sources that were seen: the sum of added, changed, unchanged, failed and skipped ones.
        added: Sources that were new.
        changed: Sources whose chunks were replaced.
        unchanged: Sources that were not looked into.
        removed: Sources that are gone, and their chunks with them.
        failures: Sources that could not be read.
        skips: Files that nothing can load.
        failed: Those that could not be read, with the reason; what was indexed of them before stays.
        skipped: Those that nothing can load.
        notes: What was left out of sources that could be read.
        duplicates: Chunks that were held back, and what for.
        chunks_added: Chunks that were embedded.
        chunks_kept: Chunks that needed no embedding; those of unchanged sources among them.
        chunks_deleted: Chunks that are no longer in their source.
        chunks_duplicate: Chunks of the sources that were read that were held back as near duplicates.
        bytes: Size of the sources that were read.
        seconds: How long it took.
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
        """Returns the report as JSON-compatible data."""
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        """Returns the report as JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def record(self, event: Event) -> None:
        """Adds an event to the totals."""
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
    """Raised when the index itself fails (an embedder that is down, a full disk); run again to go on.

    Attributes:
        report: What was done until then; all of it is kept.
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
