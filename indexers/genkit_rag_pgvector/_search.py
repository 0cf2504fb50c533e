"""Search by vectors: exact where that is affordable, else the index, and exact again where the index gives too few."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from genkit_rag.plugin_api import Filter, Hit, Vectors
from genkit_rag_pgvector._filter_sql import condition, is_indexed
from genkit_rag_pgvector._layout import Binding, Layout, one
from genkit_rag_pgvector._psycopg import Connection, Params, Query, sql
from genkit_rag_pgvector._rows import decode

SECONDS = 60.0
"""The lifetime of an estimate. A wrong one costs time, never results: a scan finds what the index misses."""
SAMPLED_PAGES = 200
SMALL_TABLE = 50_000
"""Up to so many rows a scan that looks at each of them takes some ten milliseconds."""
FEW, VERY_FEW = 5_000, 500
"""Up to so many matching rows they are compared exactly: where finding them is cheap, and where it is not."""
MAX_K = 1_000
"""Above it, exact: an index has no use for lists of this length."""
MIN_EFFORT, MAX_EFFORT = 100, 1_000
"""Bounds of `hnsw.ef_search`; 1,000 is pgvector's own."""
OVERSAMPLING = 4
"""How many candidates are taken from the index for each hit that is wanted, then ranked by their exact scores."""
MAX_TUPLES = 200_000
"""How many rows a filtered scan of the index may visit before the exact scan takes over."""
_PLANS = 1_000


@dataclass(frozen=True, slots=True)
class Plan:
    """The search plan: `effort` is None for the exact scan, otherwise `hnsw.ef_search`."""

    effort: int | None
    until: float


class Planner:
    """Decides between the exact scan and the index, from a sample of the table."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._plans: OrderedDict[tuple[Any, ...], Plan] = OrderedDict()

    def forget(self) -> None:
        """Drop the estimates, since the index or the table has changed."""
        self._plans.clear()

    async def plan(
        self, connection: Connection, binding: Binding, namespace: str, filter: Filter | None, k: int
    ) -> Plan:
        """Return the plan of a search for `k` hits."""
        if k > MAX_K:
            return Plan(None, 0)
        key = (binding.generation, namespace, repr(filter), k)
        plan = self._plans.get(key)
        if plan is None or plan.until < time.monotonic():
            effort = await self._effort(connection, binding, namespace, filter, k)
            plan = self._plans[key] = Plan(effort, time.monotonic() + SECONDS)
            self._plans.move_to_end(key)
            if len(self._plans) > _PLANS:
                self._plans.popitem(last=False)
        return plan

    async def _effort(
        self, connection: Connection, binding: Binding, namespace: str, filter: Filter | None, k: int
    ) -> int | None:
        table = self._layout.table(binding.generation)
        found = await connection.execute(
            _FACTS_OF_TABLE,
            {
                "table": table.as_string(connection),
                "index": self._layout.index(binding.generation, "hnsw").as_string(connection),
            },
        )
        row = await found.fetchone()
        if row is None or not row[2]:
            return None
        rows, pages = max(float(row[0]), 0.0), max(int(row[1]), 1)
        params: Params = {"namespace": namespace}
        sampled, matching = await one(
            connection,
            self._layout.format(
                _SAMPLE,
                table=table,
                where=condition(filter, params),
                percent=sql.Literal(min(100.0, 100.0 * SAMPLED_PAGES / pages)),
            ),
            params,
        )
        share = matching / sampled if sampled else 0.0
        cheap = rows <= SMALL_TABLE or is_indexed(filter)
        if share * rows <= (FEW if cheap else VERY_FEW):
            return None
        return round(min(max(MIN_EFFORT, OVERSAMPLING * k / share), MAX_EFFORT))


async def search(
    connection: Connection,
    layout: Layout,
    planner: Planner,
    binding: Binding,
    queries: Vectors,
    k: int,
    filter: Filter | None,
    scope: tuple[str, bool],
) -> list[list[Hit]]:
    """Return the hits of each query; `scope` is the namespace and whether documents are requested."""
    namespace, payload = scope
    plan = await planner.plan(connection, binding, namespace, filter, k)
    params: Params = {"namespace": namespace, "k": k, "candidates": max(OVERSAMPLING * k, k + 50)}
    query = sql.SQL("%(query)s::{}").format(layout.of_extension("vector"))
    parts = {
        "table": layout.table(binding.generation),
        "where": condition(filter, params),
        "product": layout.product(),
        "query": query,
        "columns": sql.SQL("kind, content, metadata" if payload else "0, '', ''"),
    }
    dimensions = binding.fingerprint.dimensions
    near = layout.format(
        _NEAR,
        **parts,
        indexed=layout.indexed(dimensions, sql.SQL("embedding")),
        wanted=layout.indexed(dimensions, query),
    )
    exact = layout.format(_EXACT, **parts)
    found: list[list[Hit]] = []
    for vector in queries:
        if plan.effort is not None:
            await _set(connection, _forced(plan.effort))
        params["query"] = "[" + ",".join(map(repr, vector.tolist())) + "]"
        hits = await _hits(connection, near, params, payload) if plan.effort is not None else []
        if len(hits) < k:
            if plan.effort is not None:
                await _set(connection, _FREE)
            hits = await _hits(connection, exact, params, payload)
        found.append(hits)
    return found


async def _hits(connection: Connection, query: Query, params: Params, payload: bool) -> list[Hit]:
    rows = await (await connection.execute(query, params)).fetchall()
    return [
        Hit(name, max(-1.0, min(1.0, score)), decode(name, kind, content, metadata) if payload else None)
        for name, score, kind, content, metadata in rows
    ]


def _forced(effort: int) -> dict[str, Any]:
    """Return the settings that force the planner to use the index."""
    return {
        "hnsw.iterative_scan": "relaxed_order",
        "hnsw.ef_search": effort,
        "hnsw.max_scan_tuples": MAX_TUPLES,
        "hnsw.scan_mem_multiplier": 8,
        **dict.fromkeys(_FREE, "off"),
    }


_FREE = {"enable_seqscan": "on", "enable_sort": "on", "enable_bitmapscan": "on"}


async def _set(connection: Connection, settings: dict[str, Any]) -> None:
    statements = [
        sql.SQL("SET LOCAL {} = {}").format(sql.Identifier(*name.split(".")), value) for name, value in settings.items()
    ]
    await connection.execute(sql.SQL("; ").join(statements))


_FACTS_OF_TABLE = """
SELECT reltuples, relpages, EXISTS (
    SELECT FROM pg_index WHERE indexrelid = to_regclass(%(index)s) AND indrelid = pg_class.oid AND indisvalid
) FROM pg_class WHERE oid = to_regclass(%(table)s)"""
_SAMPLE = """
SELECT count(*), count(*) FILTER (WHERE namespace = %(namespace)s AND {where})
FROM {table} TABLESAMPLE SYSTEM ({percent}) REPEATABLE (0)"""
# The sum keeps every index on the vectors out of it.
_EXACT = """
SELECT id, -({product_}), {columns} FROM {table} WHERE namespace = %(namespace)s AND {where}
ORDER BY ({product_}) + 0, id LIMIT %(k)s""".replace("{product_}", "embedding {product} {query}")
_NEAR = """
SELECT id, -distance, {columns} FROM (
    SELECT id, kind, content, metadata, embedding {product} {query} AS distance FROM {table}
    WHERE namespace = %(namespace)s AND {where} ORDER BY {indexed} {product} {wanted} LIMIT %(candidates)s
) AS near ORDER BY distance, id LIMIT %(k)s"""
