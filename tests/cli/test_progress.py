"""How far an ingestion is: the time left while one long file runs."""

from __future__ import annotations

import pytest

from genkit_rag._cli.stores import progress
from genkit_rag.ingest import ChunksDone, SourceDone, Started


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


def test_the_time_left_shrinks_while_a_long_file_runs(clock: Clock) -> None:
    totals = progress._Totals()
    totals.add(Started(2, 101_000))
    totals.add(ChunksDone(embedded=10))
    totals.add(SourceDone("short", "added", 10, 1_000))
    clock.now = 1.0
    assert "0:01:40 left" in str(totals)
    for _ in range(50):
        clock.now += 1.0
        totals.add(ChunksDone(embedded=10))
    assert "0:00:50 left" in str(totals)
    assert totals.done_bytes == pytest.approx(51_000)
    totals.add(SourceDone("long", "added", 500, 100_000))
    assert totals.done_bytes == 101_000
    assert "left" not in str(totals)


def test_the_bar_never_says_done_before_the_last_source_is(clock: Clock) -> None:
    totals = progress._Totals()
    totals.add(Started(2, 2_000))
    totals.add(ChunksDone(embedded=1))
    totals.add(SourceDone("short", "added", 1, 1_000))
    for _ in range(100):
        totals.add(ChunksDone(kept=10))
    assert 1_000 < totals.done_bytes < 2_000


def test_while_the_first_source_runs_nothing_is_said_of_the_time_left(clock: Clock) -> None:
    totals = progress._Totals()
    totals.add(Started(1, 1_000_000))
    clock.now = 60.0
    totals.add(ChunksDone(embedded=1_000))
    assert "left" not in str(totals)
    assert totals.done_bytes == 0


def test_unchanged_sources_say_nothing_about_the_length_of_chunks(clock: Clock) -> None:
    totals = progress._Totals()
    totals.add(Started(3, 12_000))
    totals.add(SourceDone("same", "unchanged", 1, 10_000))
    totals.add(ChunksDone(embedded=1))
    totals.add(SourceDone("new", "added", 1, 1_000))
    totals.add(ChunksDone(embedded=1))
    assert totals.done_bytes == pytest.approx(0.99 * 12_000)
