"""Evaluation runs in a folder: `<root>/evals/<run id>.json`, with a summary beside each for the listing."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pydantic import Field

from genkit_rag._core.errors import GenkitError
from genkit_rag._core.schema import parse
from genkit_rag._documents.wire import WireModel
from genkit_rag._evaluation.reports.report import EvalReport
from genkit_rag._evaluation.reports.rows import MetricSummary
from genkit_rag._server.datasets.files import checked_name, inside, read_file, write_over

MAX_BYTES = 200_000_000
"""How large a report may be, as JSON."""

_SUMMARY = ".summary.json"
_SUMMARY_BYTES = 1_000_000


class RunSummary(WireModel):
    """A run without its rows.

    Attributes:
        run_id: The id of the run.
        name: The name of the run.
        created_at: The start, as ISO 8601 in UTC.
        target: The evaluated target.
        dataset_id: The stored dataset; None for another one.
        dataset_version: The version of the dataset.
        dataset_hash: A hash of the evaluated rows.
        rows: The number of rows.
        failed: The number of rows with an error or a FAIL.
        duration_ms: The duration of the run.
        metrics: The summary of each metric.
    """

    run_id: str
    name: str | None = None
    created_at: str
    target: str | None = None
    dataset_id: str | None = None
    dataset_version: int | None = None
    dataset_hash: str
    rows: int
    failed: int
    duration_ms: float
    metrics: list[MetricSummary] = Field(default_factory=list[MetricSummary])


class RunStore:
    """The evaluation runs of a project. Its methods block: call them in a thread.

    Args:
        root: The folder, such as `.genkit_rag`; made when the first run is saved.
    """

    def __init__(self, root: str | Path) -> None:
        self._root = Path(root) / "evals"

    def save(
        self, report: EvalReport, *, dataset_id: str | None = None, dataset_version: int | None = None
    ) -> RunSummary:
        """Save the report and return its summary."""
        summary = RunSummary(
            run_id=checked_name("run_id", report.run_id),
            name=report.name,
            created_at=report.created_at,
            target=report.target,
            dataset_id=dataset_id,
            dataset_version=dataset_version,
            dataset_hash=report.dataset_hash,
            rows=len(report.rows),
            failed=len(report.failed_rows),
            duration_ms=report.duration_ms,
            metrics=report.metrics,
        )
        data = report.to_json().encode()
        if len(data) > MAX_BYTES:
            raise GenkitError(
                "RESOURCE_EXHAUSTED",
                f"A report has at most {MAX_BYTES:,} bytes, not {len(data):,}.",
                hint="Run fewer rows at a time.",
            )
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_over(self._path(report.run_id, ".json"), data)
        write_over(self._path(report.run_id, _SUMMARY), json.dumps(summary.to_wire(), ensure_ascii=False).encode())
        return summary

    def list(self, dataset_id: str | None = None) -> list[RunSummary]:
        """List the runs without their rows, newest first, optionally of one dataset."""
        try:
            names = [name.removesuffix(_SUMMARY) for name in os.listdir(self._root) if name.endswith(_SUMMARY)]
        except FileNotFoundError:
            return []
        found: list[RunSummary] = []
        for name in names:
            try:
                data = read_file(self._path(name, _SUMMARY), _SUMMARY_BYTES) or b"null"
                summary: RunSummary = parse(RunSummary, json.loads(data), "The summary")
            except (GenkitError, ValueError):  # no run of ours, or just deleted
                continue
            if dataset_id is None or summary.dataset_id == dataset_id:
                found.append(summary)
        return sorted(found, key=lambda run: (run.created_at, run.run_id), reverse=True)

    def get(self, run_id: str) -> EvalReport:
        """Return a report; NOT_FOUND if it does not exist."""
        data = read_file(self._path(run_id, ".json"), MAX_BYTES)
        if data is None:
            raise _not_found(run_id)
        return EvalReport.from_json(data)

    def delete(self, run_id: str) -> None:
        """Delete a run; NOT_FOUND if it does not exist."""
        self._path(run_id, _SUMMARY).unlink(missing_ok=True)
        try:
            self._path(run_id, ".json").unlink()
        except FileNotFoundError as error:
            raise _not_found(run_id) from error

    def _path(self, run_id: str, ending: str) -> Path:
        return inside(self._root, checked_name("run_id", run_id) + ending)


def _not_found(run_id: str) -> GenkitError:
    return GenkitError("NOT_FOUND", f"The run {run_id!r} does not exist.", hint="`list` says what there is.")
