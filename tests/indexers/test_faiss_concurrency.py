"""Many at once: every query sees one state, the loop goes on, a cancelled caller breaks nothing."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import numpy as np

from genkit_rag.plugin_api import Document, parse_filter
from genkit_rag_faiss import FaissStore
from genkit_rag_faiss._inline import InlineBudget


def unit(n: int, dimensions: int = 16, seed: int = 0) -> Any:
    rows = np.random.default_rng(seed).standard_normal((n, dimensions)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


async def test_a_query_sees_all_of_a_batch_or_nothing_of_it(tmp_path: Path) -> None:
    store = await FaissStore.open(tmp_path / "docs")
    rows = unit(20)
    names = [f"d{i}" for i in range(20)]
    done = False

    async def write() -> None:
        nonlocal done
        for version in range(40):
            await store.upsert([Document(f"common v{version}", {"v": version}, id=name) for name in names], rows)
            if version % 10 == 5:
                await store.compact()
            if version % 10 == 9:
                assert await store.delete(ids=names) == 20
        done = True

    async def read(text: bool) -> int:
        seen = 0
        while not done:
            hits = await store.search_text("common", 50) if text else (await store.search(rows[:1], 50))[0]
            versions = {hit.document.metadata["v"] for hit in hits if hit.document is not None}
            assert len(hits) in (0, 20)
            assert len(versions) <= 1
            seen += 1
            await asyncio.sleep(0)
        return seen

    async def read_filtered() -> int:
        seen = 0
        while not done:
            assert await store.count(filter=parse_filter({"v": {"$gte": 0}})) in (0, 20)
            seen += 1
        return seen

    _, *seen = await asyncio.gather(write(), read(False), read(False), read(True), read_filtered())
    assert all(seen)
    assert (await store.verify()).ok
    await store.close()


async def test_a_thousand_searches_at_once_give_what_each_gives_alone(tmp_path: Path) -> None:
    store = await FaissStore.open(tmp_path / "docs")
    rows = unit(3000)
    await store.upsert([Document(str(i), {"c": i % 10}, id=str(i)) for i in range(3000)], rows)
    tree = parse_filter({"c": 3})
    found = await asyncio.gather(
        *(store.search(rows[i : i + 1], 3, filter=tree if i % 10 == 3 else None) for i in range(1000))
    )
    for i, (hits,) in enumerate(found):
        order = np.arange(3, 3000, 10) if i % 10 == 3 else np.arange(3000)
        assert [hit.id for hit in hits] == [str(j) for j in order[np.argsort(-(rows[order] @ rows[i]))[:3]]]
    await store.close()


async def test_a_crowd_of_searches_leaves_the_loop_to_others(tmp_path: Path) -> None:
    store = await FaissStore.open(tmp_path / "docs")
    rows = unit(20_000, 64)
    await store.upsert([Document(str(i), id=str(i)) for i in range(20_000)], rows)
    turns = 0
    running = True

    async def tick() -> None:
        nonlocal turns
        while running:
            turns += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    await asyncio.gather(*(store.search(rows[i : i + 1], 10) for i in range(64)))
    running = False
    await ticking
    assert turns > 3
    await store.close()


async def test_the_budget_of_a_turn_is_given_out_once_and_again_in_the_next() -> None:
    budget = InlineBudget()
    assert not budget.take(0.1)
    assert budget.take(0.0019)
    assert not budget.take(0.0019)
    assert budget.take(0.0005)
    await asyncio.sleep(0)
    assert budget.take(0.0019)


def test_a_budget_serves_one_loop_after_another() -> None:
    budget = InlineBudget()

    async def use() -> bool:
        return budget.take(0.0019)

    assert asyncio.run(use())
    assert asyncio.run(use())


async def test_a_cancelled_write_is_whole_or_absent(tmp_path: Path) -> None:
    store = await FaissStore.open(tmp_path / "docs")
    rows = unit(500)
    for attempt in range(10):
        task = asyncio.create_task(store.upsert([Document("x", id=f"{attempt}-{i}") for i in range(500)], rows))
        await asyncio.sleep(0.001 * attempt)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await store.upsert([], rows[:0])  # a write waits for the one before it
        assert await store.count() % 500 == 0
    assert (await store.verify()).ok
    await store.close()


def test_one_store_serves_the_loops_of_several_threads(tmp_path: Path) -> None:
    store = asyncio.run(FaissStore.open(tmp_path / "docs"))
    rows = unit(100)
    failures: list[BaseException] = []

    async def use(number: int) -> None:
        await store.upsert([Document("x", id=f"{number}-{i}") for i in range(100)], rows)
        for i in range(50):
            hits = (await store.search(rows[i : i + 1], 4))[0]
            assert hits[0].score > 0.999

    def run(number: int) -> None:
        try:
            asyncio.run(use(number))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert asyncio.run(store.count()) == 400
    asyncio.run(store.close())


async def test_closing_ends_every_thread(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    store = await FaissStore.open(tmp_path / "docs")
    await store.upsert([Document("x", id="x")], unit(1))
    await asyncio.gather(*(store.search(unit(50), 1) for _ in range(8)))
    await store.search_text("x", 1)
    await store.close()
    await asyncio.sleep(0.05)
    assert {t for t in threading.enumerate() if t.name.startswith("faiss")} <= before
