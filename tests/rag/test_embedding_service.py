"""Feeding embedders: batches, joined queries, the cache, and what one caller's trouble means for the others."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genkit_rag.plugin_api import (
    Batching,
    Document,
    EmbeddingService,
    EmbedResponse,
    GenkitError,
    Media,
    Part,
    embedder_action,
    service_of,
)


class Model:
    """An embedder of text lengths that records its calls and waits at a gate when it has one."""

    def __init__(self, **batching: Any) -> None:
        self.calls: list[list[str]] = []
        self.running = self.most = 0
        self.gate: asyncio.Event | None = None
        self.error: BaseException | None = None
        self.action = embedder_action("fake/lengths", self.embed, batching=Batching(**batching))
        self.service = EmbeddingService(self.action, query_cache=4)

    async def embed(self, documents: list[Document]) -> Any:
        self.calls.append([document.data for document in documents])
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await (self.gate.wait() if self.gate else asyncio.sleep(0))
        finally:
            self.running -= 1
        if self.error:
            raise self.error
        return [[len(document.data), 1] for document in documents]

    async def query(self, text: str) -> list[float]:
        vector: list[float] = (await self.service.query(Document(text))).tolist()
        return vector


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


# -- queries


async def test_concurrent_queries_share_one_call_and_each_gets_its_own_vector() -> None:
    model = Model()
    found = await asyncio.gather(*(model.query("x" * n) for n in range(1, 33)))
    assert found == [[n, 1] for n in range(1, 33)]
    assert len(model.calls) == 1


async def test_a_query_alone_is_sent_at_once() -> None:
    model = Model()
    assert await model.query("abc") == [3, 1]
    assert model.calls == [["abc"]]


async def test_queries_that_come_while_the_model_is_busy_share_the_next_call() -> None:
    model = Model()
    model.gate = asyncio.Event()
    first = asyncio.create_task(model.query("a"))
    await turns()
    rest = []
    for text in ("bb", "ccc", "dddd"):
        rest.append(asyncio.create_task(model.query(text)))
        await turns()
    model.gate.set()
    assert await asyncio.gather(first, *rest) == [[1, 1], [2, 1], [3, 1], [4, 1]]
    assert model.calls == [["a"], ["bb", "ccc", "dddd"]]
    assert model.most == 1


async def test_more_queries_than_fit_one_call_go_in_several() -> None:
    model = Model(max_texts=3, concurrency=2)
    await asyncio.gather(*(model.query("x" * n) for n in range(1, 9)))
    assert [len(call) for call in model.calls] == [3, 3, 2]
    assert model.most == 2


async def test_the_same_text_is_embedded_once() -> None:
    model = Model()
    assert await asyncio.gather(*(model.query("same") for _ in range(10))) == [[4, 1]] * 10
    assert await model.query("same") == [4, 1]
    assert model.calls == [["same"]]


async def test_the_cache_keeps_the_last_used_and_is_bounded() -> None:
    model = Model()
    for text in ("1", "22", "333", "4444", "1", "55555"):  # five texts, four places: "22" goes
        await model.query(text)
    model.calls.clear()
    for text in ("1", "333", "4444", "55555"):
        await model.query(text)
    assert model.calls == []
    await model.query("22")
    assert model.calls == [["22"]]


async def test_without_a_cache_every_query_is_embedded() -> None:
    model = Model()
    model.service = EmbeddingService(model.action, query_cache=0)
    await model.query("a")
    await model.query("a")
    assert model.calls == [["a"], ["a"]]


async def test_no_caller_can_change_the_vector_of_another() -> None:
    model = Model()
    for _ in range(2):  # fresh, then cached
        vector = await model.service.query(Document("abc"))
        with pytest.raises(ValueError, match="read-only"):
            vector[0] = 0


async def test_an_array_that_the_embedder_keeps_stays_writable() -> None:
    kept = np.ones((1, 2), dtype=np.float32)
    await EmbeddingService(embedder_action("fake/kept", lambda documents: kept)).query(Document("a"))
    kept[0] = 0


async def test_an_error_reaches_all_callers_of_the_call_and_is_not_cached() -> None:
    model = Model()
    model.error = GenkitError("UNAVAILABLE", "The model is off.")
    results = await asyncio.gather(*(model.query(text) for text in "abc"), return_exceptions=True)
    assert [str(result) for result in results] == ["UNAVAILABLE: The model is off."] * 3
    model.error = None
    assert await model.query("a") == [1, 1]


async def test_a_cancelled_caller_disturbs_nobody_with_or_without_the_same_text() -> None:
    model = Model()
    model.gate = asyncio.Event()
    tasks = [asyncio.create_task(model.query(text)) for text in ("a", "a", "bb")]
    await turns()
    tasks[0].cancel()
    model.gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == [[1, 1], [2, 1]]


async def test_cancelling_the_one_who_came_first_disturbs_nobody() -> None:
    for others in ([], ["a"], ["bb"], ["a", "bb"]):
        model = Model()
        model.service = EmbeddingService(model.action, query_cache=0)
        for wait in range(4):  # in each of the turns until its call runs
            model.gate = asyncio.Event()
            first = asyncio.create_task(model.query("a"))
            rest = [asyncio.create_task(model.query(text)) for text in others]
            await turns(wait)
            first.cancel()
            await turns()
            model.gate.set()
            assert await asyncio.wait_for(asyncio.gather(*rest), 5) == [[len(text), 1] for text in others]
            assert await asyncio.wait_for(model.query("ccc"), 5) == [3, 1]


async def test_a_query_that_is_cancelled_before_its_call_is_never_embedded() -> None:
    model = Model()
    task = asyncio.create_task(model.query("a"))
    await turns(1)
    task.cancel()
    assert await model.query("bb") == [2, 1]
    assert model.calls == [["bb"]]


async def test_a_picture_is_embedded_by_itself() -> None:
    model = Model()
    picture = Document(Part(media=Media(url="data:,xyz")))
    vectors = await asyncio.gather(model.service.query(picture), model.service.query(Document("a")))
    assert [vector.tolist() for vector in vectors] == [[9, 1], [1, 1]]


async def test_a_query_with_several_vectors_is_refused() -> None:
    action = embedder_action("fake/many", lambda documents: EmbedResponse([[1, 0], [0, 1]], [0, 0]))
    with pytest.raises(GenkitError, match="several vectors for this query"):
        await service_of(action).query(Document("a"))


def test_an_embedder_has_one_service() -> None:
    model = Model()
    assert service_of(model.action) is service_of(model.action)


# -- event loops


def test_event_loops_one_after_the_other_use_the_same_service() -> None:
    model = Model()
    assert [asyncio.run(model.query("x" * n)) for n in (1, 2, 3)] == [[1, 1], [2, 1], [3, 1]]


def test_a_loop_that_ended_in_the_middle_of_a_call_leaves_the_service_usable() -> None:
    model = Model()

    async def abandon() -> None:
        model.gate = asyncio.Event()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(model.query("a"), 0.01)

    asyncio.run(abandon())
    model.gate = None
    assert asyncio.run(asyncio.wait_for(model.query("a"), 5)) == [1, 1]


def test_event_loops_at_the_same_time_do_not_lose_each_others_queries() -> None:
    def blocking(documents: list[Document]) -> Any:
        return [[len(document.text), 1] for document in documents]

    service = EmbeddingService(embedder_action("fake/blocking", blocking), query_cache=0)

    async def work(thread: int) -> None:
        for n in range(50):
            texts = [f"{thread}" * (n % 7 + 1), "x" * (n % 5 + 1)]
            vectors = await asyncio.wait_for(asyncio.gather(*(service.query(Document(text)) for text in texts)), 10)
            assert [vector[0] for vector in vectors] == [len(text) for text in texts]

    failures: list[BaseException] = []

    def run(thread: int) -> None:
        try:
            asyncio.run(work(thread))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []


# -- documents


async def test_documents_go_in_batches_by_count_and_characters_and_come_back_in_order() -> None:
    model = Model(max_texts=3, max_characters=10)
    texts = ["a", "bb", "c", "dddd", "eeeeeee", "x" * 50, "f"]
    response = await model.service.documents([Document(text) for text in texts])
    assert model.calls == [["a", "bb", "c"], ["dddd"], ["eeeeeee"], ["x" * 50], ["f"]]
    assert response.vectors[:, 0].tolist() == [len(text) for text in texts]


@given(st.lists(st.text(max_size=12), max_size=12), st.integers(1, 4), st.integers(1, 20), st.integers(1, 3))
async def test_batches_keep_within_both_limits(texts: list[str], most: int, characters: int, concurrency: int) -> None:
    model = Model(max_texts=most, max_characters=characters, concurrency=concurrency)
    response = await model.service.documents([Document(text) for text in texts])
    assert len(response) == len(texts)
    assert [text for call in model.calls for text in call] == texts
    for call in model.calls:
        assert len(call) <= most
        assert len(call) == 1 or sum(map(len, call)) <= characters
    assert model.most <= concurrency
    if texts:
        assert response.vectors[:, 0].tolist() == [len(text) for text in texts]


async def test_no_documents_are_no_call() -> None:
    model = Model()
    assert len(await model.service.documents([])) == 0
    assert model.calls == []


@pytest.mark.parametrize("count", [1, 5])
async def test_a_failing_batch_raises_its_own_error(count: int) -> None:
    model = Model(max_texts=2)
    model.error = GenkitError("UNAVAILABLE", "The model is off.")
    with pytest.raises(GenkitError, match="off"):
        await model.service.documents([Document("a")] * count)


async def test_owners_and_metadata_are_joined_across_batches() -> None:
    def halves(documents: list[Document]) -> EmbedResponse:
        owners = [n for n in range(len(documents)) for _ in "12"]
        notes = [{"half": half} for _ in documents for half in (1, 2)]
        return EmbedResponse([[len(documents[owner].text), 1] for owner in owners], owners, notes)

    action = embedder_action("fake/halves", halves, batching=Batching(max_texts=2))
    response = await EmbeddingService(action).documents([Document("x" * n) for n in (1, 2, 3)])
    assert response.owners == [0, 0, 1, 1, 2, 2]
    assert [note["half"] for note in response.metadata or [] if note] == [1, 2] * 3
    assert response.vectors[:, 0].tolist() == [1, 1, 2, 2, 3, 3]
