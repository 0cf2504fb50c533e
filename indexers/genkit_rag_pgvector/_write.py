"""Writing: whole batches in one transaction, on disk when it returns."""

from __future__ import annotations

from collections.abc import Sequence

from genkit_rag.plugin_api import Filter, GenkitError
from genkit_rag_pgvector._filter_sql import condition
from genkit_rag_pgvector._layout import Binding, Layout
from genkit_rag_pgvector._psycopg import Connection, Params, sql

_CHUNK = 1 << 18
"""Bytes handed to the connection at once; between two of them the event loop has a turn."""
_INCOMING = sql.Identifier("pg_temp", "genkit_rag_incoming")
_CREATE = """
CREATE TEMPORARY TABLE genkit_rag_incoming (
    namespace text, id text, kind smallint, content text, metadata text, facts jsonb, body text, version uuid,
    embedding {vector}
) ON COMMIT DROP"""
_MERGE = """
INSERT INTO {table} (namespace, id, kind, content, metadata, facts, words, length, version, embedding)
SELECT namespace, id, kind, content, metadata, facts, found.words,
    (SELECT COALESCE(sum(cardinality(positions)), 0) FROM unnest(found.words)), version, embedding
FROM {incoming}, LATERAL (SELECT to_tsvector(%(language)s::regconfig, body) AS words OFFSET 0) AS found
ON CONFLICT (namespace, id) DO UPDATE SET (kind, content, metadata, facts, words, length, version, embedding)
  = (excluded.kind, excluded.content, excluded.metadata, excluded.facts, excluded.words, excluded.length,
     excluded.version, excluded.embedding)"""


async def upsert(connection: Connection, layout: Layout, binding: Binding, rows: bytes) -> int:
    """Insert or replace the rows of `encode` and return the approximate number of documents."""
    await check_binding(connection, layout, binding)
    await connection.execute(layout.format(_CREATE, vector=layout.of_extension("vector")))
    async with connection.cursor() as cursor:
        async with cursor.copy(layout.format("COPY {incoming} FROM STDIN (FORMAT binary)", incoming=_INCOMING)) as copy:
            for start in range(0, len(rows), _CHUNK):
                await copy.write(rows[start : start + _CHUNK])
        await cursor.execute(
            layout.format(_MERGE, table=layout.table(binding.generation), incoming=_INCOMING),
            {"language": layout.options.language},
        )
        await cursor.execute(
            layout.format("SELECT COALESCE(sum(documents), 0)::bigint FROM {counts} WHERE store = %(name)s"),
            {"name": layout.name},
        )
        row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def delete(
    connection: Connection, layout: Layout, namespace: str, ids: Sequence[str] | None, filter: Filter | None
) -> int:
    """Delete documents and return their number."""
    binding = await layout.binding(connection, "FOR SHARE")
    if binding is None:
        return 0
    params: Params = {"namespace": namespace}
    where = sql.SQL("id = ANY (%(ids)s::text[])") if ids is not None else condition(filter, params)
    if ids is not None:
        params["ids"] = list(ids)
    statement = layout.format(
        "DELETE FROM {table} WHERE namespace = %(namespace)s AND {where}",
        table=layout.table(binding.generation),
        where=where,
    )
    return (await connection.execute(statement, params)).rowcount


async def check_binding(connection: Connection, layout: Layout, binding: Binding) -> None:
    """Block a re-embedding until the end of the transaction; raise `Rebound` if there was one."""
    found = await layout.binding(connection, "FOR SHARE")
    if found != binding:
        raise Rebound


class Rebound(GenkitError):
    """The store was bound to another embedding model; read its binding again."""

    def __init__(self) -> None:
        super().__init__("ABORTED", "The store has changed its embedder.", hint="Try again.")
