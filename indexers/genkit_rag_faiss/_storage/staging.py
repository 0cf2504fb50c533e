"""Re-embedding: new vectors are staged batch by batch beside the old ones and swapped at once.

Staged vectors are durable and belong to one embedding model, so a stopped run can continue.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict

from genkit_rag.plugin_api import Fingerprint, Vectors
from genkit_rag_faiss._storage.database import ROW, VECTOR_TABLE, Database
from genkit_rag_faiss._storage.records import Row, check_row, vector_crc

_KEY = "next_fingerprint"


def begin(database: Database, fingerprint: Fingerprint) -> None:
    """Keep the vectors that an earlier run staged for this model; drop those of another."""
    wanted = json.dumps(asdict(fingerprint))
    with database.transaction() as writer:
        if database.meta(_KEY, writer) != wanted:
            writer.execute("DELETE FROM next_vec")
            database.add_to_state(writer, 0, 0, {_KEY: wanted})


def missing(database: Database, after: int, limit: int) -> list[Row]:
    """Return checked rows above a sequence number that have no new vector yet."""
    query = (
        f"SELECT {ROW} FROM doc d WHERE d.seq > ? "  # noqa: S608
        "AND NOT EXISTS (SELECT 1 FROM next_vec n WHERE n.seq = d.seq) ORDER BY d.seq LIMIT ?"
    )
    with database.errors():
        rows: list[Row] = database.reader.execute(query, (after, limit)).fetchall()
    for row in rows:
        check_row(row)
    return rows


def lay_aside(database: Database, seqs: Sequence[int], vectors: Vectors) -> None:
    """Stage new vectors of rows durably."""
    with database.transaction() as writer:
        blobs = [(seq, data := row.tobytes(), vector_crc(seq, data)) for seq, row in zip(seqs, vectors, strict=True)]
        writer.executemany("INSERT OR REPLACE INTO next_vec VALUES (?, ?, ?)", blobs)


def swap(database: Database, writer: sqlite3.Connection, fingerprint: Fingerprint) -> None:
    """Lets the new vectors take the place of the old ones; inside a transaction, when none is missing."""
    writer.execute("DELETE FROM next_vec WHERE seq NOT IN (SELECT seq FROM doc)")
    writer.execute("DROP TABLE vec")
    writer.execute("ALTER TABLE next_vec RENAME TO vec")
    writer.execute(f"CREATE TABLE next_vec {VECTOR_TABLE}")
    database.set_segments(writer, ("vec", "keys", "ann", "cols"), ())
    settings = {"fingerprint": json.dumps(asdict(fingerprint)), "dimensions": str(fingerprint.dimensions)}
    database.add_to_state(writer, 0, 0, settings, without=_KEY)
