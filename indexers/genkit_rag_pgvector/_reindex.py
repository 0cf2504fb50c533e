"""Re-embedding: the next generation is filled beside the active one, then swapped at once.

Every batch is committed, so a killed run can continue. A row has the `version` of the document that it was made from:
documents written meanwhile have another one and are embedded again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from genkit_rag.plugin_api import Document, Fingerprint, GenkitError, Vectors, run_in_thread
from genkit_rag_pgvector._index import build
from genkit_rag_pgvector._layout import Binding, Layout, fingerprint_of, one, to_text
from genkit_rag_pgvector._psycopg import Connection, errors, sql
from genkit_rag_pgvector._rows import decode

Embed = Callable[[Sequence[Document]], Awaitable[Vectors]]
_LOCK_TIMEOUT = "2s"
"""The maximum wait for running searches in one attempt; new searches wait behind it."""
_ATTEMPTS = 60
_EAGER = 5
"""After so many rounds the last documents are embedded while writers wait, or steady writers would never let it end."""


class Change:
    """One change of embedder on one connection, which is in autocommit mode.

    Args:
        connection: Holds the lock that keeps others from changing the same store.
        layout: The store's names.
        fingerprint: The embedder to come.
        embed: Gives its vectors, of length 1.
        batch_size: Documents at a time.
    """

    def __init__(
        self, connection: Connection, layout: Layout, fingerprint: Fingerprint, embed: Embed, batch_size: int
    ) -> None:
        self._connection, self._layout = connection, layout
        self._fingerprint, self._embed, self._batch_size = fingerprint, embed, batch_size

    async def run(self) -> tuple[Binding, int]:
        """Re-embed all documents; return the new binding and their number."""
        key = {"key": f"{self._layout.options.schema}.{self._layout.name}.reindex"}
        if not (await one(self._connection, "SELECT pg_try_advisory_lock(hashtextextended(%(key)s, 0))", key))[0]:
            raise GenkitError(
                "ABORTED",
                f"The embedder of the store `{self._layout.name}` is being changed already.",
                hint="Wait until that is done.",
            )
        try:
            return await self._run()
        finally:
            if not self._connection.closed:
                await self._connection.execute("RESET ALL")
                await self._connection.execute("SELECT pg_advisory_unlock(hashtextextended(%(key)s, 0))", key)

    async def _run(self) -> tuple[Binding, int]:
        layout = self._layout
        async with self._connection.transaction():
            now = await layout.binding(self._connection, "FOR UPDATE")
            if now is None:
                return await layout.bind(self._connection, self._fingerprint), 0
            then = Binding(now.generation + 1, self._fingerprint)
            await self._prepare(then)
        await self._connection.execute("SET statement_timeout = 0")
        indexed = False
        for round_ in range(_ATTEMPTS):
            await self._fill(now, then)
            if not indexed:
                indexed = await self._index(now, then)
                continue
            try:
                return then, await self._swap(now, then, eager=round_ >= _EAGER)
            except (_Behind, errors.LockNotAvailable):
                await asyncio.sleep(0.05)
        raise GenkitError(
            "ABORTED",
            f"The store `{layout.name}` was in use all the time: the old embedder stays in force.",
            hint="Run the change again when long searches are over: it goes on where it was.",
        )

    async def _prepare(self, then: Binding) -> None:
        row = await one(
            self._connection,
            self._layout.format("SELECT next FROM {stores} WHERE name = %(name)s"),
            {"name": self._layout.name},
        )
        if row[0] is not None and fingerprint_of(row[0]) == then.fingerprint:
            return  # a killed change to the same embedder goes on
        table = self._layout.table(then.generation)
        await self._connection.execute(self._layout.format("DROP TABLE IF EXISTS {table}", table=table))
        await self._layout.create_table(self._connection, then.generation, then.fingerprint.dimensions)
        await self._connection.execute(
            self._layout.format("UPDATE {stores} SET next = %(next)s::jsonb WHERE name = %(name)s"),
            {"name": self._layout.name, "next": to_text(then.fingerprint)},
        )

    async def _fill(self, now: Binding, then: Binding) -> None:
        """Embed the documents without a row of their version in one pass; later writes are left for the next."""
        after = _FIRST
        while rows := await self._missing(now, then, after):
            after = (rows[-1][0], rows[-1][1])
            documents = [decode(name, *content) for _, name, _, *content in rows]
            vectors = await self._embed(documents)
            await self._keep(now, then, rows, vectors)

    async def _missing(self, now: Binding, then: Binding, after: tuple[str, str]) -> list[tuple[Any, ...]]:
        layout = self._layout
        found = await self._connection.execute(
            layout.format(_MISSING, now=layout.table(now.generation), then=layout.table(then.generation)),
            {"many": self._batch_size, "namespace": after[0], "id": after[1]},
        )
        return await found.fetchall()

    async def _keep(self, now: Binding, then: Binding, rows: Sequence[tuple[Any, ...]], vectors: Vectors) -> None:
        def texts() -> list[str]:
            return ["[" + ",".join(map(repr, vector.tolist())) + "]" for vector in vectors]

        await self._connection.execute(
            self._layout.format(
                _KEEP,
                now=self._layout.table(now.generation),
                then=self._layout.table(then.generation),
                vector=self._layout.of_extension("vector"),
            ),
            {
                "spaces": [row[0] for row in rows],
                "ids": [row[1] for row in rows],
                "versions": [row[2] for row in rows],
                "vectors": await run_in_thread(texts),
            },
        )

    async def _index(self, now: Binding, then: Binding) -> bool:
        count = (
            await one(
                self._connection,
                self._layout.format("SELECT count(*) FROM {then}", then=self._layout.table(then.generation)),
            )
        )[0]
        due = count >= self._layout.options.index_threshold and self._layout.can_index(then.fingerprint.dimensions)
        return await build(self._connection, self._layout, then) if due else True

    async def _swap(self, now: Binding, then: Binding, *, eager: bool) -> int:
        """Activate the next generation; writers wait meanwhile, searches only for the drop."""
        layout, connection = self._layout, self._connection
        parts = {"now": layout.table(now.generation), "then": layout.table(then.generation)}
        async with connection.transaction():
            await connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(_LOCK_TIMEOUT))
            if await layout.binding(connection, "FOR UPDATE") != now:
                raise GenkitError("ABORTED", f"The store `{layout.name}` was changed meanwhile.", hint="Try again.")
            if eager:
                await self._fill(now, then)
            elif await self._missing(now, then, _FIRST):
                raise _Behind
            await connection.execute(layout.format(_DELETE_GONE, **parts))
            await layout.counted(connection, then.generation)
            await layout.set_binding(connection, then)
            await connection.execute(layout.format("DROP TABLE {now}", **parts))
            return int((await one(connection, layout.format("SELECT count(*) FROM {then}", **parts)))[0])


class _Behind(Exception):
    """Documents were written since they were embedded."""


_FIRST = ("", "")
"""Before every document: no id is empty."""
_MISSING = """
SELECT namespace, id, version, kind, content, metadata FROM {now} AS old WHERE NOT EXISTS (
    SELECT FROM {then} AS new WHERE (new.namespace, new.id, new.version) = (old.namespace, old.id, old.version)
) AND (namespace, id) > (%(namespace)s, %(id)s) ORDER BY namespace, id LIMIT %(many)s"""
_KEEP = """
INSERT INTO {then} (namespace, id, kind, content, metadata, facts, words, length, version, embedding)
SELECT namespace, id, kind, content, metadata, facts, words, length, version, made.vector::{vector}
FROM {now} JOIN unnest(%(spaces)s::text[], %(ids)s::text[], %(versions)s::uuid[], %(vectors)s::text[])
    AS made (namespace, id, version, vector) USING (namespace, id, version)
ON CONFLICT (namespace, id) DO UPDATE SET (kind, content, metadata, facts, words, length, version, embedding)
  = (excluded.kind, excluded.content, excluded.metadata, excluded.facts, excluded.words, excluded.length,
     excluded.version, excluded.embedding)"""
_DELETE_GONE = """
DELETE FROM {then} AS new WHERE NOT EXISTS (
    SELECT FROM {now} AS old WHERE (old.namespace, old.id) = (new.namespace, new.id)
)"""
