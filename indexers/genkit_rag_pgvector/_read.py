"""Reading without ranking: documents, vectors, ids and counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from genkit_rag.plugin_api import Filter, Vectors
from genkit_rag_pgvector._filter_sql import condition
from genkit_rag_pgvector._layout import Binding, Layout, one
from genkit_rag_pgvector._psycopg import Connection, Params, sql

_VECTOR_HEADER = 4
"""Bytes before the numbers in pgvector's binary form: dimensions and a reserved field."""


async def rows(
    connection: Connection, layout: Layout, binding: Binding, ids: Sequence[str], namespace: str
) -> dict[str, tuple[int, str, str]]:
    """Return `(kind, content, metadata)` by id."""
    found = await connection.execute(
        layout.format(
            "SELECT id, kind, content, metadata FROM {table} WHERE namespace = %(namespace)s AND id = ANY (%(ids)s)",
            table=layout.table(binding.generation),
        ),
        {"namespace": namespace, "ids": list(ids)},
    )
    return {row[0]: (row[1], row[2], row[3]) for row in await found.fetchall()}


async def vectors(
    connection: Connection, layout: Layout, binding: Binding, ids: Sequence[str], namespace: str
) -> dict[str, Vectors]:
    """Return the vectors by id."""
    async with connection.cursor(binary=True) as cursor:
        await cursor.execute(
            layout.format(
                "SELECT id, {send}(embedding) FROM {table} WHERE namespace = %(namespace)s AND id = ANY (%(ids)s)",
                table=layout.table(binding.generation),
                send=layout.of_extension("vector_send"),
            ),
            {"namespace": namespace, "ids": list(ids)},
        )
        return {
            name: np.frombuffer(data, ">f4", offset=_VECTOR_HEADER).astype(np.float32)
            for name, data in await cursor.fetchall()
        }


async def count(
    connection: Connection, layout: Layout, binding: Binding, filter: Filter | None, namespace: str | None
) -> int:
    """Count the documents that match the filter."""
    params: Params = {"name": layout.name, "namespace": namespace}
    space = sql.SQL("TRUE" if namespace is None else "namespace = %(namespace)s")
    if filter is None:
        text = "SELECT COALESCE(sum(documents), 0)::bigint FROM {counts} WHERE store = %(name)s AND {space}"
        return int((await one(connection, layout.format(text, space=space), params))[0])
    where = condition(filter, params)
    text = "SELECT count(*) FROM {table} WHERE {space} AND {where}"
    table = layout.table(binding.generation)
    return int((await one(connection, layout.format(text, table=table, space=space, where=where), params))[0])


async def ids(
    connection: Connection, layout: Layout, binding: Binding, filter: Filter | None, namespace: str
) -> list[str]:
    """Return the ids of the documents that match the filter."""
    params: Params = {"namespace": namespace}
    found = await connection.execute(
        layout.format(
            "SELECT id FROM {table} WHERE namespace = %(namespace)s AND {where} ORDER BY id",
            table=layout.table(binding.generation),
            where=condition(filter, params),
        ),
        params,
    )
    return [row[0] for row in await found.fetchall()]


class Window(NamedTuple):
    """Which documents of a namespace a page has: so many, behind an id, with ids that begin so."""

    limit: int
    after: str | None
    prefix: str


async def page(
    connection: Connection, layout: Layout, binding: Binding, filter: Filter | None, namespace: str, window: Window
) -> list[tuple[str, int, str, str]]:
    """Return `(id, kind, content, metadata)` of a page, walking the primary key."""
    params: Params = {"namespace": namespace, **window._asdict()}
    text = (
        "SELECT id, kind, content, metadata FROM {table} WHERE namespace = %(namespace)s AND id >= %(prefix)s AND "
        "starts_with(id, %(prefix)s) AND id > COALESCE(%(after)s::text, '') AND {where} ORDER BY id LIMIT %(limit)s"
    )
    where = condition(filter, params)
    found = await connection.execute(layout.format(text, table=layout.table(binding.generation), where=where), params)
    return [(row[0], row[1], row[2], row[3]) for row in await found.fetchall()]


async def sample(
    connection: Connection, layout: Layout, binding: Binding, filter: Filter | None, namespace: str, limit: int
) -> list[str]:
    """Return matching ids, those with the lowest hashes."""
    params: Params = {"namespace": namespace, "limit": limit}
    text = (
        "SELECT id FROM {table} WHERE namespace = %(namespace)s AND {where} "
        "ORDER BY hashtextextended(id, 0), id LIMIT %(limit)s"
    )
    where = condition(filter, params)
    found = await connection.execute(layout.format(text, table=layout.table(binding.generation), where=where), params)
    return [row[0] for row in await found.fetchall()]


async def namespaces(connection: Connection, layout: Layout, binding: Binding, limit: int) -> dict[str, int]:
    """Return the number of documents of the largest namespaces."""
    text = (
        "SELECT namespace, documents FROM {counts} WHERE store = %(name)s AND documents > 0 "
        "ORDER BY documents DESC, namespace LIMIT %(limit)s"
    )
    found = await connection.execute(layout.format(text), {"name": layout.name, "limit": limit})
    return {row[0]: int(row[1]) for row in await found.fetchall()}


async def details(connection: Connection, layout: Layout, binding: Binding) -> dict[str, Any]:
    """Return sizes and the kind of index, for people."""
    table = layout.table(binding.generation).as_string(connection)
    index = layout.index(binding.generation, "hnsw").as_string(connection)
    row = await one(
        connection,
        "SELECT pg_total_relation_size(to_regclass(%(table)s)), COALESCE(pg_relation_size(to_regclass(%(index)s)), 0), "
        "COALESCE((SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%(index)s)), FALSE)",
        {"table": table, "index": index},
    )
    kind = ("hnsw, 16 bits" if layout.options.halfvec else "hnsw, 32 bits") if row[2] else "none (exact)"
    return {"table": layout.table_name(binding.generation), "index": kind, "bytes": row[0], "index_bytes": row[1]}
