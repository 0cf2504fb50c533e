"""Shows how an ingestion goes: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from genkit_rag._cli.output import LINE_SECONDS, Output, one_line
from genkit_rag.ingest import ChunksDone, Event, Finished, SourceDone, Started


class _Totals:
    """The sums of the events."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.all_files: int | None = None
        self.all_bytes: int | None = None
        self.files = 0
        self.bytes = 0
        self.chunks = 0
        self.failed = 0
        self._made = 0  # chunks that went by, of sources that ended and of the one that runs
        self._ended_chunks = 0
        self._ended_bytes = 0

    def add(self, event: Event) -> None:
        match event:
            case Started(files, size):
                self.all_files, self.all_bytes = files, size
            case SourceDone(_, "added" | "changed" | "unchanged" | "failed" as status):
                self.files += 1
                self.bytes += event.bytes
                self.failed += status == "failed"
                if status in ("added", "changed"):
                    self._ended_chunks += event.chunks
                    self._ended_bytes += event.bytes
            case ChunksDone(embedded, kept):
                self.chunks += embedded
                self._made += embedded + kept
            case _:
                pass

    def __str__(self) -> str:
        seconds = time.monotonic() - self.started
        rate = self.chunks / seconds if seconds > 0 else 0.0
        files = f"{self.files:,}" if self.all_files is None else f"{self.files:,}/{self.all_files:,}"
        failed = f", {self.failed:,} failed" if self.failed else ""
        return f"{files} files, {self.chunks:,} chunks, {rate:,.0f} chunks/s{failed}{self._left(seconds)}"

    @property
    def done_bytes(self) -> float:
        """The processed bytes, including an estimate for the running source from its chunks.

        A source reports its size when it ends, so a long one would stop the bar. Its chunks come earlier; each counts
        as many bytes as one of the ended sources, on average.
        """
        running = max(0, self._made - self._ended_chunks)
        if not running or not self._ended_chunks:
            return self.bytes
        done = self.bytes + running * self._ended_bytes / self._ended_chunks
        return max(self.bytes, min(done, 0.99 * (self.all_bytes or 0)))

    def _left(self, seconds: float) -> str:
        """Estimate the time left from the mean speed, since sources end in bursts.

        While the first source runs there is nothing to go by, so nothing is said.
        """
        done = self.done_bytes
        if not self.all_bytes or not done or done >= self.all_bytes:
            return ""
        left = timedelta(seconds=round(seconds * (self.all_bytes - done) / done))
        return f", {left} left"


class IngestLines:
    """Prints a line at the beginning and then every ten seconds."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._totals = _Totals()
        self._said = time.monotonic()

    def __call__(self, event: Event) -> None:
        """Handle an event."""
        self._totals.add(event)
        now = time.monotonic()
        if isinstance(event, Started) and event.files is not None:
            self._out.say(f"{event.files:,} files to look at")
        elif now - self._said > LINE_SECONDS and not isinstance(event, Finished):
            self._said = now
            self._out.say(str(self._totals))


class IngestBar:
    """Draws a bar over the bytes, with files, chunks, chunks a second and the time left; removed at the end."""

    def __init__(self, out: Output) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        self._totals = _Totals()
        self._bars = Progress(
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.description}", markup=False),
            TextColumn("{task.fields[source]}", markup=False),
            console=out.stderr,
            transient=True,
        )
        self._task: Any = self._bars.add_task("", total=None, source="")

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def __call__(self, event: Event) -> None:
        """Handle an event."""
        self._totals.add(event)
        if isinstance(event, Started):
            self._bars.update(self._task, total=event.bytes)
        shown: dict[str, Any] = {"source": one_line(event.source)[-40:]} if isinstance(event, SourceDone) else {}
        self._bars.update(self._task, completed=self._totals.done_bytes, description=str(self._totals), **shown)
