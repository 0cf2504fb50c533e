"""The server goes away, refuses, is slow, is shared: errors with a status and a fix, and nothing half done."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from genkit_rag import Document, GenkitError
from genkit_rag.plugin_api import Fingerprint, parse_filter
from genkit_rag_pgvector import PgVectorStore
from tests.indexers.postgres import PASSWORD, Postgres, needs_postgres, running
from tests.indexers.postgres import postgres as postgres

pytestmark = needs_postgres
FINGERPRINT = Fingerprint("test", "m", 4)
ROOT = Path(__file__).parents[2]
ONES = np.ones((1, 4), np.float32)
_numbers = itertools.count()


@pytest.fixture
def own() -> Iterator[Postgres]:
    """A server that a test may stop."""
    with running() as started:
        yield started


async def opened(postgres: Postgres, **options: Any) -> PgVectorStore:
    store = await PgVectorStore.open(f"e{next(_numbers)}", postgres.dsn, schema="server", **options)
    await store.bind(FINGERPRINT)
    return store


async def fails(awaitable: Any) -> GenkitError:
    with pytest.raises(GenkitError) as caught:
        await awaitable
    assert PASSWORD not in f"{caught.value!s} {caught.value!r} {caught.value.__cause__!r}"
    assert caught.value.hint
    return caught.value


async def test_a_server_that_restarts_is_found_again(own: Postgres) -> None:
    store = await opened(own, pool_size=3)
    documents = [Document(f"text {i}", id=f"d{i}") for i in range(30)]
    await store.upsert(documents, np.random.default_rng(0).standard_normal((30, 4)).astype(np.float32))
    await asyncio.gather(*(store.search(ONES, 3) for _ in range(6)))  # several connections stand
    own.stop()
    own.start()
    assert len((await store.search(ONES, 30))[0]) == 30
    own.stop()
    error = await fails(store.search(ONES, 3))
    assert error.status == "UNAVAILABLE"
    assert str(own.port) in error.message
    assert (await fails(store.upsert(documents, np.ones((30, 4), np.float32)))).status == "UNAVAILABLE"
    own.start()
    await asyncio.gather(*(store.upsert([Document("new", id=f"n{i}")], ONES) for i in range(6)))
    assert await store.count() == 36
    await store.close()


async def test_what_was_acknowledged_outlives_a_crash_of_the_server(own: Postgres) -> None:
    import signal

    own.stop()
    own.start(fsync="on")
    store = await opened(own)
    for number in range(20):
        await store.upsert([Document(f"text {number}", id=f"{number}-{i}") for i in range(5)], np.tile(ONES, (5, 1)))
    own.stop(signal.SIGQUIT)
    own.start()
    assert await store.count() == 100
    assert len((await store.search(ONES, 200))[0]) == 100
    assert len(await store.search_text("text", 200)) == 100
    await store.close()


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    error = await fails(PgVectorStore.open("docs", f"postgresql://u:{PASSWORD}@127.0.0.1:9/x"))
    assert error.status == "UNAVAILABLE"
    assert "127.0.0.1:9" in error.message


@pytest.mark.network
async def test_wrong_credentials_are_told_apart(postgres: Postgres) -> None:
    base = f"127.0.0.1:{postgres.port}"
    for dsn, status in (
        (f"postgresql://postgres:wrong{PASSWORD}@{base}/postgres", "UNAUTHENTICATED"),
        (f"postgresql://postgres@{base}/postgres", "UNAUTHENTICATED"),
        (f"postgresql://postgres:{PASSWORD}@{base}/nothing", "NOT_FOUND"),
    ):
        assert (await fails(PgVectorStore.open("docs", dsn))).status == status
    store = await PgVectorStore.open("docs", postgres.tcp, schema="tcp")
    await store.close()


async def test_rights_and_extensions_that_are_missing_are_said(postgres: Postgres) -> None:
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute("CREATE DATABASE bare")
        connection.execute("CREATE ROLE guest LOGIN")
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    guest = postgres.dsn.replace("user=postgres", "user=guest")
    error = await fails(PgVectorStore.open("docs", guest.replace("dbname=postgres", "dbname=bare")))
    assert error.status == "FAILED_PRECONDITION"
    assert "CREATE EXTENSION vector" in str(error)
    assert (await fails(PgVectorStore.open("docs", guest, schema="nowhere"))).status == "PERMISSION_DENIED"


async def test_a_reader_needs_no_right_to_write(postgres: Postgres) -> None:
    store = await opened(postgres)
    await store.upsert([Document("a text", id="d")], ONES)
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute("CREATE ROLE reader LOGIN")
        connection.execute("GRANT USAGE ON SCHEMA server TO reader")
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA server TO reader")
    for dsn, status in (
        (postgres.dsn.replace("user=postgres", "user=reader"), "PERMISSION_DENIED"),
        (f"{postgres.dsn} options='-c default_transaction_read_only=on'", "FAILED_PRECONDITION"),
    ):
        reader = await PgVectorStore.open(store.name, dsn, schema="server")
        await reader.bind(FINGERPRINT)
        assert len((await reader.search(ONES, 3, filter=parse_filter({"x": {"$ne": 1}})))[0]) == 1
        assert len(await reader.search_text("text", 3)) == 1
        assert (await fails(reader.upsert([Document("b", id="e")], ONES))).status == status
        assert (await fails(reader.delete(ids=["d"]))).status == status
        await reader.close()
    assert await store.count() == 1
    await store.close()


async def test_a_busy_pool_and_a_slow_statement_are_said(postgres: Postgres) -> None:
    store = await opened(postgres, pool_size=1, pool_timeout=0.2, statement_timeout=0.3)
    await store.upsert([Document("t", id="d")], ONES)
    with psycopg.connect(postgres.dsn) as blocker:
        blocker.execute(f'LOCK TABLE server."{(await store.describe()).details["table"]}"')
        slow = asyncio.ensure_future(fails(store.get(["d"])))
        await asyncio.sleep(0.05)
        exhausted = await fails(store.get(["d"]))
        assert exhausted.status == "RESOURCE_EXHAUSTED"
        assert "pool_size" in str(exhausted)
        assert (await slow).status == "DEADLINE_EXCEEDED"
    assert (await store.get(["d"]))[0] is not None
    await store.close()


async def test_cancelled_calls_leave_no_connection_out_and_no_half_batch(postgres: Postgres) -> None:
    store = await opened(postgres, pool_size=2, pool_timeout=5)
    documents = [Document("word " * 20, {"i": i}, id=f"d{i}") for i in range(400)]
    vectors = np.random.default_rng(0).standard_normal((400, 4)).astype(np.float32)
    for step in range(25):
        calls: list[Any] = [
            asyncio.ensure_future(store.upsert(documents, vectors, namespace=f"n{step}")),
            asyncio.ensure_future(store.search(vectors[:20], 10)),
            asyncio.ensure_future(store.search_text("word", 10)),
        ]
        await asyncio.sleep(0.003 * step)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert await store.count(namespace=f"n{step}") in (0, 400)
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        busy = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'genkit_rag' AND state <> 'idle'"
        ).fetchone()
    assert busy == (0,)
    await asyncio.gather(*(store.search(vectors[:1], 3) for _ in range(10)))
    await store.close()


async def test_two_processes_write_one_store(postgres: Postgres) -> None:
    store = await opened(postgres)
    program = f"""
