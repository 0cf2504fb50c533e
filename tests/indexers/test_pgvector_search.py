"""Searching with the approximate index, by words, and while the embedder is being changed."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from genkit_rag import Document, GenkitError
from genkit_rag.plugin_api import Fingerprint, matches, parse_filter
from genkit_rag.testing._stores import unit_vectors
from genkit_rag_pgvector import PgVectorStore
from tests.indexers.postgres import Postgres, needs_postgres
from tests.indexers.postgres import postgres as postgres

pytestmark = needs_postgres
DIMENSIONS = 16
OLD, NEW = Fingerprint("test", "old", DIMENSIONS), Fingerprint("test", "new", 6)
ROOT = Path(__file__).parents[2]
_numbers = itertools.count()


async def opened(postgres: Postgres, name: str | None = None, **options: Any) -> PgVectorStore:
    store = await PgVectorStore.open(name or f"q{next(_numbers)}", postgres.dsn, schema="search", **options)
    await store.bind(OLD)
    return store


# ---- the approximate index


@pytest.mark.parametrize("halfvec", [True, False])
async def test_the_index_finds_the_best_and_always_k_of_them(postgres: Postgres, halfvec: bool) -> None:
    count, k = 8_000, 10
    name, vectors = f"q{next(_numbers)}", unit_vectors(count)
    loading = await opened(postgres, name, halfvec=halfvec, index_threshold=1_000)
    documents = [Document(str(i), {"p": i % 100}, id=f"d{i}") for i in range(count)]
    for start in range(0, count, 2_000):
        await loading.upsert(documents[start : start + 2_000], vectors[start : start + 2_000])
    await loading.upsert(documents[:5], vectors[:5], namespace="tiny")
    await loading.close()  # builds the index that is due
    store = await opened(postgres, name, halfvec=halfvec)
    assert (await store.describe()).details["index"] == f"hnsw, {16 if halfvec else 32} bits"
    for raw in (None, {"p": {"$lt": 80}}, {"p": {"$lt": 10}}, {"p": 3}, {"p": {"$lt": 0}}):
        tree = parse_filter(raw)
        rows = [i for i in range(count) if matches(tree, documents[i].metadata)]
        found = 0
        for query in unit_vectors(30, seed=5):
            (hits,) = await store.search(query[None], k, filter=tree)
            exact = vectors[rows] @ query if rows else np.empty(0)
            best = [f"d{rows[i]}" for i in np.argsort(-exact)[:k]]
            assert len(hits) == len(best), raw
            assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
            assert all(abs(hit.score - vectors[int(hit.id[1:])] @ query) < 1e-5 for hit in hits)
            found += len({hit.id for hit in hits} & set(best))
        assert found >= 0.95 * 30 * min(k, len(rows)), raw
    # Estimates are believed for a while: what they promise is gone, and those that are left are found all the same.
    await store.delete(filter=parse_filter({"p": {"$gte": 1, "$lt": 80}}))
    (hits,) = await store.search(unit_vectors(1), 200, filter=parse_filter({"p": {"$lt": 80}}))
    assert len(hits) == 80
    (hits,) = await store.search(unit_vectors(1), 10, filter=parse_filter({"p": {"$lt": 80}}))
    assert len(hits) == 10
    await store.delete(filter=parse_filter({"p": {"$lt": 80}, "$not": {"p": {"$exists": False}}}), namespace="tiny")
    await store.delete(ids=[f"d{i}" for i in range(0, 7_900, 100)])
    (hits,) = await store.search(unit_vectors(1), 10, filter=parse_filter({"p": {"$lt": 80}}))
    assert [hit.id for hit in hits] == ["d7900"]
    await store.upsert(documents[:5], vectors[:5], namespace="tiny")
    (hits,) = await store.search(unit_vectors(1), 10, namespace="tiny")
    assert len(hits) == 5
    (hits,) = await store.search(unit_vectors(1), 1_500)
    assert len(hits) == 1_500
    await store.close()


async def test_what_a_killed_building_left_is_built_anew(postgres: Postgres) -> None:
    store = await opened(postgres, index_threshold=100)
    await store.upsert([Document(str(i), id=str(i)) for i in range(200)], unit_vectors(200))
    await asyncio.sleep(0)
    table = (await store.describe()).details["table"]
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(
            f'CREATE INDEX "{table}_hnsw" ON search."{table}" USING hnsw ((embedding::halfvec(16)) halfvec_ip_ops)'
        )
        connection.execute(
            f"UPDATE pg_index SET indisvalid = FALSE WHERE indexrelid = 'search.\"{table}_hnsw\"'::regclass"
        )
        assert (await store.describe()).details["index"] == "none (exact)"
        await store.close()
        row = connection.execute(
            f"SELECT indisvalid FROM pg_index WHERE indexrelid = 'search.\"{table}_hnsw\"'::regclass"
        ).fetchone()
    assert row == (True,)


# ---- by words


def bm25(query: list[str], documents: list[list[str]]) -> list[float]:
    counts = [Counter(words) for words in documents]
    average = sum(map(len, documents)) / len(documents)
    scores = [0.0] * len(documents)
    for term in query:
        having = sum(term in count for count in counts)
        idf = math.log(1 + (len(documents) - having + 0.5) / (having + 0.5))
        for row, count in enumerate(counts):
            often = count[term]
            scores[row] += idf * often * 2.2 / (often + 1.2 * (0.25 + 0.75 * len(documents[row]) / average))
    return scores


async def test_scores_of_words_are_bm25_within_the_namespace(postgres: Postgres) -> None:
    store, dice = await opened(postgres), random.Random(3)
    terms = [f"zq{letter}x" for letter in "abcdefgh"]
    texts = [dice.choices(terms, weights=[40, 20, 9, 5, 3, 2, 1, 1], k=dice.randint(1, 60)) for _ in range(120)]
    texts.append([terms[0]] * 200)
    documents = [Document(" ".join(words), {"i": i}, id=str(i)) for i, words in enumerate(texts)]
    await store.upsert(documents, unit_vectors(len(documents)), namespace="mine")
    others = [Document(terms[-1] * 3, id=str(i)) for i in range(50)]
    await store.upsert(others, unit_vectors(50), namespace="theirs")
    for query in (terms[:2], terms[4:], [terms[0]], terms):
        expected = bm25(query, texts)
        hits = await store.search_text(" ".join(query), 500, namespace="mine")
        assert {hit.id for hit in hits} == {str(i) for i, score in enumerate(expected) if score > 0}
        assert [hit.score for hit in hits] == pytest.approx([expected[int(hit.id)] for hit in hits], rel=1e-3)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        some = await store.search_text(" ".join(query), 500, namespace="mine", filter=parse_filter({"i": {"$lt": 60}}))
        assert [(hit.id, hit.score) for hit in some] == [(hit.id, hit.score) for hit in hits if int(hit.id) < 60]
    await store.close()


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("call std::vector.push_back() twice", "push"),
        ("edit /etc/hosts.conf", "hosts"),
        ("see http://example.org/deep/path?x=1", "deep"),
        ("wor\0ds", "ds"),
        ("it's a fox's den", "FOX"),
        ("cafe\u0301 noir", "café"),
        ("'quoted' back\\slash", "'back\\' & ! | <-> :*"),
    ],
)
async def test_words_are_what_stands_between_signs(postgres: Postgres, text: str, query: str) -> None:
    store = await opened(postgres)
    await store.upsert([Document(text, id="d"), Document("other", id="o")], unit_vectors(2))
    assert [hit.id for hit in await store.search_text(query, 5)] == ["d"]
    await store.close()


async def test_a_text_beyond_the_limits_of_a_tsvector_is_stored_and_found(postgres: Postgres) -> None:
    store = await opened(postgres)
    text = " ".join(f"w{i}" for i in range(300_000)) + " " + "x" * 5_000
    await store.upsert([Document(text, id="long")], unit_vectors(1))
    (document,) = await store.get(["long"])
    assert document is not None
    assert document.text == text
    assert [hit.id for hit in await store.search_text("w77 " * 5_000, 5)] == ["long"]
    assert await store.search_text("\ud800", 5) == []
    await store.close()


# ---- another embedder


def counting(calls: list[int], dimensions: int = NEW.dimensions) -> Any:
    async def embed(documents: Sequence[Document]) -> Any:
        calls.append(len(documents))
        return np.stack([np.roll(np.eye(dimensions, dtype=np.float32)[0], len(d.text)) for d in documents])

    return embed


async def test_a_new_embedder_comes_into_force_at_once_and_for_all(postgres: Postgres) -> None:
    store = await opened(postgres, index_threshold=100)
    other = await opened(postgres, store.name)
    for space in ("", "b"):
        await store.upsert(
            [Document("x" * (i % 6), id=f"d{i}") for i in range(150)], unit_vectors(150), namespace=space
        )
    calls: list[int] = []
    during: list[int] = []

    async def embed(documents: Sequence[Document]) -> Any:
        if len(calls) == 1:
            (hits,) = await other.search(unit_vectors(1), 300)
            during.append(len(hits))
            await other.upsert([Document("xx", id="d0"), Document("xxx", id="late")], unit_vectors(2))
            await other.delete(ids=["d1", "d149"])
        return await counting(calls)(documents)

    assert await store.reindex(NEW, embed, batch_size=64) == 299
    assert during == [150]
    assert max(calls) == 64
    info = await store.describe()
    assert (info.fingerprint, info.count, info.details["index"]) == (NEW, 299, "hnsw, 16 bits")
    (hits,) = await store.search(np.eye(6, dtype=np.float32)[3][None], 1000)
    right = {hit.id for hit in hits if hit.score > 0.99}
    assert right == {f"d{i}" for i in range(150) if i % 6 == 3} | {"late"}
    for call in (
        other.search(unit_vectors(1), 3),
        other.upsert([Document("t", id="t")], unit_vectors(1)),
        other.vectors(["d2"]),
    ):
        with pytest.raises(GenkitError, match=r"vectors of test/new.*embedder is test/old"):
            await call
    assert (await other.get(["d2"]))[0] is not None
    assert await other.count() == await store.count() == 299
    assert await store.delete(filter=parse_filter({})) == 149
    assert await store.count() == 150
    await asyncio.gather(store.close(), other.close())


async def test_a_killed_change_leaves_the_old_embedder_and_goes_on_where_it_was(postgres: Postgres) -> None:
    store = await opened(postgres)
    vectors = unit_vectors(100)
    await store.upsert([Document(f"t{i}", id=f"d{i}") for i in range(100)], vectors)
    program = f"""
