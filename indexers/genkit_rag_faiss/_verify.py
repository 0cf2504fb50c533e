"""Verification and description of a store."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from genkit_rag.plugin_api import GenkitError
from genkit_rag_faiss._engine import Engine
from genkit_rag_faiss._storage.database import State
from genkit_rag_faiss._storage.digest import file_digest
from genkit_rag_faiss._storage.records import check_row, check_vector, key_crc

MAX_PROBLEMS = 100


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a verification.

    Attributes:
        documents: The number of documents read.
        problems: Problems of `store.db`; empty if every document and vector matches its checksum.
        derived: Damaged derived files, which are rebuilt automatically.
    """

    documents: int
    problems: tuple[str, ...] = ()
    derived: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the truth is undamaged."""
        return not self.problems


def verify(engine: Engine) -> Report:
    """Verify a store: read every row and every segment, and let SQLite check its file."""
    problems: list[str] = []
    count = digest = 0
    try:
        problems += [f"SQLite: {finding}" for finding in engine.database.integrity()]
        with engine.database.snapshot() as connection:
            seqs: list[int] = []
            for row in connection.execute(
                "SELECT seq, namespace, id, kind, content, metadata, crc FROM doc ORDER BY seq"
            ):
                seqs.append(row[0])
                count, digest = count + 1, digest + key_crc(*row[:3])
                _note(problems, check_row, row)
            vectors: list[int] = []
            for seq, data, crc in connection.execute("SELECT seq, data, crc FROM vec ORDER BY seq"):
                vectors.append(seq)
                _note(problems, check_vector, seq, data, crc)
            if seqs != vectors:
                problems.append("documents and vectors do not belong together")
            if engine.database.state(connection) != State(count, digest % 2**62):
                problems.append("it has other documents than its state record says")
    except (GenkitError, sqlite3.Error) as error:
        problems.append(getattr(error, "message", str(error)))
    return Report(count, tuple(problems[:MAX_PROBLEMS]), tuple(_derived(engine)))


def _derived(engine: Engine) -> list[str]:
    try:
        found: list[str] = []
        for segment in engine.database.segments():
            expected = {f"seg/{segment.name}": segment.digest}
            if segment.kind == "text":
                files = segment.params.get("files", {})
                expected = {f"text/{segment.name}/{name}": digest for name, digest in files.items()}
            if segment.kind == "text" and segment.params.get("namespace") in engine.caches.texts:
                continue  # it is open and may be ahead of what was recorded
            found += [name for name, digest in expected.items() if _digest(engine, name) != digest]
        return [f"{name} is damaged and will be made again" for name in found]
    except GenkitError as error:
        return [error.message]


def _digest(engine: Engine, name: str) -> str | None:
    try:
        return file_digest(engine.path / name)
    except OSError:
        return None


def _note(problems: list[str], check: Callable[..., None], *values: Any) -> None:
    try:
        check(*values)
    except GenkitError as error:
        problems.append(error.message)


def describe(engine: Engine) -> dict[str, Any]:
    """Return facts for people: path, size, and the active index."""
    view = engine.view
    ann = view.ann if view is not None else None
    return {
        "path": str(engine.path),
        "bytes": sum(path.stat().st_size for path in engine.path.rglob("*") if path.is_file()),
        "dimensions": view.matrix.shape[1] if view is not None else None,
        "namespaces": sorted(name for name, count in view.counts.items() if count) if view is not None else [],
        "index": "flat" if ann is None else f"{ann.kind}{f'+{ann.quantize}' if ann.quantize else ''}",
        "index_rows": ann.n if ann is not None else 0,
        "dead_rows": view.n - view.live if view is not None else 0,
        "segments": [f"{one.kind}/{one.name}" for one in engine.database.segments()],
        "writer": engine.lock.held,
        "metric": engine.options.metric,
        "sqlite": sqlite3.sqlite_version,
    }
