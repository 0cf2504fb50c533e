"""The approximate index: built beside reading and writing, once a load is over."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from genkit_rag.plugin_api import GenkitError
from genkit_rag_pgvector._layout import Binding, Layout, one
from genkit_rag_pgvector._pools import Pools
from genkit_rag_pgvector._psycopg import Connection, errors, psycopg, sql

logger = logging.getLogger("genkit_rag.pgvector")

QUIET_SECONDS = 2.0
"""How long nothing must have been written: loading into a table without the index is ten times faster."""
M, EF_CONSTRUCTION = 16, 64
"""pgvector's defaults."""
_LEAST_MEMORY, _MOST_MEMORY = 64 << 20, 2 << 30


class Builder:
    """Builds the index of a store in the background when there are enough documents.

    Args:
        layout: The store's names.
        pools: Its connections.
    """

    def __init__(self, layout: Layout, pools: Pools) -> None:
        self._layout, self._pools = layout, pools
        self._task: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        self._built: int | None = None
        self._written = 0

    def written(self, binding: Binding, documents: int) -> None:
        """Record a write; start building the index if it is due."""
        self._written += 1
        due = documents >= self._layout.options.index_threshold and self._built != binding.generation
        if due and self._layout.can_index(binding.fingerprint.dimensions) and (self._task is None or self._task.done()):
            self._hurry = asyncio.Event()
            self._task = asyncio.create_task(self._build(binding))

    async def finish(self) -> None:
        """Build a due index and wait for it."""
        task = self._task
        if task is not None and task.get_loop() is asyncio.get_running_loop():
            self._hurry.set()
            await task

    async def _build(self, binding: Binding) -> None:
        seen = -1
        while seen != self._written and not self._hurry.is_set():
            seen = self._written
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), QUIET_SECONDS)
        try:
            async with self._pools.session() as connection:
                if await build(connection, self._layout, binding):
                    self._built = binding.generation
        except GenkitError as error:
            logger.warning("The index of the store %s is not built: %s Searches are exact.", self._layout.name, error)


async def build(connection: Connection, layout: Layout, binding: Binding) -> bool:
    """Build the index if needed; return False while another process builds it."""
    name = layout.table_name(binding.generation)
    key = {"key": f"{layout.options.schema}.{name}.hnsw"}
    if not (await one(connection, "SELECT pg_try_advisory_lock(hashtextextended(%(key)s, 0))", key))[0]:
        return False
    try:
        return await _build_locked(connection, layout, binding)
    finally:
        if not connection.closed:
            await connection.execute("RESET ALL")
            await connection.execute("SELECT pg_advisory_unlock(hashtextextended(%(key)s, 0))", key)


async def _build_locked(connection: Connection, layout: Layout, binding: Binding) -> bool:
    index = layout.index(binding.generation, "hnsw")
    found = await connection.execute(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%(name)s)",
        {"name": index.as_string(connection)},
    )
    row = await found.fetchone()
    if row is not None and row[0]:
        return True
    await connection.execute("SET statement_timeout = 0")
    if row is not None:  # what a killed building left
        await connection.execute(layout.format("DROP INDEX CONCURRENTLY IF EXISTS {index}", index=index))
    await _remember(connection, layout, binding)
    statement = layout.format(
        _CREATE,
        index=sql.Identifier(f"{layout.table_name(binding.generation)}_hnsw"),
        table=layout.table(binding.generation),
        ops=_operators(layout),
        indexed=layout.indexed(binding.fingerprint.dimensions, sql.SQL("embedding")),
    )
    try:
        await connection.execute(statement)
    except (errors.DiskFull, errors.OutOfMemory):
        # Workers share memory that a container may not have (Docker gives 64 MB): then one process builds it alone.
        await connection.execute(layout.format("DROP INDEX CONCURRENTLY IF EXISTS {index}", index=index))
        await connection.execute("SET max_parallel_maintenance_workers = 0")
        await connection.execute(statement)
    # Without statistics the planner does not know how few documents an equality leaves, and looks at all of them.
    await connection.execute(layout.format("ANALYZE {table}", table=layout.table(binding.generation)))
    return True


def _operators(layout: Layout) -> sql.Composed:
    kind = "halfvec" if layout.options.halfvec else "vector"
    return sql.SQL("{}").format(layout.of_extension(f"{kind}_ip_ops"))


async def _remember(connection: Connection, layout: Layout, binding: Binding) -> None:
    """Grant the memory that the graph needs, without which building is many times slower."""
    counted = await one(
        connection,
        layout.format("SELECT COALESCE(sum(documents), 0)::bigint FROM {counts} WHERE store = %(name)s"),
        {"name": layout.name},
    )
    size = 2 if layout.options.halfvec else 4
    need = int(counted[0]) * (binding.fingerprint.dimensions * size + 32 * M)
    kilobytes = min(max(need + (16 << 20), _LEAST_MEMORY), _MOST_MEMORY) >> 10
    with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
        await connection.execute(sql.SQL("SET maintenance_work_mem = {}").format(kilobytes))


_CREATE = f"""
CREATE INDEX CONCURRENTLY {{index}} ON {{table}} USING hnsw ({{indexed}} {{ops}})
WITH (m = {M}, ef_construction = {EF_CONSTRUCTION})"""
