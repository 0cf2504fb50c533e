"""The contract of stores on a real PostgreSQL, and the plugin over it."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import psycopg
import pytest

from genkit_rag import Document, Genkit, GenkitError
from genkit_rag.plugin_api import Fingerprint, parse_filter
from genkit_rag.testing import FakeEmbedder, VectorStoreContract
from genkit_rag_pgvector import PgVector, PgVectorConfig, PgVectorStore
from tests.indexers.postgres import PASSWORD, Postgres, needs_postgres
from tests.indexers.postgres import postgres as postgres

pytestmark = needs_postgres
FINGERPRINT = Fingerprint("test", "m", 4)
_numbers = itertools.count()


def one_name() -> str:
    return f"s{next(_numbers)}"


@pytest.fixture
async def store(postgres: Postgres) -> AsyncIterator[PgVectorStore]:
    made = await PgVectorStore.open(one_name(), postgres.dsn)
    yield made
    await made.close()


class TestPgVectorStore(VectorStoreContract):
    tolerance = 1e-6

    @pytest.fixture
    async def store(self, postgres: Postgres) -> AsyncIterator[PgVectorStore]:
        made = await PgVectorStore.open(one_name(), postgres.dsn)
        yield made
        await made.close()


class TestPgVectorStoreWith32BitsAndAnotherSchema(VectorStoreContract):
    tolerance = 1e-6

    @pytest.fixture
    async def store(self, postgres: Postgres) -> AsyncIterator[PgVectorStore]:
        made = await PgVectorStore.open(one_name(), postgres.dsn, schema='we"ird; --', halfvec=False, pool_size=2)
        yield made
        await made.close()


def application(postgres: Postgres, stores: list[str], **options: Any) -> Genkit:
    return Genkit(plugins=[FakeEmbedder(), PgVector(stores, dsn=postgres.dsn, embedder="fake/words", **options)])


async def test_documents_go_in_by_the_indexer_and_come_out_by_the_retriever(postgres: Postgres) -> None:
    texts = ["the capital of France is Paris", "a fox runs over the lawn", "Tokyo is the capital of Japan"]
    name = one_name()
    async with application(postgres, [name]) as ai:
        await ai.index(f"pgvector/{name}", [Document(text, {"n": i}) for i, text in enumerate(texts)])
        for mode in ("vector", "text", "hybrid"):
            found = await ai.retrieve(f"pgvector/{name}", "what is the capital of Japan?", {"k": 2, "mode": mode})
            assert (found[0].text, found[0].metadata, len(found)) == (texts[2], {"n": 2}, 2)
    async with application(postgres, [name]) as ai:
        found = await ai.retrieve(f"pgvector/{name}", "fox", options={"k": 1, "filter": {"n": {"$lt": 2}}})
        assert found[0].text == texts[1]


async def test_what_jsonb_and_text_cannot_hold_comes_back_as_it_was(store: PgVectorStore) -> None:
    metadata = {"nul": "a\0b", "one": 1.0, "big": 2**70, "tiny": 5e-324, "float": 2.0**62, "k\0": [1.0, -0.0]}
    await store.bind(FINGERPRINT)
    await store.upsert([Document("text\0with NUL", metadata, id="a")], np.ones((1, 4), np.float32))
    (document,) = await store.get(["a"])
    assert document is not None
    assert document.text == "text\0with NUL"
    assert json.dumps(document.metadata) == json.dumps(metadata)
    for raw in ({"nul": "a\0b"}, {"nul": {"$contains": "\0"}}, {"one": 1}, {"float": 2**62}, {"k\0": 0}):
        assert await store.ids(filter=parse_filter(raw)) == ["a"]
    assert await store.ids(filter=parse_filter({"float": 4611686018427388000})) == []


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (Document("x", {"d": object()}), "object"),
        (Document("x", {"f": float("nan")}), "nan"),
        (Document("x", {1: 2}), "key 1"),  # type: ignore[dict-item]
        (Document("\ud800"), "surrogate"),
        (Document("x", id=""), "id"),
        (Document("x", id="a\0"), "NUL"),
        (Document("x", id="x" * 2001), "2000 bytes"),
    ],
)
async def test_what_could_not_come_back_is_refused_by_name(
    store: PgVectorStore, document: Document, words: str
) -> None:
    await store.bind(FINGERPRINT)
    with pytest.raises(GenkitError, match=words) as caught:
        await store.upsert([Document("fine", id="fine"), document], np.ones((2, 4), np.float32))
    assert caught.value.status == "INVALID_ARGUMENT"
    assert await store.count() == 0


async def test_a_zero_vector_is_refused_by_its_document(store: PgVectorStore) -> None:
    await store.bind(FINGERPRINT)
    with pytest.raises(GenkitError, match="'bad' is zero"):
        await store.upsert([Document("x", id="bad")], np.zeros((1, 4), np.float32))
    with pytest.raises(GenkitError, match="4 dimensions"):
        await store.upsert([Document("x", id="bad")], np.ones((1, 5), np.float32))


async def test_counts_follow_writes_of_every_kind(postgres: Postgres, store: PgVectorStore) -> None:
    await store.bind(FINGERPRINT)
    for space in ("", "a"):
        documents = [Document(f"word{i} " * (i + 1), {"i": i}, id=str(i)) for i in range(6)]
        await store.upsert(documents, np.ones((6, 4), np.float32), namespace=space)
    await store.upsert([Document("fewer", id="5"), Document("new", id="6")], np.ones((2, 4), np.float32))
    await store.delete(filter=parse_filter({"i": {"$lt": 2}}))
    assert (await store.count(), await store.count(namespace=""), await store.count(namespace="none")) == (11, 5, 0)
    with psycopg.connect(postgres.dsn) as connection:
        counted = connection.execute(
            "SELECT namespace, documents, words FROM genkit_rag.genkit_rag_counts WHERE store = %s ORDER BY 1",
            [store.name],
        ).fetchall()
    assert counted == [("", 5, 3 + 4 + 5 + 1 + 1), ("a", 6, 21)]


def test_a_store_opens_once_for_event_loops_in_many_threads(postgres: Postgres) -> None:
    name = one_name()
    ai = application(postgres, [name], pool_size=2)
    together = threading.Barrier(6)

    def write(number: int) -> None:
        together.wait()
        asyncio.run(ai.index(f"pgvector/{name}", [f"document {number}"]))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(6)))

    async def finish() -> int:
        async with ai:
            return len(await ai.retrieve(f"pgvector/{name}", "document", {"k": 10}))

    assert asyncio.run(finish()) == 6


async def test_stores_that_open_at_once_make_their_tables_once(postgres: Postgres) -> None:
    stores = await asyncio.gather(
        *(PgVectorStore.open(name, postgres.dsn, schema="fresh", pool_size=1) for name in ["x", "y"] * 4)
    )
    await asyncio.gather(*(store.bind(FINGERPRINT) for store in stores))
    await stores[0].upsert([Document("t", id="d")], np.ones((1, 4), np.float32))
    assert [await store.count() for store in stores] == [1, 0] * 4
    await asyncio.gather(*(store.close() for store in stores))


async def test_a_store_of_another_layout_or_a_newer_format_is_refused(postgres: Postgres) -> None:
    name = one_name()
    await (await PgVectorStore.open(name, postgres.dsn)).close()
    for change in ({"halfvec": False}, {"language": "german"}):
        with pytest.raises(GenkitError, match="was made with") as caught:
            await PgVectorStore.open(name, postgres.dsn, **change)
        assert caught.value.status == "FAILED_PRECONDITION"
    with psycopg.connect(postgres.dsn) as connection:
        connection.execute("UPDATE genkit_rag.genkit_rag_stores SET format = 99 WHERE name = %s", [name])
    with pytest.raises(GenkitError, match="format 99"):
        await PgVectorStore.open(name, postgres.dsn)


@pytest.mark.parametrize("name", ["", "../etc", "a/b", 'x"; DROP TABLE y; --', "x" * 33, ".hidden", "é"])
def test_a_store_name_that_is_no_table_name_is_refused_at_once(name: str) -> None:
    with pytest.raises(GenkitError, match="`name`"):
        PgVector([name], dsn="")


@pytest.mark.parametrize("change", [{"halfvek": 1}, {"pool_size": 0}, {"schema": "x" * 64}, {"statement_timeout": -1}])
def test_an_option_that_is_wrong_is_refused_at_once(change: dict[str, Any]) -> None:
    with pytest.raises(GenkitError, match=next(iter(change))) as caught:
        PgVector(dsn="", **change)
    assert caught.value.status == "INVALID_ARGUMENT"


async def test_an_unknown_language_is_refused_with_those_there_are(postgres: Postgres) -> None:
    with pytest.raises(GenkitError, match=r"klingon.*german"):
        await PgVectorStore.open(one_name(), postgres.dsn, language="klingon")


async def test_a_dsn_is_never_shown(postgres: Postgres) -> None:
    for malformed in (f"postgresql://u:{PASSWORD}@[::1/x", f"password={PASSWORD} nonsense"):
        with pytest.raises(GenkitError) as caught:
            PgVector(dsn=malformed)
        assert caught.value.status == "INVALID_ARGUMENT"
        assert PASSWORD not in f"{caught.value!s} {caught.value!r} {caught.value.__cause__!r}"
    plugin = PgVector(dsn=postgres.tcp)
    assert PASSWORD not in repr(plugin) + repr(PgVectorConfig()) + repr(plugin.options)


def test_the_dsn_comes_from_the_environment(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", postgres.dsn)
    name = one_name()

    async def use() -> int:
        async with Genkit(plugins=[FakeEmbedder(), PgVector([name], embedder="fake/words")]) as ai:
            await ai.index(f"pgvector/{name}", ["a document"])
            return len(await ai.retrieve(f"pgvector/{name}", "document"))

    assert asyncio.run(use()) == 1
