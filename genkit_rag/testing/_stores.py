"""The contract of `VectorStore`: subclass it, give one fixture, and the store is tested."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from genkit_rag._core.errors import GenkitError
from genkit_rag._documents.document import Document
from genkit_rag._documents.filters import matches, parse_filter
from genkit_rag._documents.part import Media, Part
from genkit_rag._rag.vector_store import Fingerprint, Vectors, VectorStore
from genkit_rag.testing._filter_cases import METADATA, filters

DIMENSIONS = 16
FINGERPRINT = Fingerprint("test", "random", DIMENSIONS)


def unit_vectors(count: int, seed: int = 0, dimensions: int = DIMENSIONS) -> Vectors:
    """Generate random unit vectors."""
    raw = np.random.default_rng(seed).standard_normal((count, dimensions)).astype(np.float32)
    result: Vectors = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    return result


async def can_reindex(store: VectorStore) -> None:
    """Skips the test for a store that says that it cannot change its embedder."""
    if type(store).reindex is VectorStore.reindex:
        pytest.skip("this store cannot change its embedder")


@pytest.mark.asyncio
class VectorStoreContract:
    """The tests that every vector store passes.

    A subclass provides the async fixture `store`: an empty store with the cosine metric. `tolerance` is the maximum
    difference of a score from the exact cosine, for stores that quantise.
    """

    tolerance = 1e-4

    @pytest.fixture
    async def store(self) -> Any:
        """Provide an empty store; the subclass overrides it."""
        raise NotImplementedError

    async def test_what_was_upserted_is_found_by_its_own_vector(self, store: VectorStore) -> None:
        vectors = unit_vectors(50)
        await store.bind(FINGERPRINT)
        await store.upsert([Document(f"text {i}", {"i": i}, id=f"d{i}") for i in range(50)], vectors)
        found = await store.search(vectors, 1)
        assert [hits[0].id for hits in found] == [f"d{i}" for i in range(50)]
        hit = found[7][0]
        assert hit.score == pytest.approx(1.0, abs=self.tolerance)
        assert hit.document is not None
        assert (hit.document.text, hit.document.metadata) == ("text 7", {"i": 7})

    async def test_hits_are_the_exact_best_in_order_of_their_scores(self, store: VectorStore) -> None:
        vectors, queries = unit_vectors(200), unit_vectors(5, seed=1)
        await store.bind(FINGERPRINT)
        await store.upsert([Document(str(i), id=f"d{i}") for i in range(200)], vectors)
        for query, hits in zip(queries, await store.search(queries, 10), strict=True):
            exact = vectors @ query
            assert [hit.id for hit in hits] == [f"d{i}" for i in np.argsort(-exact)[:10]]
            assert [hit.score for hit in hits] == pytest.approx(sorted(exact, reverse=True)[:10], abs=self.tolerance)

    async def test_k_beyond_the_count_gives_all(self, store: VectorStore) -> None:
        await store.bind(FINGERPRINT)
        await store.upsert([Document("a", id="a"), Document("b", id="b")], unit_vectors(2))
        assert len((await store.search(unit_vectors(1), 100))[0]) == 2

    async def test_an_empty_store_finds_nothing(self, store: VectorStore) -> None:
        await store.bind(FINGERPRINT)
        assert await store.search(unit_vectors(2), 3) == [[], []]
        assert await store.count() == 0
        assert await store.get(["x"]) == [None]
        assert await store.ids() == []

    async def test_upserting_an_id_again_replaces_it(self, store: VectorStore) -> None:
        first, second = unit_vectors(2)
        await store.bind(FINGERPRINT)
        await store.upsert([Document("old", {"v": 1}, id="x")], first[None])
        await store.upsert([Document("new", {"w": 2}, id="x")], second[None])
        assert await store.count() == 1
        (hits,) = await store.search(first[None], 5)
        assert [(hit.id, hit.document.text if hit.document else "") for hit in hits] == [("x", "new")]
        (document,) = await store.get(["x"])
        assert document is not None
        assert document.metadata == {"w": 2}

    async def test_a_deleted_document_is_never_returned_and_may_come_back(self, store: VectorStore) -> None:
        vectors = unit_vectors(20)
        await store.bind(FINGERPRINT)
        documents = [Document(str(i), {"i": i}, id=f"d{i}") for i in range(20)]
        await store.upsert(documents, vectors)
        assert await store.delete(ids=["d3", "nobody"]) == 1
        assert await store.delete(filter=parse_filter({"i": {"$gte": 15}})) == 5
        (hits,) = await store.search(vectors[3][None], 20)
        assert {hit.id for hit in hits} == {f"d{i}" for i in range(15) if i != 3}
        assert await store.delete(ids=[]) == 0
        await store.upsert([documents[3]], vectors[3][None])
        assert (await store.search(vectors[3][None], 1))[0][0].id == "d3"

    async def test_a_filter_gives_k_hits_when_k_exist(self, store: VectorStore) -> None:
        vectors = unit_vectors(400)
        await store.bind(FINGERPRINT)
        await store.upsert([Document(str(i), {"c": i % 20}, id=f"d{i}") for i in range(400)], vectors)
        query = unit_vectors(1, seed=2)
        (hits,) = await store.search(query, 10, filter=parse_filter({"c": 7}))
        order = [i for i in np.argsort(-(vectors @ query[0])) if i % 20 == 7]
        assert [hit.id for hit in hits] == [f"d{i}" for i in order[:10]]

    async def test_filters_agree_with_the_oracle(self, store: VectorStore) -> None:
        vectors = unit_vectors(len(METADATA))
        await store.bind(FINGERPRINT)
        await store.upsert([Document(str(i), m, id=str(i)) for i, m in enumerate(METADATA)], vectors)
        for raw in filters(250):
            tree = parse_filter(raw)
            expected = {str(i) for i, metadata in enumerate(METADATA) if matches(tree, metadata)}
            assert set(await store.ids(filter=tree)) == expected, raw
            assert await store.count(filter=tree) == len(expected), raw
            (hits,) = await store.search(vectors[:1], len(METADATA), filter=tree)
            assert {hit.id for hit in hits} == expected, raw

    async def test_namespaces_never_see_each_other(self, store: VectorStore) -> None:
        vectors = unit_vectors(2)
        await store.bind(FINGERPRINT)
        await store.upsert([Document("left", id="x")], vectors[:1], namespace="left")
        await store.upsert([Document("right", id="x")], vectors[1:], namespace="right")
        (hits,) = await store.search(vectors[:1], 5, namespace="right")
        assert [hit.document.text if hit.document else "" for hit in hits] == ["right"]
        assert (await store.search(vectors[:1], 5))[0] == []
        assert await store.delete(ids=["x"], namespace="left") == 1
        assert (await store.count(namespace="right"), await store.count()) == (1, 1)

    async def test_get_and_vectors_keep_the_order_of_the_ids(self, store: VectorStore) -> None:
        vectors = unit_vectors(3)
        await store.bind(FINGERPRINT)
        await store.upsert([Document(f"t{i}", id=f"d{i}") for i in range(3)], vectors)
        found = await store.get(["d2", "gone", "d0"])
        assert [document.text if document else None for document in found] == ["t2", None, "t0"]
        rows = await store.vectors(["d1", "gone"])
        assert rows[0] is not None
        np.testing.assert_allclose(rows[0], vectors[1], atol=self.tolerance)
        assert rows[1] is None

    async def test_content_and_metadata_come_back_equal(self, store: VectorStore) -> None:
        metadata = {"nested": {"a": [1, {"b": None}]}, "f": 1.5, "t": True, "u": "ünï☃", "big": 2**62, "lc": 1}
        picture_part = Part(media=Media(url="data:image/png;base64,AA", content_type="image/png"))
        media = Document([Part(text="look"), picture_part], {"k": 1}, id="m")
        await store.bind(FINGERPRINT)
        await store.upsert([Document("line\r\n\ttwo \U0001f600", metadata, id="é 'x'\"/\\"), media], unit_vectors(2))
        text, picture = await store.get(["é 'x'\"/\\", "m"])
        assert text is not None
        assert (text.text, text.metadata) == ("line\r\n\ttwo \U0001f600", metadata)
        assert picture is not None
        assert picture.content == media.content

    async def test_returned_documents_belong_to_the_caller(self, store: VectorStore) -> None:
        await store.bind(FINGERPRINT)
        await store.upsert([Document("t", {"a": [1]}, id="d")], unit_vectors(1))
        for _ in range(2):
            (hits,) = await store.search(unit_vectors(1), 1)
            assert hits[0].document is not None
            assert hits[0].document.metadata == {"a": [1]}
            hits[0].document.metadata["a"].append(2)

    async def test_another_embedder_is_refused_before_anything_changes(self, store: VectorStore) -> None:
        await store.bind(FINGERPRINT)
        await store.upsert([Document("t", id="d")], unit_vectors(1))
        await store.bind(FINGERPRINT)
        for other in (Fingerprint("test", "random", 8), Fingerprint("test", "other", DIMENSIONS)):
            with pytest.raises(GenkitError) as caught:
                await store.bind(other)
            assert caught.value.status == "FAILED_PRECONDITION"
            assert "random" in str(caught.value)
        assert await store.count() == 1

    async def test_searching_without_payload_gives_the_same_ids(self, store: VectorStore) -> None:
        await store.bind(FINGERPRINT)
        await store.upsert([Document(str(i), id=f"d{i}") for i in range(30)], unit_vectors(30))
        query = unit_vectors(1, seed=3)
        with_payload = (await store.search(query, 5))[0]
        without = (await store.search(query, 5, payload=False))[0]
        assert [hit.id for hit in with_payload] == [hit.id for hit in without]

    async def test_words_find_documents_and_any_string_is_a_query(self, store: VectorStore) -> None:
        if "text" not in store.modes:
            with pytest.raises(GenkitError, match="UNIMPLEMENTED"):
                await store.search_text("x", 1)
            return
        await store.bind(FINGERPRINT)
        texts = ["the quick brown fox", "a lazy dog sleeps", "foxes and dogs", "unrelated words"]
        documents = [Document(text, {"i": i}, id=f"d{i}") for i, text in enumerate(texts)]
        await store.upsert(documents, unit_vectors(4))
        found = await store.search_text("quick fox", 10)
        assert found[0].id == "d0"
        assert [hit.score for hit in found] == sorted((hit.score for hit in found), reverse=True)
        assert [hit.id for hit in await store.search_text("fox", 1, filter=parse_filter({"i": 2}))] == ["d2"]
        await store.delete(ids=["d0"])
        assert "d0" not in {hit.id for hit in await store.search_text("quick fox", 10)}
        for query in ['"', "a AND (", "field:x~2^3", "* ? [TO]", "\\", "NEAR/2", "!!!", "", "☃", "-fox +dog"]:
            await store.search_text(query, 3)

    async def test_concurrent_writers_and_readers_see_whole_batches(self, store: VectorStore) -> None:
        await store.bind(FINGERPRINT)
        vectors = unit_vectors(10)

        async def write(round_: int) -> None:
            await store.upsert([Document(str(round_), {"r": round_}, id=f"{round_}-{i}") for i in range(10)], vectors)

        async def read() -> None:
            for _ in range(20):
                assert await store.count() % 10 == 0
                await store.search(vectors[:1], 5)

        await asyncio.gather(*(write(i) for i in range(10)), read(), read())
        assert await store.count() == 100

    async def test_the_event_loop_has_turns_while_a_batch_is_written(self, store: VectorStore) -> None:
        await store.bind(FINGERPRINT)
        documents = [Document("word " * 40 + str(i), {"i": i}, id=str(i)) for i in range(5000)]
        writing = asyncio.ensure_future(store.upsert(documents, unit_vectors(5000)))
        turns = 0
        while not writing.done():
            await asyncio.sleep(0.0005)
            turns += 1
        await writing
        assert turns > 5

    async def test_describing_says_what_there_is(self, store: VectorStore) -> None:
        await store.bind(FINGERPRINT)
        await store.upsert([Document("t", id="d")], unit_vectors(1))
        info = await store.describe()
        assert info.count == 1
        assert info.fingerprint == FINGERPRINT
        assert set(info.scores) == set(info.modes)
        assert info.scores["vector"].kind == "cosine"

    async def test_paging_gives_every_document_once_whatever_is_written_meanwhile(self, store: VectorStore) -> None:
        await store.bind(FINGERPRINT)
        assert await store.page(5) == ([], None)
        documents = [Document(f"text {i}", {"i": i}, id=f"{'ab'[i % 2]}{i}") for i in range(23)]
        await store.upsert(documents, unit_vectors(23))
        await store.upsert([Document("elsewhere", id="a0")], unit_vectors(1), namespace="other")
        seen: list[str] = []
        after: str | None = None
        for number in range(10):
            page, after = await store.page(5, after=after)
            assert [document.metadata for document in page] == [{"i": int(document.id[1:])} for document in page]
            seen += [document.id for document in page]
            if number == 1:
                await store.delete(ids=seen[:3])
                await store.upsert([Document("new", {"i": 99}, id="c99")], unit_vectors(1))
            if after is None:
                break
        assert sorted(set(seen) - {"c99"}) == sorted(document.id for document in documents)
        assert len(seen) == len(set(seen))

    async def test_a_page_keeps_to_its_filter_namespace_and_prefix(self, store: VectorStore) -> None:
        await store.bind(FINGERPRINT)
        documents = [Document(str(i), {"even": i % 2 == 0}, id=f"{'ab'[i // 10]}%{i:02}") for i in range(20)]
        await store.upsert(documents, unit_vectors(20))
        await store.upsert(documents[:1], unit_vectors(1), namespace="other")
        even = parse_filter({"even": True})
        first, after = await store.page(3, filter=even, prefix="b%")
        assert after is not None
        second, last = await store.page(3, filter=even, prefix="b%", after=after)
        assert sorted(one.id for one in [*first, *second]) == [f"b%{i}" for i in range(10, 20, 2)]
        assert last is None
        assert [one.id for one in (await store.page(3, namespace="other"))[0]] == ["a%00"]
        assert await store.page(3, prefix="a_") == ([], None)

    async def test_a_sample_is_spread_over_what_passes_and_always_the_same(self, store: VectorStore) -> None:
        await store.bind(FINGERPRINT)
        assert await store.sample(3) == []
        await store.upsert([Document(str(i), {"i": i}, id=f"d{i}") for i in range(40)], unit_vectors(40))
        some = await store.sample(8, filter=parse_filter({"i": {"$lt": 20}}))
        assert len(set(some)) == 8
        assert all(int(one[1:]) < 20 for one in some)
        assert some == await store.sample(8, filter=parse_filter({"i": {"$lt": 20}}))
        assert sorted(await store.sample(100)) == sorted(f"d{i}" for i in range(40))
        assert await store.sample(5, namespace="nowhere") == []

    async def test_namespaces_are_counted(self, store: VectorStore) -> None:
        await store.bind(FINGERPRINT)
        for space, count in (("", 2), ("large", 3), ("gone", 1)):
            documents = [Document(str(i), id=str(i)) for i in range(count)]
            await store.upsert(documents, unit_vectors(count), namespace=space)
        await store.delete(ids=["0"], namespace="gone")
        if type(store).namespaces is VectorStore.namespaces:
            with pytest.raises(GenkitError, match="UNIMPLEMENTED"):
                await store.namespaces(10)
            return
        assert list((await store.namespaces(10)).items()) == [("large", 3), ("", 2)]
        assert len(await store.namespaces(1)) == 1

    async def test_another_embedder_takes_over_all_at_once(self, store: VectorStore) -> None:
        """Of another length; old vectors are searched until the end, and what is written meanwhile is included."""
        await can_reindex(store)
        documents = [Document(f"text {i}", {"i": i}, id=f"d{i}") for i in range(30)]
        other = Fingerprint("test", "other", 8)
        old, new = unit_vectors(31), unit_vectors(31, seed=7, dimensions=8)
        await store.bind(FINGERPRINT)
        await store.upsert(documents[:20], old[:20])
        await store.upsert(documents[20:], old[20:30], namespace="elsewhere")
        sizes: list[int] = []

        async def embed(batch: Sequence[Document]) -> Vectors:
            sizes.append(len(batch))
            if len(sizes) == 1:
                await store.upsert([Document("text 30", {"i": 30}, id="d30")], old[30:])
                await store.delete(ids=["d0"])
            (hits,) = await store.search(old[5][None], 1)
            assert hits[0].id == "d5"
            return new[[int(document.text.split()[1]) for document in batch]]

        assert await store.reindex(other, embed, batch_size=8) == 30
        assert max(sizes) <= 8
        assert await store.count() == 30
        for i in (1, 19, 30):
            (hits,) = await store.search(new[i][None], 1)
            assert hits[0].id == f"d{i}"
            assert hits[0].score == pytest.approx(1.0, abs=self.tolerance)
        assert (await store.search(new[25][None], 1, namespace="elsewhere"))[0][0].id == "d25"
        assert (await store.describe()).fingerprint == other
        await store.bind(other)
        with pytest.raises(GenkitError, match="FAILED_PRECONDITION"):
            await store.bind(FINGERPRINT)
        await store.upsert([Document("text 1", {"i": 1}, id="d1")], new[1:2])
        assert await store.count() == 30

    async def test_a_change_of_embedder_that_fails_changes_nothing(self, store: VectorStore) -> None:
        await can_reindex(store)
        vectors, other = unit_vectors(12), Fingerprint("test", "other", DIMENSIONS)
        await store.bind(FINGERPRINT)
        await store.upsert([Document(str(i), id=f"d{i}") for i in range(12)], vectors)
        calls = 0

        async def embed(batch: Sequence[Document]) -> Vectors:
            nonlocal calls
            calls += 1
            if calls == 2:
                raise ConnectionError("the provider is gone")
            return unit_vectors(12, seed=9)[[int(document.text) for document in batch]]

        with pytest.raises(ConnectionError):
            await store.reindex(other, embed, batch_size=5)
        assert (await store.describe()).fingerprint == FINGERPRINT
        assert (await store.search(vectors[3][None], 1))[0][0].id == "d3"
        await store.bind(FINGERPRINT)
        assert await store.reindex(other, embed, batch_size=5) == 12
        assert (await store.search(unit_vectors(12, seed=9)[3][None], 1))[0][0].id == "d3"

    async def test_after_closing_every_call_is_refused(self, store: VectorStore) -> None:
        await store.bind(FINGERPRINT)
        await store.close()
        await store.close()
        with pytest.raises(GenkitError, match="FAILED_PRECONDITION"):
            await store.search(unit_vectors(1), 1)
        with pytest.raises(GenkitError, match="FAILED_PRECONDITION"):
            await store.upsert([Document("t", id="d")], unit_vectors(1))
