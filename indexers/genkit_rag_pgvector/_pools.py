"""Connections: one pool for each event loop, since a connection cannot leave its loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Concatenate, ParamSpec, TypeVar
from weakref import WeakSet

from genkit_rag.plugin_api import GenkitError
from genkit_rag_pgvector._errors import connect_error, is_lost, place, pool_exhausted, server_error
from genkit_rag_pgvector._options import PgVectorConfig
from genkit_rag_pgvector._psycopg import Connection, errors, psycopg, sql

P = ParamSpec("P")
T = TypeVar("T")

_DEADLOCKS = 5
"""How often a transaction that lost a deadlock is done again."""


class _Pool:
    """The connections of one event loop, created on demand.

    psycopg_pool connects in its own tasks, which outlive a cancellation while they connect: an `asyncio.run` that ends
    without closing the pool then never returns.
    """

    def __init__(self, connect: Callable[[], Awaitable[Connection]], size: int) -> None:
        self._connect = connect
        self._free = asyncio.Semaphore(size)
        self._idle: list[Connection] = []
        self._made: WeakSet[Connection] = WeakSet()
        self._closed = False

    async def take(self, timeout: float) -> Connection:
        """Return a connection; TimeoutError if all were busy for the timeout."""
        async with asyncio.timeout(timeout):
            await self._free.acquire()
        try:
            while self._idle:
                connection = self._idle.pop()
                if not connection.closed:
                    return connection
            connection = await self._connect()
        except BaseException:
            self._free.release()
            raise
        self._made.add(connection)
        return connection

    def give(self, connection: Connection) -> None:
        """Return a connection to the pool; close one that is still in a transaction."""
        self._free.release()
        idle = connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        if idle and not self._closed:
            self._idle.append(connection)
        else:
            connection.pgconn.finish()

    def drop_idle(self) -> None:
        """Close the idle connections."""
        for connection in self._idle:
            connection.pgconn.finish()
        self._idle.clear()

    def close(self) -> None:
        """Cuts the connections; those in use when they are given back."""
        self._closed = True
        self.drop_idle()

    def bury(self) -> None:
        """Cuts all connections of an event loop that has ended."""
        for connection in list(self._made):
            connection.pgconn.finish()


class Pools:
    """Runs transactions on one server.

    Args:
        dsn: The connection string; it may hold a password, so it is never shown.
        options: Sizes and patience.
    """

    def __init__(self, dsn: str, options: PgVectorConfig) -> None:
        self._dsn = dsn
        self._options = options
        self.where = place(dsn)
        self.closed = False
        self._pools: dict[asyncio.AbstractEventLoop, _Pool] = {}

    def __repr__(self) -> str:
        return f"Pools({self.where!r})"

    async def run(
        self, work: Callable[Concatenate[Connection, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `work(connection, ...)` in one transaction and return its result.

        It is done again on a new connection when the old one was broken, and after a lost deadlock: `work` must be one
        that may be done twice.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                async with self._connection() as connection, connection.transaction():
                    await self._limit(connection)
                    return await work(connection, *args, **kwargs)
            except errors.DeadlockDetected as error:
                if attempt >= _DEADLOCKS:
                    raise server_error(error, self.where) from error
            except psycopg.Error as error:
                if attempt > 1 or not is_lost(error):
                    raise server_error(error, self.where) from error
                self._pool().drop_idle()  # they are as broken as this one

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncGenerator[Connection]:
        """Yield a connection without a transaction, for statements that cannot run in one or need several."""
        try:
            async with self._connection() as connection:
                yield connection
        except psycopg.Error as error:
            raise server_error(error, self.where) from error

    async def close(self) -> None:
        """Close the connections of every event loop."""
        self.closed = True
        here = asyncio.get_running_loop()
        pools = list(self._pools.items())
        self._pools.clear()
        for loop, pool in pools:
            if loop is here:
                pool.close()
            elif loop.is_running():
                loop.call_soon_threadsafe(pool.close)
            else:
                pool.bury()

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncGenerator[Connection]:
        pool = self._pool()
        try:
            connection = await pool.take(self._options.pool_timeout)
        except TimeoutError:
            raise pool_exhausted(self.where, self._options.pool_size, self._options.pool_timeout) from None
        try:
            yield connection
        finally:
            pool.give(connection)

    def _pool(self) -> _Pool:
        if self.closed:
            raise GenkitError("FAILED_PRECONDITION", "The store is closed.", hint="Make a new one; closing is final.")
        loop = asyncio.get_running_loop()
        if loop not in self._pools:
            for other in [other for other in list(self._pools) if other.is_closed()]:
                gone = self._pools.pop(other, None)
                if gone is not None:
                    gone.bury()
            self._pools[loop] = _Pool(self._connect, self._options.pool_size)
        return self._pools[loop]

    async def _connect(self) -> Connection:
        try:
            return await psycopg.AsyncConnection.connect(self._dsn, **self._arguments())
        except psycopg.Error as error:
            # psycopg's error holds the connection and with it the password: it is not kept as the cause.
            raise connect_error(error, self.where) from None

    def _arguments(self) -> dict[str, Any]:
        # Use no prepared statements, so that a pooler such as PgBouncer works in any of its modes.
        return {
            "connect_timeout": max(1, round(self._options.connect_timeout)),
            "prepare_threshold": None,
            "application_name": "genkit_rag",
            "autocommit": True,
        }

    async def _limit(self, connection: Connection) -> None:
        milliseconds = round(self._options.statement_timeout * 1000)
        await connection.execute(sql.SQL("SET LOCAL statement_timeout = {}").format(milliseconds))
