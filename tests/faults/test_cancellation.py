"""A call that is cancelled at any of its awaits leaves whole batches, no task, no lock, and a store that works."""

from __future__ import annotations

import asyncio
import itertools
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from pathlib import Path
from typing import Any

import pytest

from genkit_rag import Document, EmbedResponse
from genkit_rag.plugin_api import Batching, VectorStore
from genkit_rag.testing import FakeEmbedder
from tests.faults.apps import App, Kind, both, opened

LATER = pytest.mark.parametrize("turns", [0, 2], ids="{} turns later".format)
"""How many turns of the event loop after the call began to wait it is cancelled: what it waits for may be done then."""


WORDS = FakeEmbedder()


class Cancelled:
    """Awaits a coroutine and cancels the task at its `point`-th suspension; `reached` says whether there was one."""

    def __init__(self, steps: Coroutine[Any, Any, Any], point: int, turns: int) -> None:
        self.steps, self.point, self.turns = steps, point, turns
        self.reached = False

    async def run(self) -> Any:
        return await self._stepped()

    @types.coroutine
    def _stepped(self) -> Generator[Any, Any, Any]:
        error: BaseException | None = None
        for number in itertools.count(1):
            try:
                waited = self.steps.send(None) if error is None else self.steps.throw(error)
            except StopIteration as done:
                return done.value
            if number == self.point:
                self.reached = True
                self._cancel(asyncio.current_task(), self.turns)
            error = None
            try:
                yield waited
            except BaseException as caught:
                error = caught

    def _cancel(self, task: asyncio.Task[Any] | None, turns: int) -> None:
        assert task is not None
        if turns:
            asyncio.get_running_loop().call_soon(self._cancel, task, turns - 1)
        else:
            task.cancel()


async def at_every_await(call: Callable[[], Coroutine[Any, Any, Any]], turns: int) -> AsyncIterator[bool]:
    """Cancels one call after the other at its first, second, ... await; yields whether it was cancelled."""
    for point in itertools.count(1):
        before = asyncio.all_tasks()
        cancelled = Cancelled(call(), point, turns)
        task = asyncio.create_task(cancelled.run())
        await asyncio.wait([task], timeout=20)
        assert task.done()
        if not task.cancelled():
            await task  # cancelled or done: no other error comes out of it
        left = asyncio.all_tasks() - before - {task}
        if left:
            _, left = await asyncio.wait(left, timeout=20)
        assert not left
        if not cancelled.reached:
            return  # a store in memory may have nothing to wait for
        yield task.cancelled()


async def embed(batch: list[Document]) -> Any:
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return [WORDS.vector(document.text) for document in batch]


async def works(app: App) -> None:
    """Everything can still be done: no lock is held, no writer is counted, no task waits."""
    async with asyncio.timeout(20):
        await app.index([Document("new", id="new")])
        assert "new" in await app.found("new", k=1000)
        assert await app.delete(ids=["new"]) == 1
        await app.ai.reindex(app.store)  # waits for all who write


@both
@LATER
async def test_indexing_leaves_whole_batches(kind: Kind, turns: int, tmp_path: Path) -> None:
    version = 0

    def index() -> Coroutine[Any, Any, Any]:
        nonlocal version
        version += 1
        texts = [f"document{n} version{version}" for n in range(6)]
        documents = [Document(text, {"v": version}, id=f"{n // 2}-{n % 2}") for n, text in enumerate(texts)]
        return app.index(documents, batch_size=2)

    async with opened(kind, tmp_path, embed, batching=Batching(max_texts=1, concurrency=2)) as app:
        await index()
        outcomes: list[bool] = []
        async for cancelled in at_every_await(index, turns):
            outcomes.append(cancelled)
            await app.delete(ids=["nobody"])  # a write that runs in a thread ends there, before the next one
            store = await app.opened()
            pairs = [await store.get([f"{n}-0", f"{n}-1"]) for n in range(3)]
            versions = [[document.metadata["v"] for document in pair if document is not None] for pair in pairs]
            assert all(len(pair) == 2 and pair[0] == pair[1] for pair in versions)
            first, second, third = (pair[0] for pair in versions)
            assert first >= second >= third  # a later batch is never written without an earlier one
            assert cancelled or third == version
            for pair in pairs:
                for document in pair:
                    assert document is not None
                    (hit,) = await app.ai.retrieve(app.store, document.text, {"k": 1})
                    assert (hit.id, hit.text) == (document.id, document.text)
        assert sum(outcomes) >= 3
        await works(app)