import asyncio, os, numpy as np
from genkit_rag.plugin_api import Fingerprint
from genkit_rag_pgvector import PgVectorStore
calls = []
async def embed(documents):
    calls.append(1)
    if len(calls) == 4:
        os._exit(9)
    return np.ones((len(documents), 6), np.float32)
async def main():
    store = await PgVectorStore.open({store.name!r}, {postgres.dsn!r}, schema="search")
    await store.reindex(Fingerprint("test", "new", 6), embed, batch_size=10)
asyncio.run(main())
"""
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program], cwd=ROOT, check=False)
    assert done.returncode == 9
    assert [hit.id for (hit,) in await store.search(vectors, 1)] == [f"d{i}" for i in range(100)]
    assert (await store.describe()).fingerprint == OLD
    calls: list[int] = []
    assert await store.reindex(NEW, counting(calls), batch_size=10) == 100
    assert sum(calls) == 70
    assert (await store.describe()).fingerprint == NEW
    await store.close()


async def test_an_embedder_that_fails_changes_nothing(postgres: Postgres) -> None:
    store = await opened(postgres)
    await store.upsert([Document("t", id="d")], unit_vectors(1))

    async def fails(documents: Sequence[Document]) -> Any:
        raise RuntimeError("no more quota")

    for embed, words in ((fails, "quota"), (counting([], 5), "6 dimensions")):
        with pytest.raises((RuntimeError, GenkitError), match=words):
            await store.reindex(NEW, embed)
        (hits,) = await store.search(unit_vectors(1), 1)
        assert hits[0].id == "d"
    third = Fingerprint("test", "third", 7)  # another one than the one begun
    assert await store.reindex(third, counting([], 7)) == 1
    assert (await store.describe()).fingerprint == third
    await store.close()


async def test_only_one_change_goes_on_at_a_time(postgres: Postgres) -> None:
    store = await opened(postgres)
    await store.upsert([Document("t", id="d")], unit_vectors(1))
    second = await opened(postgres, store.name)

    async def embed(documents: Sequence[Document]) -> Any:
        with pytest.raises(GenkitError, match="being changed already"):
            await second.reindex(NEW, counting([]))
        return await counting([])(documents)

    assert await store.reindex(NEW, embed) == 1
    await asyncio.gather(store.close(), second.close())
