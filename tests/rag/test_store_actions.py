"""What the framework derives from a store: indexing, retrieving and deleting, over the store in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genkit_rag import Genkit
from genkit_rag.plugin_api import (
    Batching,
    Document,
    EmbedResponse,
    GenkitError,
    Media,
    Part,
    StorePlugin,
    VectorStore,
    embedder_action,
)
from genkit_rag.testing import FakeEmbedder
from genkit_rag_memory import Memory, MemoryStore

ANIMALS = [
    Document("the quick brown fox", {"legs": 4, "source": "a.md"}, id="fox"),
    Document("a lazy dog sleeps", {"legs": 4, "source": "a.md"}, id="dog"),
    Document("a quick bird flies", {"legs": 2, "source": "b.md"}, id="bird"),
    Document("the fish swims", {"legs": 0, "source": "b.md"}, id="fish"),
]


async def ids(ai: Genkit, query: str = "quick fox", **options: Any) -> list[str]:
    return [document.id for document in await ai.retrieve("memory/docs", query, options)]


async def stored(ai: Genkit, namespace: str = "") -> set[str]:
    return set(await (await ai.store("memory/docs")).ids(namespace=namespace))


@pytest.fixture
async def zoo(ai: Genkit) -> Genkit:
    assert (await ai.index("memory/docs", ANIMALS)).ids == ["fox", "dog", "bird", "fish"]
    return ai


# -- indexing and retrieving


async def test_what_was_indexed_is_retrieved_best_first_with_scores_and_ranks(zoo: Genkit) -> None:
    found = await zoo.retrieve("memory/docs", "the quick brown fox", {"k": 3})
    assert found[0].id == "fox"
    assert found[0].text == "the quick brown fox"
    assert found[0].metadata == {"legs": 4, "source": "a.md"}
    assert found[0].score == pytest.approx(1.0, abs=1e-5)
    scores = [document.score or 0.0 for document in found]
    assert scores == sorted(scores, reverse=True)
    assert [(document.rank, document.retriever) for document in found] == [(n, "memory/docs") for n in range(3)]


async def test_indexing_the_same_again_changes_nothing_and_the_same_id_replaces(zoo: Genkit) -> None:
    await zoo.index("memory/docs", ANIMALS)
    assert await stored(zoo) == {"fox", "dog", "bird", "fish"}
    await zoo.index("memory/docs", [Document("a red fox", id="fox")])
    (fox,) = await (await zoo.store("memory/docs")).get(["fox"])
    assert fox is not None
    assert (fox.text, fox.metadata) == ("a red fox", {})


async def test_what_a_caller_does_with_documents_does_not_reach_the_store(ai: Genkit) -> None:
    document = Document("a", {"tags": ["x"]}, id="a")
    await ai.index("memory/docs", [document])
    document.metadata["tags"].append("mine")
    for _ in range(2):
        (found,) = await ai.retrieve("memory/docs", "a")
        assert found.metadata == {"tags": ["x"]}
        found.metadata["tags"].append("mine too")


async def test_a_filter_decides_what_may_be_found(zoo: Genkit) -> None:
    assert set(await ids(zoo, filter={"legs": {"$lt": 4}})) == {"bird", "fish"}
    assert await ids(zoo, filter={"legs": 4}, k=1) == ["fox"]
    assert await ids(zoo, filter={}) == await ids(zoo)
    with pytest.raises(GenkitError, match=r"\$gtee"):
        await ids(zoo, filter={"legs": {"$gtee": 1}})


async def test_a_score_threshold_leaves_out_what_is_below(zoo: Genkit) -> None:
    everything = await zoo.retrieve("memory/docs", "quick fox")
    for document in everything:
        kept = await zoo.retrieve("memory/docs", "quick fox", {"score_threshold": document.score})
        assert [one.id for one in kept] == [one.id for one in everything if (one.score or 0) >= (document.score or 0)]
        assert [one.rank for one in kept] == list(range(len(kept)))
    assert await ids(zoo, score_threshold=1.1) == []


async def test_namespaces_never_see_each_other(zoo: Genkit) -> None:
    await zoo.index("memory/docs", [Document("a quick fox elsewhere", id="fox")], {"namespace": "other"})
    (found,) = await zoo.retrieve("memory/docs", "quick fox", {"namespace": "other"})
    assert found.text == "a quick fox elsewhere"
    assert await ids(zoo, namespace="nowhere") == []
    assert await zoo.delete("memory/docs", ids=["fox"], namespace="other") == 1
    assert "fox" in await ids(zoo)


async def test_k_zero_and_an_empty_query_cost_no_embedding(zoo: Genkit, embedder: FakeEmbedder) -> None:
    embedder.calls.clear()
    assert await ids(zoo, k=0) == []
    found = await zoo.retrieve("memory/docs", " ")
    assert (list(found), found.notices[0][:11]) == ([], "EMPTY_QUERY")
    assert embedder.calls == []


async def test_concurrent_retrievals_share_one_embedding_call(zoo: Genkit, embedder: FakeEmbedder) -> None:
    embedder.calls.clear()
    texts = [document.text for document in ANIMALS]
    found = await asyncio.gather(*(zoo.retrieve("memory/docs", text, {"k": 1}) for text in texts * 8))
    assert [one[0].text for one in found] == texts * 8
    assert embedder.calls == [texts]


async def test_a_retriever_of_a_store_speaks_json(zoo: Genkit) -> None:
    action = await zoo.registry.get("retriever", "memory/docs")
    wire = {"query": {"content": [{"text": "quick fox"}]}, "options": {"limit": 1, "filter": {"legs": 4}}}
    (document,) = (await action.run_json(wire))["documents"]
    assert document["metadata"]["id"] == "fox"
    assert document["metadata"]["retriever"] == "memory/docs"


# -- modes


async def test_words_find_what_has_them(zoo: Genkit) -> None:
    found = await zoo.retrieve("memory/docs", "fish", {"mode": "text"})
    assert [document.id for document in found] == ["fish"]
    assert (found[0].score or 0) > 0


async def test_hybrid_joins_both_rankings_and_keeps_their_scores(zoo: Genkit) -> None:
    found = await zoo.retrieve("memory/docs", "quick fox", {"mode": "hybrid", "k": 4})
    by_vector = {d.id: d.score for d in await zoo.retrieve("memory/docs", "quick fox", {"mode": "vector"})}
    by_text = {d.id: d.score for d in await zoo.retrieve("memory/docs", "quick fox", {"mode": "text"})}
    assert found[0].id == "fox"
    assert found[0].score == pytest.approx(1.0)
    for document in found:
        assert document.scores is not None
        assert document.scores["vector"] == pytest.approx(by_vector[document.id])
        assert document.scores.get("text") == (pytest.approx(by_text[document.id]) if document.id in by_text else None)


async def test_the_weight_and_the_fusion_of_hybrid_can_be_chosen(zoo: Genkit) -> None:
    only_vector = await ids(zoo, mode="hybrid", vector_weight=1.0)
    assert only_vector == await ids(zoo, mode="vector")
    assert set((await ids(zoo, mode="hybrid", vector_weight=0.0))[:2]) == set(await ids(zoo, mode="text"))
    (best, *_) = await zoo.retrieve("memory/docs", "quick fox", {"mode": "hybrid", "fusion": "rrf"})
    assert best.score == pytest.approx(2 / 61)


async def test_a_filter_holds_for_both_legs_of_hybrid(zoo: Genkit) -> None:
    assert set(await ids(zoo, mode="hybrid", filter={"source": "b.md"})) == {"bird", "fish"}


async def test_mmr_prefers_something_new_to_a_copy(ai: Genkit) -> None:
    texts = ["quick brown fox", "quick brown fox again", "quick bird"]
    await ai.index("memory/docs", [Document(text, id=text) for text in texts])
    assert await ids(ai, "quick brown fox", k=2) == texts[:2]
    assert await ids(ai, "quick brown fox", k=2, mmr_lambda=0.1) == [texts[0], texts[2]]
    assert await ids(ai, "quick brown fox", k=3, mmr_lambda=1.0) == await ids(ai, "quick brown fox", k=3)


@pytest.mark.parametrize("mode", ["text", "hybrid"])
async def test_mmr_is_refused_where_it_would_be_ignored(zoo: Genkit, mode: str) -> None:
    with pytest.raises(GenkitError, match=f"UNIMPLEMENTED.*{mode}") as caught:
        await ids(zoo, mode=mode, mmr_lambda=0.5)
    assert "vector" in (caught.value.hint or "")


async def test_a_mode_that_a_store_does_not_have_is_refused_with_those_it_has(embedder: FakeEmbedder) -> None:
    class VectorsOnly(Memory):
        async def open_store(self, store: str) -> VectorStore:
            opened = MemoryStore(store)
            opened.modes = ("vector",)
            return opened

    async with Genkit(plugins=[embedder, VectorsOnly(embedder=embedder.embedder)]) as ai:
        with pytest.raises(GenkitError, match=r"UNIMPLEMENTED.*'hybrid'") as caught:
            await ids(ai, mode="hybrid")
        assert caught.value.hint == "It has vector."


async def test_a_plugins_mode_is_the_one_of_calls_that_name_none(embedder: FakeEmbedder) -> None:
    async with Genkit(plugins=[embedder, Memory(embedder=embedder.embedder, mode="text")]) as ai:
        await ai.index("memory/docs", ANIMALS)
        assert await ids(ai, "fish") == ["fish"]
        assert len(await ids(ai, "fish", mode="vector")) == 4


# -- deleting


async def test_documents_go_by_id_filter_or_source(zoo: Genkit) -> None:
    assert await zoo.delete("memory/docs", ids=["fox", "nobody"]) == 1
    assert await zoo.delete("memory/docs", filter={"legs": 0}) == 1
    assert await stored(zoo) == {"dog", "bird"}
    assert await zoo.delete("memory/docs", source="a.md") == 1
    assert await zoo.delete("memory/docs", ids=[]) == 0
    assert await stored(zoo) == {"bird"}
    assert await zoo.delete("memory/docs", filter={}) == 1
    assert await ids(zoo) == []


@pytest.mark.parametrize("request_", [{}, {"ids": ["fox"], "source": "a.md"}])
async def test_a_deletion_says_exactly_one_way(zoo: Genkit, request_: Any) -> None:
    with pytest.raises(GenkitError, match="one of `ids`, `filter` and `source`"):
        await zoo.delete("memory/docs", **request_)
    assert len(await stored(zoo)) == 4


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["index", "ids", "filter", "source"]), st.sampled_from("abcd"), st.integers(0, 2)),
        max_size=12,
    )
)
async def test_any_sequence_of_writes_leaves_what_a_dict_would_hold(steps: list[tuple[str, str, int]]) -> None:
    embedder = FakeEmbedder(dimensions=8)
    model: dict[str, int] = {}
    async with Genkit(plugins=[embedder, Memory(embedder=embedder.embedder)]) as ai:
        for verb, name, number in steps:
            if verb == "index":
                metadata = {"n": number, "source": f"s{number}"}
                await ai.index("memory/docs", [Document(f"{name} {number}", metadata, id=name)])
                model[name] = number
                continue
            gone = {key for key, n in model.items() if (key == name if verb == "ids" else n == number)}
            ways: dict[str, Any] = {
                "ids": {"ids": [name]},
                "filter": {"filter": {"n": number}},
                "source": {"source": f"s{number}"},
            }
            assert await ai.delete("memory/docs", **ways[verb]) == len(gone)
            model = {key: n for key, n in model.items() if key not in gone}
        found = {d.id: d.metadata["n"] for d in await ai.retrieve("memory/docs", "a", {"k": 100})}
        assert found == model


# -- what fails leaves things as they were


async def test_another_embedder_is_refused_before_anything_is_written() -> None:
    shared = MemoryStore("shared")

    class Shared(Memory):
        async def open_store(self, store: str) -> VectorStore:
            return shared

    first, second = FakeEmbedder(), FakeEmbedder(name="other")
    small = FakeEmbedder(8)
    await Genkit(plugins=[first, Shared(embedder=first.embedder)]).index("memory/docs", ANIMALS)
    for embedder in (second, small):
        ai = Genkit(plugins=[embedder, Shared(embedder=embedder.embedder)])
        with pytest.raises(GenkitError) as caught:
            await ai.index("memory/docs", ["new"])
        assert caught.value.status == "FAILED_PRECONDITION"
        assert "fake/words, 64 dimensions" in caught.value.message
        assert str(embedder.action().fingerprint(embedder.dimensions)) in caught.value.message
        with pytest.raises(GenkitError, match="FAILED_PRECONDITION"):
            await ids(ai)
    assert await shared.count() == 4


async def test_an_embedder_that_changes_its_dimensions_is_refused() -> None:
    sizes = iter([2, 2, 3, 3])
    ai = Genkit(plugins=[Memory(embedder="own/own")])
    ai.define_embedder("own/own", lambda documents: np.ones((len(documents), next(sizes))))
    await ai.index("memory/docs", ["a"])
    await ai.retrieve("memory/docs", "q")
    for call in (ai.index("memory/docs", ["b"]), ai.retrieve("memory/docs", "other")):
        with pytest.raises(GenkitError, match="2 dimensions; this embedder is own/own, 3 dimensions"):
            await call
    assert await stored(ai) == {Document("a").id}


async def test_a_failing_embedder_leaves_nothing(ai: Genkit) -> None:
    ai.define_embedder("bad/bad", lambda documents: 1 / 0)
    memory = Memory(["x"], name="bad-store", embedder="bad/bad")
    ai.registry.add_plugin(memory)
    with pytest.raises(ZeroDivisionError):
        await ai.index("bad-store/x", ANIMALS)
    info = await (await ai.store("bad-store/x")).describe()
    assert (info.count, info.fingerprint) == (0, None)


async def test_an_embedder_that_fails_half_way_leaves_whole_batches(embedder: FakeEmbedder) -> None:
    calls = 0

    def fail_third(documents: list[Document]) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise GenkitError("UNAVAILABLE", "The model is off.")
        return np.ones((len(documents), 2))

    ai = Genkit(plugins=[Memory(embedder="own/own")])
    ai.define_embedder("own/own", fail_third)
    with pytest.raises(GenkitError, match="off"):
        await ai.index("memory/docs", [Document(str(n), id=str(n)) for n in range(8)], {"batch_size": 2})
    assert await stored(ai) == {"0", "1", "2", "3"}


@pytest.mark.parametrize("size", [1, 3, 1000])
async def test_batches_end_up_in_the_store_in_order(ai: Genkit, embedder: FakeEmbedder, size: int) -> None:
    documents = [Document(f"word{n}", id=str(n)) for n in range(10)]
    response = await ai.index("memory/docs", documents, {"batch_size": size})
    assert response.ids == [str(n) for n in range(10)]
    assert [len(call) for call in embedder.calls] == [min(size, 10 - start) for start in range(0, 10, size)]
    for n in range(10):
        assert await ids(ai, f"word{n}", k=1) == [str(n)]


async def test_a_write_that_fails_reaches_the_caller() -> None:
    class Full(MemoryStore):
        async def upsert(self, documents: Sequence[Document], vectors: Any, *, namespace: str = "") -> None:
            raise GenkitError("RESOURCE_EXHAUSTED", "The disk is full.")

    class FullPlugin(Memory):
        async def open_store(self, store: str) -> VectorStore:
            return Full(store)

    embedder = FakeEmbedder()
    ai = Genkit(plugins=[embedder, FullPlugin(embedder=embedder.embedder)])
    for size in (1, 100):
        with pytest.raises(GenkitError, match="full"):
            await ai.index("memory/docs", ANIMALS, {"batch_size": size})


async def test_a_missing_embedder_is_named(ai: Genkit) -> None:
    ai.registry.add_plugin(Memory(["x"], name="lost", embedder="fake/word"))
    with pytest.raises(GenkitError, match=r"Unknown embedder `fake/word`.*Did you mean `fake/words`"):
        await ai.index("lost/x", ["a"])


# -- several vectors for one document


async def test_a_document_with_several_vectors_is_found_by_each_of_them() -> None:
    def pages(documents: list[Document]) -> EmbedResponse:
        words = [(owner, word) for owner, document in enumerate(documents) for word in document.text.split()]
        vectors = [[1.0, 0.1] if word == "left" else [0.1, 1.0] for _, word in words]
        return EmbedResponse(vectors, [owner for owner, _ in words], [{"word": word} for _, word in words])

    class One(StorePlugin):
        async def open_store(self, store: str) -> VectorStore:
            return MemoryStore(store)

    ai = Genkit(plugins=[One(["docs"], name="memory", embedder="own/pages")])
    ai.define_embedder("own/pages", pages, batching=Batching(max_texts=1))
    response = await ai.index("memory/docs", [Document("left right", {"n": 1}, id="x")])
    assert response.ids == ["x#0", "x#1"]
    store = await ai.store("memory/docs")
    (hits,) = await store.search(np.array([[0.1, 1.0]], dtype=np.float32), 1)
    assert hits[0].document is not None
    assert (hits[0].id, hits[0].document.text) == ("x#1", "left right")
    assert hits[0].document.metadata == {"n": 1, "parent": "x", "embedMetadata": {"word": "right"}}


async def test_a_picture_is_indexed_and_found_like_a_text() -> None:
    ai = Genkit(plugins=[Memory(embedder="own/any")])
    ai.registry.register(
        embedder_action("own/any", lambda documents: [[len(document.data), 1.0] for document in documents])
    )
    picture = Document(Part(media=Media(url="data:,xy")), id="picture")
    await ai.index("memory/docs", [picture, Document("a", id="a")])
    assert (await ai.retrieve("memory/docs", picture, {"k": 1}))[0].id == "picture"


# -- opening and closing


class Slow(StorePlugin):
    """Opens its store when the gate lets it; counts the openings and remembers what was opened."""

    def __init__(self, embedder: str) -> None:
        super().__init__(["docs"], name="memory", embedder=embedder)
        self.gate = asyncio.Event()
        self.opened: list[MemoryStore] = []
        self.calls = 0
        self.error: Exception | None = None

    async def open_store(self, store: str) -> VectorStore:
        self.calls += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.opened.append(MemoryStore(store))
        return self.opened[-1]

    def knows(self, store: str) -> bool:
        return store == "found"


@pytest.fixture
def slow(embedder: FakeEmbedder) -> Slow:
    return Slow(embedder.embedder)


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_store_is_opened_at_its_first_use_and_once(embedder: FakeEmbedder, slow: Slow) -> None:
    ai = Genkit(plugins=[embedder, slow])
    await ai.registry.get("retriever", "memory/docs")
    assert slow.calls == 0
    slow.gate.set()
    await asyncio.gather(*(ids(ai) for _ in range(10)), *(ai.index("memory/docs", [str(n)]) for n in range(10)))
    assert slow.calls == 1


async def test_cancelling_the_first_caller_does_not_open_the_store_twice(embedder: FakeEmbedder, slow: Slow) -> None:
    ai = Genkit(plugins=[embedder, slow])
    first = asyncio.create_task(ids(ai))
    await turns()
    first.cancel()
    await turns()
    second = asyncio.create_task(ids(ai))
    await turns()
    slow.gate.set()
    assert await second == []
    assert slow.calls == 1


async def test_a_store_that_could_not_be_opened_is_opened_at_the_next_call(embedder: FakeEmbedder, slow: Slow) -> None:
    ai = Genkit(plugins=[embedder, slow])
    slow.gate.set()
    slow.error = GenkitError("UNAVAILABLE", "The disk is away.")
    for _ in range(2):
        with pytest.raises(GenkitError, match="away"):
            await ids(ai)
    slow.error = None
    assert await ids(ai) == []


async def test_closing_closes_what_was_opened_even_when_nobody_waits_for_it_any_more(
    embedder: FakeEmbedder, slow: Slow
) -> None:
    async with Genkit(plugins=[embedder, slow]) as ai:
        caller = asyncio.create_task(ids(ai))
        await turns()
        caller.cancel()
        await turns()
        slow.gate.set()
    with pytest.raises(GenkitError, match="closed"):
        await slow.opened[0].get(["x"])
    await ai.close()


async def test_closing_a_store_that_was_never_used_opens_nothing(embedder: FakeEmbedder, slow: Slow) -> None:
    async with Genkit(plugins=[embedder, slow]) as ai:
        await ai.registry.list_actions()
    assert slow.calls == 0


async def test_every_store_is_closed_even_when_one_fails() -> None:
    closed: list[str] = []

    class Stubborn(MemoryStore):
        async def close(self) -> None:
            closed.append(self.name)
            raise RuntimeError(f"{self.name} stays")

    class Two(Memory):
        async def open_store(self, store: str) -> VectorStore:
            return Stubborn(store)

    ai = Genkit(plugins=[Two(["a", "b"])])
    await ai.store("memory/a")
    await ai.store("memory/b")
    with pytest.raises(RuntimeError, match="stays"):
        await ai.close()
    assert sorted(closed) == ["a", "b"]


async def test_a_store_that_was_not_named_is_found_when_the_plugin_knows_it(embedder: FakeEmbedder, slow: Slow) -> None:
    ai = Genkit(plugins=[embedder, slow])
    slow.gate.set()
    await ai.index("memory/found", ["a quick fox"])
    assert [document.text for document in await ai.retrieve("memory/found", "fox")] == ["a quick fox"]
    assert await ai.delete("memory/found", filter={}) == 1
    with pytest.raises(GenkitError, match=r"NOT_FOUND.*memory/docs"):
        await ai.retrieve("memory/lost", "fox")
    with pytest.raises(GenkitError, match="NOT_FOUND: Unknown indexer `lost/docs`"):
        await ai.store("lost/docs")


def test_one_genkit_serves_event_loops_one_after_the_other() -> None:
    embedder = FakeEmbedder()
    ai = Genkit(plugins=[embedder, Memory(embedder=embedder.embedder)])
    asyncio.run(_index(ai))
    assert asyncio.run(ids(ai, k=1)) == ["fox"]


async def _index(ai: Genkit) -> None:
    await ai.index("memory/docs", ANIMALS)


async def test_the_longer_a_query_the_more_its_vector_counts(zoo: Genkit) -> None:
    async def shares(query: str) -> float:
        """Returns the share of vectors that makes the same scores as the default."""
        default = {d.id: d.score for d in await zoo.retrieve("memory/docs", query, {"mode": "hybrid"})}
        for tenth in range(1, 100):
            options = {"mode": "hybrid", "vector_weight": tenth / 100}
            given = {d.id: d.score for d in await zoo.retrieve("memory/docs", query, options)}
            if given == pytest.approx(default, abs=5e-3):
                return tenth / 100
        raise AssertionError("no share makes these scores")

    assert await shares("fox") == pytest.approx(1 / 6, abs=0.02)
    assert await shares("the quick fox that sleeps lazily today with a dog") == pytest.approx(10 / 15, abs=0.02)
