"""Looking inside a store through its `/util/<plugin>/<store>/...` actions, on the wire as the developer UI does."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genkit_rag import Genkit
from genkit_rag._rag.stores.projection import Axes
from genkit_rag._rag.stores.sources import pieces
from genkit_rag.ingest import Splitter
from genkit_rag.plugin_api import Document, GenkitError
from genkit_rag.testing import FakeEmbedder
from genkit_rag_faiss import Faiss
from genkit_rag_memory import Memory

WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]


def documents(count: int = 60) -> list[Document]:
    return [
        Document(
            f"{WORDS[i % 10]} {WORDS[i // 10]} text number {i}",
            {
                "number": i,
                "word": WORDS[i % 10],
                "tenant": "ab"[i % 2],
                "tags": [WORDS[i // 10], "all"],
                "source": f"s{i % 3}.md",
            },
            id=f"d{i:02}",
        )
        for i in range(count)
    ]


async def look(ai: Genkit, verb: str, store: str = "memory/docs", context: Any = None, **request: Any) -> Any:
    action = await ai.registry.get("util", f"{store}/{verb}")
    return await action.run_json(request, context=context)


@pytest.fixture
async def full(ai: Genkit) -> Genkit:
    await ai.index("memory/docs", documents())
    return ai


@pytest.fixture
async def tenants(embedder: FakeEmbedder) -> AsyncIterator[Genkit]:
    """A store whose callers see only what belongs to the tenant in their context."""
    store = Memory(["docs"], embedder=embedder.embedder, required_filter=lambda ctx: {"tenant": ctx.context["tenant"]})
    async with Genkit(plugins=[embedder, store]) as ai:
        for tenant in "ab":
            mine = [one for one in documents() if one.metadata["tenant"] == tenant]
            await ai.index("memory/docs", mine, context={"tenant": tenant})
        yield ai


# -- stats


async def test_stats_say_what_there_is_and_that_it_is_well(full: Genkit) -> None:
    await full.index("memory/docs", documents(5), {"namespace": "other"})
    found = await look(full, "stats")
    assert (found["name"], found["count"]) == ("memory/docs", 65)
    assert found["namespaces"] == [{"name": "", "count": 60}, {"name": "other", "count": 5}]
    assert found["health"] == {"status": "ok", "problems": [], "verified": False}
    assert found["fingerprint"]["dimensions"] > 0
    assert found["scores"]["vector"] == {"kind": "cosine", "lowest": -1, "highest": 1}
    assert found["scores"]["text"] == {"kind": "bm25", "lowest": 0}
    assert found["modes"] == ["vector", "text", "hybrid"]
    assert not found["scoped"]


async def test_stats_of_a_damaged_store_tell_of_it(tmp_path: Path, embedder: FakeEmbedder) -> None:
    async with Genkit(plugins=[embedder, Faiss(["docs"], path=tmp_path, embedder=embedder.embedder)]) as ai:
        await ai.index("faiss/docs", documents())
        found = await look(ai, "stats", "faiss/docs", verify=True)
        assert (found["health"]["status"], found["health"]["verified"]) == ("ok", True)
        assert found["bytes"] > 10_000
    database = tmp_path / "docs" / "store.db"
    raw = bytearray(database.read_bytes())
    at = raw.index(b"text number 17")
    raw[at : at + 4] = b"TEXT"
    database.write_bytes(raw)
    async with Genkit(plugins=[embedder, Faiss(["docs"], path=tmp_path, embedder=embedder.embedder)]) as ai:
        found = await look(ai, "stats", "faiss/docs", verify=True)
        assert found["health"]["status"] == "damaged"
        assert "d17" in str(found["health"]["problems"])
    database.write_bytes(b"not a database at all" * 1000)
    async with Genkit(plugins=[embedder, Faiss(["docs"], path=tmp_path, embedder=embedder.embedder)]) as ai:
        found = await look(ai, "stats", "faiss/docs")
        assert found["health"]["status"] == "damaged"
        assert "count" not in found


async def test_stats_tell_when_the_embedder_is_another_one_or_is_not_there(tmp_path: Path) -> None:
    one, other = FakeEmbedder(name="one"), FakeEmbedder(name="other")
    async with Genkit(plugins=[one, Faiss(["docs"], path=tmp_path, embedder=one.embedder)]) as ai:
        await ai.index("faiss/docs", documents(3))
    async with Genkit(plugins=[other, Faiss(["docs"], path=tmp_path, embedder=other.embedder)]) as ai:
        assert (await look(ai, "stats", "faiss/docs"))["health"]["status"] == "mismatch"
    async with Genkit(plugins=[other, Faiss(["docs"], path=tmp_path, embedder="nobody/x")]) as ai:
        found = await look(ai, "stats", "faiss/docs")
        assert found["health"]["status"] == "unavailable"
        assert found["count"] == 3


# -- pages and neighbours


async def test_pages_give_everything_once_and_count_when_asked(full: Genkit) -> None:
    seen: list[str] = []
    after = None
    while True:
        page = await look(full, "page", limit=13, after=after, filter={"number": {"$gte": 20}}, count=True)
        assert page["total"] == 40
        seen += [document["metadata"]["id"] for document in page["documents"]]
        after = page.get("next")
        if after is None:
            break
    assert sorted(seen) == [f"d{i}" for i in range(20, 60)]
    assert "total" not in await look(full, "page")
    some = await look(full, "page", ids=["d07", "gone", "d03"])
    assert [one["metadata"]["id"] for one in some["documents"]] == ["d07", "d03"]
    assert len((await look(full, "page", prefix="d1"))["documents"]) == 10


@pytest.mark.parametrize(
    "request_",
    [{"limit": 0}, {"limit": 201}, {"ids": ["x"] * 201}, {"filter": {"a": {"$x": 1}}}, {"k": 1}],
)
async def test_a_page_out_of_bounds_is_refused(full: Genkit, request_: Any) -> None:
    with pytest.raises(GenkitError, match="INVALID_ARGUMENT"):
        await look(full, "page", **request_)


async def test_neighbours_are_the_nearest_and_not_the_document_itself(full: Genkit) -> None:
    await full.index("memory/docs", [Document("gamma alpha text number 2", {"copy": True}, id="twin")])
    found = (await look(full, "neighbours", id="d02", k=3))["documents"]
    assert found[0]["metadata"]["id"] == "twin"
    assert found[0]["metadata"]["score"] == pytest.approx(1, abs=1e-5)
    assert "d02" not in [one["metadata"]["id"] for one in found]
    with pytest.raises(GenkitError, match="NOT_FOUND"):
        await look(full, "neighbours", id="nobody")


# -- facets


async def test_facets_show_fields_types_and_the_most_frequent_values(full: Genkit) -> None:
    mixed = [Document("x", {"word": None, "deep": {"flag": True}, "number": "seven"}, id="m")]
    await full.index("memory/docs", mixed)
    found = await look(full, "facets", values=3)
    assert (found["sampled"], found["total"]) == (61, 61)
    facets = {one["field"]: one for one in found["facets"]}
    assert facets["number"]["types"] == {"number": 60, "string": 1}
    assert (facets["number"]["lowest"], facets["number"]["highest"]) == (0, 59)
    assert facets["tags"]["many"]
    assert facets["tags"]["values"][0] == {"value": "all", "count": 60}
    assert facets["deep.flag"]["values"] == [{"value": True, "count": 1}]
    assert facets["word"]["distinct"] == 11
    assert {"value": None, "count": 1} in (await look(full, "facets", fields=["word"]))["facets"][0]["values"]
    for value in facets["word"]["values"]:
        passing = await look(full, "page", filter={"word": value["value"]}, count=True)
        assert passing["total"] == value["count"]


async def test_facets_of_a_sample_say_so(full: Genkit) -> None:
    found = await look(full, "facets", sample=20, filter={"tenant": "a"})
    assert (found["sampled"], found["total"]) == (20, 30)


# -- sources


async def test_a_source_is_put_together_from_its_chunks_with_their_overlaps(ai: Genkit) -> None:
    text = " ".join(f"Sentence {i} of the source says {WORDS[i % 10]}." for i in range(40))
    chunks = list(Splitter(size=60, overlap=20).split(Document(text, {"source": "a.md"})))
    await ai.index("memory/docs", [*chunks, Document("no place", {"source": "a.md"}, id="loose")])
    found = await look(ai, "source", source="a.md")
    assert found["total"] == len(chunks) + 1
    assert [one["id"] for one in found["chunks"]] == [one.id for one in chunks]
    for piece in found["pieces"]:
        assert piece["chunks"] == [
            number
            for number, one in enumerate(found["chunks"])
            if one["start"] < piece["end"] and piece["start"] < one["end"]
        ]
        if piece["chunks"]:
            assert piece["text"] == text[piece["start"] : piece["end"]]
    assert any(len(piece["chunks"]) > 1 for piece in found["pieces"])
    assert [one["metadata"]["id"] for one in found["unplaced"]] == ["loose"]
    assert (await look(ai, "source", source="a.md", limit=2))["truncated"]
    assert (await look(ai, "source", source="b.md"))["pieces"] == []


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 15)), max_size=12))
def test_pieces_cover_the_chunks_without_holes_and_nothing_twice(spans: list[tuple[int, int]]) -> None:
    text = "".join(chr(33 + i % 90) for i in range(60))
    chunks = sorted((start, start + length, text[start : start + length]) for start, length in spans)
    found = pieces(chunks)
    for position in range(60):
        holding = [number for number, (start, end, _) in enumerate(chunks) if start <= position < end]
        of_piece = [piece for piece in found if piece.start <= position < piece.end]
        assert len(of_piece) <= 1
        assert (of_piece[0].chunks if of_piece else []) == holding
        if holding:
            assert of_piece[0].text == text[of_piece[0].start : of_piece[0].end]
    assert all(before.end == after.start for before, after in itertools.pairwise(found))


# -- projection


async def test_a_projection_shows_the_two_axes_of_largest_variance() -> None:
    rng = np.random.default_rng(3)
    rows = (rng.standard_normal((400, 50)) * np.linspace(3, 0.1, 50)).astype(np.float32)
    axes = Axes(rows)
    x, y = axes.place(rows)
    _, sizes, exact = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    for mine, axis in ((x, exact[0]), (y, exact[1])):
        assert abs(np.corrcoef(mine, (rows - rows.mean(0)) @ axis)[0, 1]) > 0.999
    assert axes.explained == pytest.approx((sizes[:2] ** 2 / (sizes**2).sum()).tolist(), abs=1e-3)


async def test_a_projection_gives_points_values_and_the_hits_of_a_query_but_no_vectors(full: Genkit) -> None:
    found = await look(full, "projection", field="word", query="alpha beta", k=4)
    assert sorted(found["ids"]) == sorted(one.id for one in documents())
    assert len(found["x"]) == len(found["y"]) == len(found["values"]) == 60
    assert found["values"][found["ids"].index("d13")] == "delta"
    retrieved = await full.retrieve("memory/docs", "alpha beta", {"k": 4})
    assert [hit["id"] for hit in found["hits"]] == [one.id for one in retrieved]
    assert [hit["score"] for hit in found["hits"]] == pytest.approx([one.score for one in retrieved])
    at = found["ids"].index(found["hits"][0]["id"])
    assert (found["x"][at], found["y"][at]) == pytest.approx((found["hits"][0]["x"], found["hits"][0]["y"]), abs=1e-4)
    assert len(found["query"]) == 2
    assert found == await look(full, "projection", field="word", query="alpha beta", k=4)
    assert len((await look(full, "projection", points=7))["ids"]) == 7


async def test_a_projection_of_few_or_equal_documents_is_no_failure(ai: Genkit) -> None:
    assert (await look(ai, "projection"))["ids"] == []
    await ai.index("memory/docs", [Document("same", id="a")])
    assert (await look(ai, "projection", query="same"))["x"] == [0]
    await ai.index("memory/docs", [Document("same", id="b")])
    assert (await look(ai, "projection"))["explained"] == [0, 0]


# -- explain


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mode": "text"},
        {"mode": "hybrid"},
        {"mode": "hybrid", "fusion": "rrf"},
        {"mode": "hybrid", "fusion": "rrf", "vectorWeight": 0.3},
        {"mode": "hybrid", "filter": {"tenant": "a"}},
        {"mmrLambda": 0.5},
        {"scoreThreshold": 0.4},
    ],
)
async def test_an_explanation_has_the_retrievers_own_result(full: Genkit, options: Any) -> None:
    request: dict[str, Any] = {"query": {"content": [{"text": "alpha beta number"}]}, "options": {"k": 8, **options}}
    retriever = await full.registry.get("retriever", "memory/docs")
    found = await look(full, "explain", **request)
    assert found["documents"] == (await retriever.run_json(request))["documents"]
    assert len(found["places"]) == len(found["documents"])
    for document, places in zip(found["documents"], found["places"], strict=True):
        metadata = document["metadata"]
        if found.get("method"):
            assert sum(place["adds"] for place in places.values()) == pytest.approx(metadata["score"])
            assert {name: place["score"] for name, place in places.items()} == metadata["scores"]
        elif "mmrLambda" not in options:
            assert [place["rank"] for place in places.values()] == [metadata["rank"]]
    assert all(milliseconds >= 0 for milliseconds in found["milliseconds"].values())
    assert ("embed" in found["milliseconds"]) == (options.get("mode") != "text")


async def test_an_explanation_counts_what_fell_below_the_threshold(full: Genkit) -> None:
    query = {"content": [{"text": "alpha beta"}]}
    everything = await look(full, "explain", query=query, options={"k": 10})
    threshold = everything["documents"][3]["metadata"]["score"]
    found = await look(full, "explain", query=query, options={"k": 10, "scoreThreshold": threshold})
    assert found["below"] == 10 - len(found["documents"]) > 0


# -- a change of the embedder


async def test_reembedding_reports_how_far_it_is(full: Genkit) -> None:
    action = await full.registry.get("util", "memory/docs/reembed")
    chunks: list[Any] = []
    assert await action.run_json({"batchSize": 25}, on_chunk=chunks.append) == {"changed": 60}
    assert [one["done"] for one in chunks] == [25, 50, 60]
    assert {one["total"] for one in chunks} == {60}


# -- the owner's rules


async def test_a_caller_sees_only_his_part(tenants: Genkit) -> None:
    mine = {"tenant": "a"}
    stats = await look(tenants, "stats", context=mine)
    assert (stats["count"], stats["scoped"], stats["namespaces"]) == (30, True, [{"name": "", "count": 30}])
    assert "details" not in stats
    page = await look(tenants, "page", context=mine, limit=200, count=True)
    assert {one["metadata"]["tenant"] for one in page["documents"]} == {"a"}
    assert (len(page["documents"]), page["total"]) == (30, 30)
    assert (await look(tenants, "page", context=mine, ids=["d01", "d02"]))["documents"][0]["metadata"]["id"] == "d02"
    assert (await look(tenants, "page", context=mine, filter={"tenant": "b"}))["documents"] == []
    facets = await look(tenants, "facets", context=mine, fields=["tenant"])
    assert facets["facets"][0]["values"] == [{"value": "a", "count": 30}]
    source = await look(tenants, "source", context=mine, source="s0.md")
    assert {one["metadata"]["tenant"] for one in source["unplaced"]} == {"a"}
    plot = await look(tenants, "projection", context=mine, query="alpha", k=20)
    assert len(plot["ids"]) == 30
    assert all(int(id_[1:]) % 2 == 0 for id_ in [*plot["ids"], *(hit["id"] for hit in plot["hits"])])
    near = await look(tenants, "neighbours", context=mine, id="d02", k=200)
    assert len(near["documents"]) == 29
    explained = await look(tenants, "explain", context=mine, query={"content": [{"text": "alpha"}]}, options={"k": 60})
    assert (len(explained["documents"]), explained["rankings"]["vector"]["found"]) == (30, 30)
    with pytest.raises(GenkitError, match="NOT_FOUND"):
        await look(tenants, "neighbours", context=mine, id="d01")


async def test_what_concerns_the_whole_store_is_not_a_callers_and_without_a_tenant_nothing_is(tenants: Genkit) -> None:
    with pytest.raises(GenkitError, match="PERMISSION_DENIED"):
        await look(tenants, "reembed", context={"tenant": "a"})
    requests: dict[str, dict[str, Any]] = {
        "stats": {},
        "page": {},
        "facets": {},
        "source": {"source": "s0.md"},
        "projection": {},
        "neighbours": {"id": "d00"},
        "explain": {"query": {"content": [{"text": "x"}]}},
    }
    for verb, request in requests.items():
        with pytest.raises(GenkitError, match="PERMISSION_DENIED"):
            await look(tenants, verb, context={}, **request)


async def test_a_required_namespace_is_the_only_one_that_is_shown(embedder: FakeEmbedder) -> None:
    store = Memory(["docs"], embedder=embedder.embedder, required_namespace=lambda ctx: ctx.context["space"])
    async with Genkit(plugins=[embedder, store]) as ai:
        for space, count in (("x", 4), ("y", 7)):
            await ai.index("memory/docs", documents(count), context={"space": space})
        stats = await look(ai, "stats", context={"space": "x"})
        assert stats["namespaces"] == [{"name": "x", "count": 4}]
        assert len((await look(ai, "page", context={"space": "x"}))["documents"]) == 4
        assert len((await look(ai, "projection", context={"space": "x"}))["ids"]) == 4
        with pytest.raises(GenkitError, match="PERMISSION_DENIED"):
            await look(ai, "page", context={"space": "x"}, namespace="y")