import asyncio, sys, numpy as np
from genkit_rag.plugin_api import Document, Fingerprint
from genkit_rag_pgvector import PgVectorStore
async def main():
    store = await PgVectorStore.open({store.name!r}, {postgres.dsn!r}, schema="server")
    await store.bind(Fingerprint("test", "m", 4))
    me = sys.argv[1]
    for number in range(20):
        own = [Document(me, id=f"{{me}}-{{number}}-{{i}}") for i in range(10)]
        shared = [Document(me, {{"round": number}}, id=f"shared-{{i}}") for i in range(10)]
        both = own + (shared if me == "a" else shared[::-1])
        await store.upsert(both, np.random.default_rng(number).standard_normal((20, 4)).astype(np.float32))
        assert await store.count() >= 20
    await store.close()
asyncio.run(main())
"""
    processes = [await asyncio.create_subprocess_exec(sys.executable, "-c", program, name, cwd=ROOT) for name in "ab"]
    assert [await asyncio.wait_for(process.wait(), 60) for process in processes] == [0, 0]
    assert await store.count() == 410
    shared = [document for document in await store.get([f"shared-{i}" for i in range(10)]) if document is not None]
    assert {(document.text, document.metadata["round"]) for document in shared} <= {("a", 19), ("b", 19)}
    assert len({document.text for document in shared}) == 1  # whole batches
    await store.close()


HOSTILE = [
    "'; DROP TABLE x; --",
    '"; SELECT 1; --',
    "%s %(x)s {0} {table}",
    "a$1 \\ E'\\''",
    "a' OR '1'='1",
    "a $$ --",
    "/*",
]


@pytest.mark.parametrize("text", HOSTILE)
async def test_what_looks_like_sql_is_text(postgres: Postgres, text: str) -> None:
    store = await opened(postgres)
    await store.upsert([Document(text, {text: text, "l": [text]}, id=text)], ONES, namespace=text)
    await store.upsert([Document("other", {"l": ["o"]}, id="o")], ONES, namespace=text)
    for raw in (
        {text: text},
        {"l": text},
        {text: {"$contains": text}},
        {text: {"$gte": text}},
        {"l": {"$in": [text]}},
        {text: {"$exists": True}},
        {"$not": {text: {"$ne": text}}},
    ):
        tree = parse_filter(raw)
        assert await store.ids(filter=tree, namespace=text) == [text]
        (hits,) = await store.search(ONES, 5, filter=tree, namespace=text)
        assert [hit.id for hit in hits] == [text]
        assert await store.ids(filter=tree) == []
    await store.search_text(text, 5, namespace=text)
    (document,) = await store.get([text], namespace=text)
    assert document is not None
    assert (document.text, document.metadata) == (text, {text: text, "l": [text]})
    assert await store.delete(ids=[text], namespace=text) == 1
    assert await store.count() == 1
    await store.close()
