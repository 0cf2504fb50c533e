"""The trace store: spans in, merged by id; lists, full-text search and whole traces out; bounded in every direction.

A span's row is `trace's row << 20 | number in the trace`: the spans of a trace are neighbours, and a hit in the
full-text index names its trace without a look-up. All methods block; call them with `run_in_thread`.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._server.telemetry import derive
from genkit_rag._server.telemetry.database import open_database
from genkit_rag._server.telemetry.query import LABELS, TraceQuery, compile_query, token_of
from genkit_rag._server.telemetry.quota import cut_span
from genkit_rag._server.telemetry.wire import IGNORE, SpanData

MAX_SPANS = 1 << 20
_TRIM_STEP = 50
"""Traces removed at once: a save never waits long for the retention."""

_SHORT_BYTES = 512
"""The maximum size of the attributes of a span that ends in a full trace."""

_QUERY_SECONDS = 5.0


@dataclass(frozen=True)
class StoreLimits:
    """How much is kept; the oldest traces go first.

    Attributes:
        max_age_days: Traces that began longer ago are removed.
        max_traces: Number of traces.
        max_bytes: Size of the database in use.
        spans_per_trace: Further spans of a trace are dropped and counted in its `dropped`.
        trace_bytes: As JSON; further spans are dropped and counted likewise.
        attribute_bytes: Longer attributes are cut, and their span is marked `truncated`.
    """

    max_age_days: float = 30
    max_traces: int = 100_000
    max_bytes: int = 2 * 1024**3
    spans_per_trace: int = 10_000
    trace_bytes: int = 64 * 1024**2
    attribute_bytes: int = 256 * 1024

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise invalid(name, value, "must be a positive number")
        if self.spans_per_trace > MAX_SPANS:
            raise invalid("spans_per_trace", self.spans_per_trace, f"must be at most {MAX_SPANS}")


@dataclass(frozen=True)
class TraceSummary:
    """A trace as a row of a list; times in milliseconds, `latency` None while the root runs."""

    trace_id: str
    name: str
    kind: str
    status: str
    start: float
    end: float
    latency: float | None
    spans: int
    errors: int
    input_tokens: int
    output_tokens: int
    dropped: int

    def to_wire(self) -> dict[str, Any]:
        """Convert the summary to JSON-compatible data with camelCase names; None fields are left out."""
        names = {"trace_id": "traceId", "input_tokens": "inputTokens", "output_tokens": "outputTokens"}
        return {names.get(name, name): value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Page:
    """One page of a list; `next` is None on the last one."""

    traces: list[TraceSummary]
    next: str | None


class TraceStore:
    """Traces in one SQLite file, which is private to its owner; several threads may use one store."""

    def __init__(self, path: str | Path, limits: StoreLimits | None = None) -> None:
        self.path = Path(path)
        self.limits = limits or StoreLimits()
        self._writer = open_database(self.path)
        self._reader = open_database(self.path)
        self._write_lock, self._read_lock = threading.Lock(), threading.Lock()
        self._count: int = self._writer.execute("SELECT count(*) FROM traces").fetchone()[0]

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        with self._write_lock, self._read_lock:
            self._reader.close()
            self._writer.close()

    # -- writing

    def save(self, spans: Iterable[SpanData]) -> tuple[list[SpanData], list[TraceSummary]]:
        """Save spans durably; return those that changed something and the new summaries of their traces.

        The spans may be of several traces, may come in any order and twice. Of two with the same ids the ended one
        stays, of two ended ones the later one.
        """
        by_trace: dict[str, list[SpanData]] = {}
        ignored: set[str] = set()
        for span in spans:
            by_trace.setdefault(span.trace_id, []).append(span)
            if span.attributes.get(IGNORE):
                ignored.add(span.trace_id)
        changed: list[SpanData] = []
        with self._write_lock, self._transaction():
            touched = {name: self._merge(name, many, changed) for name, many in by_trace.items() if name not in ignored}
            for row in touched.values():
                self._summarise(row)
            self._trim(max(_TRIM_STEP, 2 * len(touched)))  # faster than traces come in
            new = {span.trace_id for span in changed}
            found = (self._read_row(row) for name, row in touched.items() if name in new)
            summaries = [_summary(row) for row in found if row is not None]
        return changed, summaries

    def delete(self, trace_id: str) -> bool:
        """Delete the trace; return whether it existed."""
        with self._write_lock, self._transaction():
            row = self._row_of(self._writer, trace_id)
            if row is not None:
                self._remove(row)
            return row is not None

    def _merge(self, trace_id: str, spans: list[SpanData], changed: list[SpanData]) -> int:
        row = self._row_of(self._writer, trace_id)
        if row is None:
            values = (trace_id, 0, "", "", "running", spans[0].start_time, 0, 0, 0, 0, 0, 0, 0, "{}")
            row = self._writer.execute(
                "INSERT INTO traces (trace_id, root, name, kind, status, start, end, spans, errors, input_tokens,"
                " output_tokens, size, dropped, labels) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                values,
            ).lastrowid
            assert row is not None
            self._count += 1
        first = row << 20
        known = self._known(first, spans)
        number, size = self._writer.execute(
            "SELECT coalesce(max(id) + 1, ?), coalesce(sum(size), 0) FROM spans WHERE id BETWEEN ? AND ?",
            (first, first, first + MAX_SPANS - 1),
        ).fetchone()
        dropped = 0
        for span in spans:
            wire, data = cut_span(span, self.limits.attribute_bytes)
            old = known.get(span.span_id)
            if old is None:
                if number - first >= self.limits.spans_per_trace or size + len(data) > self.limits.trace_bytes:
                    dropped += 1
                    continue
                known[span.span_id] = (number, span.end_time)
                self._write(number, wire, data, fresh=True)
                number, size = number + 1, size + len(data)
            elif self._replaces(wire, data, *old):
                if size + len(data) > self.limits.trace_bytes:  # it must end all the same
                    wire, data = cut_span(span, _SHORT_BYTES)
                known[span.span_id] = (old[0], span.end_time)
                self._write(old[0], wire, data, fresh=False)
            else:
                continue
            changed.append(wire)
        if dropped:
            self._writer.execute("UPDATE traces SET dropped = dropped + ? WHERE id = ?", (dropped, row))
        return row

    def _known(self, first: int, spans: list[SpanData]) -> dict[str, tuple[int, float]]:
        """Return row and end of the spans that are stored already."""
        rows = self._writer.execute(
            "SELECT span_id, id, end FROM spans WHERE id BETWEEN ? AND ?"
            " AND span_id IN (SELECT value FROM json_each(?))",
            (first, first + MAX_SPANS - 1, json.dumps([span.span_id for span in spans])),
        )
        return {name: (row, end) for name, row, end in rows}

    def _replaces(self, span: SpanData, data: str, row: int, end: float) -> bool:
        """Return whether a span replaces the stored one, independent of the order of arrival."""
        if span.end_time != end:
            return span.end_time > end
        stored: str = self._writer.execute("SELECT data FROM payloads WHERE id = ?", (row,)).fetchone()[0]
        return (len(data), data) > (len(stored), stored)

    def _write(self, row: int, span: SpanData, data: str, *, fresh: bool) -> None:
        latency = span.end_time - span.start_time if span.end_time else None
        values = (
            row,
            span.span_id,
            span.parent_span_id,
            derive.name_of(span)[:1000],
            derive.kind_of(span),
            derive.status_of(span),
            span.start_time,
            span.end_time,
            latency,
            *derive.tokens_of(span),
            len(data),
        )
        execute = self._writer.execute
        if not fresh:
            execute("DELETE FROM words WHERE rowid = ?", (row,))
        execute("INSERT OR REPLACE INTO spans VALUES (?,?,?,?,?,?,?,?,?,?,?,?)", values)
        execute("INSERT OR REPLACE INTO payloads VALUES (?,?)", (row, data))
        execute("INSERT INTO words (rowid, body) VALUES (?,?)", (row, derive.searchable(span)))

    def _summarise(self, row: int) -> None:
        """Works the trace's row out of its spans, so that no order of arrival can matter."""
        bounds = (row << 20, (row << 20) + MAX_SPANS - 1)
        root = self._writer.execute(
            "SELECT s.* FROM spans s WHERE id BETWEEN ? AND ? ORDER BY parent_id IS NOT NULL, start, span_id LIMIT 1",
            bounds,
        ).fetchone()
        if root is None:  # everything of it was dropped
            return self._remove(row)
        totals = self._writer.execute(
            "SELECT min(start), max(end), count(*), sum(status = 'error'), sum(input_tokens), sum(output_tokens),"
            " sum(size) FROM spans WHERE id BETWEEN ? AND ?",
            bounds,
        ).fetchone()
        data = self._writer.execute("SELECT data FROM payloads WHERE id = ?", (root["id"],)).fetchone()[0]
        attributes = json.loads(data)["attributes"]
        labels = {name: str(value)[:1000] for name, value in attributes.items() if name.startswith(LABELS)}
        head = (root["id"], root["name"], root["kind"], root["status"], root["latency"], json.dumps(labels))
        self._writer.execute(
            "UPDATE traces SET root=?, name=?, kind=?, status=?, latency=?, labels=?, start=?, end=?, spans=?,"
            " errors=?, input_tokens=?, output_tokens=?, size=? WHERE id=?",
            (*head, *totals, row),
        )

    def _trim(self, step: int) -> None:
        oldest = time.time() * 1000 - self.limits.max_age_days * 86_400_000
        for row, start in self._writer.execute(
            "SELECT id, start FROM traces ORDER BY start, id LIMIT ?", (step,)
        ).fetchall():
            if start >= oldest and self._count <= self.limits.max_traces and self._used() <= self.limits.max_bytes:
                return
            self._remove(row)

    def _used(self) -> int:
        names = ("page_count", "freelist_count", "page_size")
        pages, free, size = (self._writer.execute(f"PRAGMA {name}").fetchone()[0] for name in names)
        return int((pages - free) * size)

    def _remove(self, row: int) -> None:
        bounds = (row << 20, (row << 20) + MAX_SPANS - 1)
        for table in ("spans", "payloads"):
            self._writer.execute(f"DELETE FROM {table} WHERE id BETWEEN ? AND ?", bounds)  # noqa: S608
        self._writer.execute("DELETE FROM words WHERE rowid BETWEEN ? AND ?", bounds)
        self._writer.execute("DELETE FROM traces WHERE id = ?", (row,))
        self._count -= 1

    @contextmanager
    def _transaction(self) -> Generator[None]:
        count = self._count
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            yield
            self._writer.execute("COMMIT")
        except sqlite3.ProgrammingError as error:  # closed: there is nothing to take back
            raise _broken(error) from error
        except BaseException as error:
            self._count = count
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise _broken(error) from error
            raise

    # -- reading

    def list_traces(self, query: TraceQuery | None = None) -> Page:
        """Return a page of traces, newest first."""
        query = query or TraceQuery()
        rows = self._read(*compile_query(query))
        kept = rows[: query.limit]
        more = len(rows) > query.limit
        return Page([_summary(row) for row in kept], token_of(kept[-1]["start"], kept[-1]["id"]) if more else None)

    def load_json(self, trace_id: str) -> str | None:
        """Return a whole trace as Genkit's `TraceData` JSON; None if it does not exist."""
        found = self._read("SELECT * FROM traces WHERE trace_id = ?", [trace_id])
        if not found:
            return None
        trace = found[0]
        bounds = [trace["id"] << 20, (trace["id"] << 20) + MAX_SPANS - 1]
        rows = self._read(
            "SELECT span_id, data FROM spans JOIN payloads USING (id) WHERE id BETWEEN ? AND ? ORDER BY start, id",
            bounds,
        )
        # Each payload is JSON already: a trace is put together without parsing it.
        return _trace_json(trace, ",".join(f'"{row["span_id"]}":{row["data"]}' for row in rows))

    def load(self, trace_id: str) -> list[SpanData] | None:
        """Return the spans of a trace in the order of their start; None if it does not exist."""
        text = self.load_json(trace_id)
        if text is None:
            return None
        return [SpanData.model_validate(raw) for raw in json.loads(text)["spans"].values()]

    def roots_json(self, page: Page) -> str:
        """Return the traces of a page as a JSON array of `TraceData` with only the root span, attributes truncated."""
        parts: list[str] = []
        for summary in page.traces:
            found = self._read(
                "SELECT t.*, data FROM traces t JOIN payloads p ON p.id = t.root WHERE trace_id = ?", [summary.trace_id]
            )
            for row in found:  # none when it was removed meanwhile
                span = json.loads(row["data"])
                span["attributes"] = {name: _short(value) for name, value in span["attributes"].items()}
                parts.append(_trace_json(row, f'"{span["spanId"]}":{json.dumps(span)}'))
        return f"[{','.join(parts)}]"

    def stats(self) -> dict[str, int]:
        """Return the numbers of traces and spans, and the used bytes."""
        rows = self._read("SELECT count(*) AS n, coalesce(sum(spans), 0) AS spans FROM traces", [])
        with self._write_lock:
            return {"traces": rows[0]["n"], "spans": rows[0]["spans"], "bytes": self._used()}

    def _read(self, statement: str, values: list[Any]) -> list[sqlite3.Row]:
        due = time.monotonic() + _QUERY_SECONDS
        with self._read_lock:
            try:
                self._reader.set_progress_handler(lambda: time.monotonic() > due, 100_000)
                return self._reader.execute(statement, values).fetchall()
            except sqlite3.OperationalError as error:
                if "interrupted" in str(error):
                    raise GenkitError(
                        "DEADLINE_EXCEEDED",
                        f"The query took more than {_QUERY_SECONDS:g} seconds.",
                        hint="Narrow it by time or name.",
                    ) from None
                raise _broken(error) from error
            except sqlite3.DatabaseError as error:
                raise _broken(error) from error

    def _read_row(self, row: int) -> sqlite3.Row | None:
        found: sqlite3.Row | None = self._writer.execute("SELECT * FROM traces WHERE id = ?", (row,)).fetchone()
        return found

    @staticmethod
    def _row_of(connection: sqlite3.Connection, trace_id: str) -> int | None:
        found = connection.execute("SELECT id FROM traces WHERE trace_id = ?", (trace_id,)).fetchone()
        return None if found is None else int(found[0])


def _summary(row: sqlite3.Row) -> TraceSummary:
    return TraceSummary(**{name: row[name] for name in TraceSummary.__dataclass_fields__})


def _trace_json(trace: sqlite3.Row, spans: str) -> str:
    head = {"traceId": trace["trace_id"], "displayName": trace["name"], "startTime": trace["start"]}
    if trace["status"] != "running":
        head["endTime"] = trace["end"]
    return f'{json.dumps(head)[:-1]}, "spans": {{{spans}}}}}'


def _short(value: Any) -> Any:
    return value[:1000] + "..." if isinstance(value, str) and len(value) > 1000 else value


def _broken(error: sqlite3.Error) -> GenkitError:
    if isinstance(error, sqlite3.ProgrammingError):
        return GenkitError("FAILED_PRECONDITION", "The trace store is closed.")
    return GenkitError(
        "UNAVAILABLE",
        f"The trace store cannot be used: {error}.",
        hint="If it stays so, remove its file: traces are not needed to run.",
    )
