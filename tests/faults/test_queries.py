"""Queries, options, filters and deletions of any kind, over every embedded store."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from genkit_rag import Document
from tests.faults.apps import App, Kind, both, each, opened, refused

PETS = [
    Document("cats purr", {"year": 2020, "tags": ["soft"], "name": "cat"}, id="cat"),
    Document("dogs bark", {"year": 2021, "tags": [], "name": "dog"}, id="dog"),
    Document("fish swim", {"year": None, "name": "fish"}, id="fish"),
]


@pytest.fixture(params=["memory", "faiss", "chroma"])
async def app(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[App]:
    async with opened(request.param, tmp_path) as made:
        await made.index(PETS)
        made.calls.clear()
        yield made
        assert await made.ids() == ["cat", "dog", "fish"]


MODES: list[dict[str, Any]] = [{"mode": "vector"}, {"mode": "text"}, {"mode": "hybrid"}, {"mmr_lambda": 0.5}]


async def test_a_query_of_nothing_finds_nothing_says_so_and_is_not_embedded(app: App) -> None:
    for query, options in itertools.product(["", " ", "\t\r\n", "\u3000\u2028\x85"], MODES):
        found = await app.ai.retrieve(app.store, query, options)
        assert (list(found), found.notices[0][:11]) == ([], "EMPTY_QUERY")
    assert app.calls == []


async def test_a_query_without_words_to_look_for_finds_nothing_by_words_and_the_nearest_by_vectors(app: App) -> None:
    for query in ("the of and", "?!... -- ()", "\0", "\u200b\ufeff", "☃ → ∞", "\U0010ffff", "zebra"):
        assert await app.found(query, mode="text") == []
        assert len(await app.found(query)) == 3
        assert len(await app.found(query, mode="hybrid")) == 3


async def test_any_string_is_a_query_in_every_mode(app: App) -> None:
    for query in (
        "cats \ud800",
        "\udfff",
        "cats\0zebra",
        "\u202ecats\u202c",
        "👩‍👩‍👧‍👦 cats",
        "e\u0301 é",
        "\ufeffcats",
        "w" * 1_000_000,
        "cats " * 20_000,
        "cats' OR 1=1 --",
        'cats" NEAR zebra',
        "cats* AND (zebra",
        "{cats: [",
        "%s %d {}",
        "\\x00 \\u0000",
    ):
        for options in MODES:
            found = await app.found(query, **options)
            assert set(found) <= {"cat", "dog", "fish"}
            if "cats" in query and len(query) < 100 and options != {"mmr_lambda": 0.5}:
                assert found[0] == "cat"


async def test_k_is_from_nought_to_its_bound_and_more_than_there_are_is_all_there_are(app: App) -> None:
    for options in MODES:
        assert await app.found("cats", k=0, **options) == []
        assert app.calls == []
    for options in MODES:
        found = await app.found("cats", k=10_000, **options)
        assert len(found) == len(set(found)) == (1 if options == {"mode": "text"} else 3)
        assert await app.found("cats", k=1, **options) == ["cat"]


async def test_what_is_no_number_of_documents_is_refused(app: App) -> None:
    for k in (-1, -(10**9), 10_001, 10**9, 2**63, 10**400, True, False, "3", 2.5, 3.0, float("nan"), None, [3]):
        for name in ("k", "limit"):
            await refused(app.found("cats", **{name: k}), "k", status="INVALID_ARGUMENT")
    for wrong in (0, -1, 10_001, True, "3", 2.5):
        await refused(app.found("cats", mode="hybrid", candidates=wrong), "candidates")
    for wrong in (0, -1, 100_001, True, "3", 2.5):
        await refused(app.index(["new"], batch_size=wrong), "batch_size")
    assert app.calls == []


async def test_a_filter_that_cannot_be_meant_is_refused_with_what_there_is(app: App) -> None:
    for filter_, words in (
        ({"year": {"$gtee": 1}}, ["$gtee", "year", "$gte"]),
        ({"$near": {"year": 1}}, ["$near", "$and"]),
        ({"year": {}}, ["year", "empty"]),
        ({"year": {"$in": 3}}, ["$in", "3"]),
        ({"year": {"$exists": "yes"}}, ["$exists", "yes"]),
        ({"year": {"$gt": float("nan")}}, ["$gt", "nan"]),
        ({"year": {"$gt": 2**64}}, ["63 bits"]),
        ({"year": [2020]}, ["year"]),
        ({"$or": []}, ["$or"]),
        ({"$or": [3]}, ["$or", "3"]),
        ({"$not": [3]}, ["$not"]),
        ([3], ["filter"]),
        ("year = 2020", ["filter"]),
    ):
        await refused(app.found("cats", filter=filter_), *words)
        if isinstance(filter_, dict):
            await refused(app.delete(filter=filter_), *words)
    assert app.calls == []


async def test_an_unknown_field_matches_nothing_and_types_never_mix(app: App) -> None:
    for filter_, expected in (
        ({"nothing": 1}, []),
        ({"nothing": {"$gt": 1}}, []),
        ({"nothing": None}, []),
        ({"nothing": {"$ne": 1}}, ["cat", "dog", "fish"]),
        ({"nothing": {"$exists": False}}, ["cat", "dog", "fish"]),
        ({"year": "2020"}, []),
        ({"year": 2020.0}, ["cat"]),
        ({"year": True}, []),
        ({"year": {"$gt": "a"}}, []),
        ({"name": {"$gt": 0}}, []),
        ({"name": {"$lt": "d"}}, ["cat"]),
        ({"year": None}, ["fish"]),
        ({"year": {"$gte": 0}}, ["cat", "dog"]),
        ({"tags": "soft"}, ["cat"]),
        ({"tags": {"$contains": "soft"}}, ["cat"]),
        ({"year.deep": 1}, []),
        ({"name\0": "cat"}, []),
        ({"name": "cat\0"}, []),
        ({"\ud800": 1}, []),
        ({"name": "\ud800"}, []),
    ):
        assert sorted(await app.found("cats", filter=filter_)) == expected, filter_


async def test_names_that_no_store_could_keep_are_refused_wherever_they_are_given(app: App) -> None:
    for name in ("a\0b", "\ud800"):
        await refused(app.found("cats", namespace=name), "namespace")
        await refused(app.index(["new"], namespace=name), "namespace")
        await refused(app.delete(ids=["cat"], namespace=name), "namespace")
        await refused(app.delete(filter={}, namespace=name), "namespace")
        await refused(app.delete(ids=["cat", name]), "ids")
    assert await app.delete(source="\ud800") == 0


# -- deleting


@each
async def test_a_document_that_is_not_there_is_no_error_and_one_that_comes_again_is_found(
    kind: Kind, tmp_path: Path
) -> None:
    async with opened(kind, tmp_path) as app:
        assert await app.delete(ids=["cat"]) == 0  # from a store that was never written
        assert await app.delete(filter={}) == 0
        await app.index(PETS)
        for round_ in range(3):
            assert await app.delete(ids=["cat", "cat", "nobody"]) == 1
            assert await app.delete(ids=["cat"]) == 0
            for options in MODES:
                assert "cat" not in await app.found("cats", **options)
            await app.index([Document(f"cats purr {round_}", {"round": round_}, id="cat")])
            for options in MODES:
                assert (await app.found("cats", **options))[0] == "cat"
            assert await app.found("cats", filter={"round": round_}) == ["cat"]
        assert await app.ids() == ["cat", "dog", "fish"]


@both
async def test_what_is_iterated_may_be_deleted(kind: Kind, tmp_path: Path) -> None:
    async with opened(kind, tmp_path) as app:
        await app.index([Document(f"cat {n}", {"n": n}, id=str(n)) for n in range(40)])
        for left, document in enumerate(await app.ai.retrieve(app.store, "cat", {"k": 20})):
            assert await app.delete(ids=[document.id]) == 1
            assert len(await app.ids()) == 39 - left
            assert document.text == f"cat {document.metadata['n']}"
        for name in await (await app.opened()).ids():
            assert await app.delete(ids=[name]) == 1
        assert await app.found("cat") == []


@both
async def test_searches_during_deletions_give_whole_documents(kind: Kind, tmp_path: Path) -> None:
    async with opened(kind, tmp_path) as app:
        await app.index([Document(f"cat {n}", {"n": n}, id=str(n)) for n in range(60)])

        async def search(options: dict[str, Any]) -> None:
            while len(found := await app.ai.retrieve(app.store, "cat", {"k": 100, **options})) > 20:
                for document in found:
                    assert document.text == f"cat {document.metadata['n']}" == f"cat {document.id}"
                await asyncio.sleep(0)

        async def delete() -> None:
            for n in range(45):
                assert await app.delete(ids=[str(n)]) == 1

        await asyncio.gather(*(search(options) for options in MODES), delete())
        assert len(await app.ids()) == 15