class Verbs:
    """Cancels a task when it, or a task of its own, begins the `point`-th call of a store."""

    def __init__(self, store: VectorStore) -> None:
        self.calls, self.point = 0, 0
        self.task: asyncio.Task[Any] | None = None
        for name in ("upsert", "get", "ids", "delete"):
            setattr(store, name, self._watched(getattr(store, name)))

    def _watched(self, verb: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **options: Any) -> Any:
            self.calls += 1
            if self.calls == self.point and self.task is not None:
                self.task.cancel()
            await asyncio.sleep(0)
            return await verb(*args, **options)

        return call


@both
async def test_a_document_with_several_vectors_is_replaced_as_a_whole(kind: Kind, tmp_path: Path) -> None:
    async def several(batch: list[Document]) -> EmbedResponse:
        await asyncio.sleep(0)
        owners = [n for n, document in enumerate(batch) for _ in document.text.split()]
        return EmbedResponse([[1.0, float(n)] for n in range(len(owners))], owners)

    texts = ["one two three four", "one two", "one", "one two three", "one two"]
    async with opened(kind, tmp_path, several) as app:
        store = await app.opened()
        verbs = Verbs(store)
        for number in itertools.count(1):
            version = number % len(texts)
            for point in itertools.count(1):
                verbs.calls, verbs.point, verbs.task = 0, 0, None
                await app.index([Document(texts[version - 1], {"v": -1}, id="x")])
                verbs.calls, verbs.point = 0, point
                verbs.task = asyncio.create_task(app.index([Document(texts[version], {"v": version}, id="x")]))
                await asyncio.wait([verbs.task], timeout=20)
                assert verbs.task.cancelled() == (verbs.calls >= point)
                verbs.point = 0
                entries = [entry for entry in await store.get(await store.ids()) if entry is not None]
                assert len({entry.metadata["v"] for entry in entries}) == 1
                assert len(entries) == len(entries[0].text.split())
                if verbs.calls < point:
                    break
            if number == len(texts):
                return


@both
@LATER
@pytest.mark.parametrize("way", [{"ids": ["a", "b"]}, {"filter": {"n": 1}}, {"source": "s"}], ids=str)
async def test_deleting_is_done_or_not_done(kind: Kind, turns: int, way: Any, tmp_path: Path) -> None:
    documents = [Document(name, {"n": 1, "source": "s"}, id=name) for name in "ab"]
    async with opened(kind, tmp_path, embed) as app:
        await app.index([*documents, Document("c", id="c")])
        async for cancelled in at_every_await(lambda: app.delete(**way), turns):
            left = await app.ids()
            assert left in (["a", "b", "c"], ["c"])
            assert cancelled or left == ["c"]
            await app.index(documents)
        await works(app)


@both
@LATER
@pytest.mark.parametrize(
    "options", [{"mode": "vector"}, {"mode": "text"}, {"mode": "hybrid"}, {"mmr_lambda": 0.5}], ids=str
)
async def test_retrieving_disturbs_nobody(kind: Kind, turns: int, options: Any, tmp_path: Path) -> None:
    async with opened(kind, tmp_path, embed) as app:
        await app.index([Document(f"cat {n}", {"n": n}, id=str(n)) for n in range(100)])
        number = 0

        def retrieve() -> Coroutine[Any, Any, Any]:
            nonlocal number
            number += 1  # another query each time: it is embedded
            return app.found(f"cat {number}", k=70, filter={"n": {"$lt": 95}}, **options)

        async def beside() -> list[str]:
            return await app.found("cat", k=70, filter={"n": {"$lt": 95}}, **options)

        expected = await beside()
        async for _ in at_every_await(retrieve, turns):
            assert await beside() == expected
        assert await asyncio.gather(*(beside() for _ in range(5))) == [expected] * 5
        await works(app)


@both
async def test_one_who_is_cancelled_takes_none_with_it(kind: Kind, tmp_path: Path) -> None:
    """Half of a crowd that asks, writes and deletes at once is cancelled; the other half gets what it asked for."""
    async with opened(kind, tmp_path, embed) as app:
        await app.index([Document(f"cat {n}", id=str(n)) for n in range(50)])

        def calls(n: int) -> list[Awaitable[Any]]:
            return [
                app.found(f"cat {n}", k=1),
                app.found(f"cat {n}", k=1, mode="text"),
                app.index([Document(f"dog {n}", id=f"new {n}")]),
                app.delete(ids=[f"{n}"]),
            ]

        tasks = [asyncio.ensure_future(call) for n in range(40) for call in calls(n)]
        for turn, task in enumerate(tasks[1::2]):
            if turn % 10 == 0:
                await asyncio.sleep(0)
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert not [result for result in results[::2] if isinstance(result, BaseException)]
        wrong = [r for r in results[1::2] if isinstance(r, BaseException) and not isinstance(r, asyncio.CancelledError)]
        assert not wrong
        assert {f"new {n}" for n in range(40)} <= set(await app.ids())
        await works(app)
