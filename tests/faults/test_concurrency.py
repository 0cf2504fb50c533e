"""Ten thousand searches and hundreds of writes at once: no error, no growth, and turns for everybody else."""

from __future__ import annotations

import asyncio
import gc
import sys
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from genkit_rag import Document
from tests.faults.apps import App, Kind, both, opened

SEARCHES = 10_000
WORDS = [f"word{n}" for n in range(30)]
GROWTH = 1_000
"""Memory blocks that a round may leave: a tenth of one for each search. A leak leaves one or more."""


class Ticker:
    """Another task of the same event loop; counts its turns."""

    def __init__(self) -> None:
        self.ticks = 0

    async def __aenter__(self) -> Ticker:
        self._task = asyncio.create_task(self._tick())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(0)
            self.ticks += 1


async def crowd(app: App) -> None:
    """Asks for 10,000 texts at once (more than are remembered); each caller gets the answer to its own."""

    async def ask(n: int) -> bool:
        word = WORDS[n % len(WORDS)]
        return await app.found(f"{word} {word} {word} number{n}", k=1) == [word]

    assert all(await asyncio.gather(*(ask(n) for n in range(SEARCHES))))


async def blocks() -> int:
    """Returns how many memory blocks are in use, once the loop has let go of the tasks that ended."""
    for _ in range(10):
        await asyncio.sleep(0)
    gc.collect()
    return sys.getallocatedblocks()


@both
async def test_ten_thousand_searches_at_once_are_answered_and_leave_nothing(
    kind: Kind, tmp_path: Path, spans: InMemorySpanExporter
) -> None:
    async with opened(kind, tmp_path) as app:
        await app.index([Document(word, id=word) for word in WORDS])
        await crowd(app)
        app.calls.clear()
        spans.clear()  # when other tests have set tracing up, it keeps them
        before = await blocks()
        async with Ticker() as ticker:
            await crowd(app)
        assert sum(map(len, app.calls)) <= SEARCHES
        assert len(app.calls) < SEARCHES / 50  # they shared calls
        assert ticker.ticks > 40
        app.calls.clear()
        spans.clear()
        assert await blocks() - before < GROWTH
        assert len(asyncio.all_tasks()) == 1


@both
async def test_writers_wait_in_line_while_searches_are_answered(kind: Kind, tmp_path: Path) -> None:
    writers = 300
    async with opened(kind, tmp_path) as app:
        await app.index([Document(word, id=word) for word in WORDS])
        sizes: list[int] = []

        async def write(n: int) -> None:
            pair = [Document(f"pair{n} left", id=f"{n} left"), Document(f"pair{n} right", id=f"{n} right")]
            await app.index(pair)
            if n % 3 == 0:
                assert await app.delete(ids=[document.id for document in pair]) == 2

        async def search(n: int) -> Any:
            word = WORDS[n % len(WORDS)]
            found = await app.found(word, k=1)
            sizes.append(await (await app.opened()).count())
            return found == [word]

        async with Ticker() as ticker:
            writing = asyncio.gather(*(write(n) for n in range(writers)))
            searching = asyncio.gather(*(search(n) for n in range(1000)))
            assert all(await searching)
            await writing
        assert all(size % 2 == 0 for size in sizes)  # whole batches only
        left = {f"{n} {side}" for n in range(writers) if n % 3 for side in ("left", "right")}
        assert set(await app.ids()) == left | set(WORDS)
        assert ticker.ticks > (40 if kind == "faiss" else 0)  # in memory there is nothing to wait for
