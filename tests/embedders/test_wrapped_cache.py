from __future__ import annotations

import asyncio
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from genkit_rag import Genkit, GenkitError
from genkit_rag.plugin_api import Vectors
from genkit_rag_wrapped import Wrapped, WrappedConfig
from genkit_rag_wrapped._cache import VectorCache
from tests.embedders.test_wrapped import Words, embed, wrapped

KEYS = [bytes([number]) * 20 for number in range(8)]


def vector(number: float) -> Vectors:
    return np.full(4, number, dtype=np.float32)


def cached(path: Path) -> WrappedConfig:
    return WrappedConfig("inner/words", cache=path, retries=0)


def contents(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


# ---- a text is embedded once


async def test_a_text_is_embedded_once_ever(tmp_path: Path) -> None:
    first, second = Words(), Words()
    before = await embed(await wrapped(first, cached(tmp_path / "v.db")), "one", "two", "one")
    after = await embed(await wrapped(second, cached(tmp_path / "v.db")), "three", "one", "two")
    assert (first.calls, second.calls) == ([["one", "two"]], [["three"]])
    assert after[1:].tobytes() == before[:2].tobytes()


async def test_concurrent_misses_of_a_text_share_one_call(tmp_path: Path) -> None:
    inner = Words()
    inner.gate = asyncio.Event()
    action = await wrapped(inner, cached(tmp_path / "v.db"))
    waiting = [asyncio.create_task(embed(action, f"own {i}", "shared")) for i in range(5)]
    for _ in range(50):
        await asyncio.sleep(0.001)
    inner.gate.set()
    found = await asyncio.gather(*waiting)
    assert sorted(text for call in inner.calls for text in call) == [*(f"own {i}" for i in range(5)), "shared"]
    assert len({vectors[1].tobytes() for vectors in found}) == 1


async def test_a_failure_is_the_callers_own_and_others_ask_again(tmp_path: Path) -> None:
    inner = Words()
    inner.gate = asyncio.Event()
    action = await wrapped(inner, cached(tmp_path / "v.db"))
    inner.errors.append(GenkitError("INVALID_ARGUMENT", "the other text is bad"))
    bad = asyncio.create_task(embed(action, "bad", "shared"))
    await asyncio.sleep(0.05)
    good = asyncio.create_task(embed(action, "shared"))
    await asyncio.sleep(0.05)
    inner.gate.set()
    with pytest.raises(GenkitError, match="other text"):
        await bad
    assert (await good).shape == (1, 16)
    assert inner.calls == [["bad", "shared"], ["shared"]]


async def test_a_cancelled_caller_takes_nobody_with_it(tmp_path: Path) -> None:
    inner = Words()
    inner.gate = asyncio.Event()
    action = await wrapped(inner, cached(tmp_path / "v.db"))
    leader = asyncio.create_task(embed(action, "shared"))
    await asyncio.sleep(0.05)
    followers = [asyncio.create_task(embed(action, "shared")) for _ in range(3)]
    await asyncio.sleep(0.05)
    leader.cancel()
    followers[0].cancel()
    inner.gate.set()
    found = await asyncio.gather(*followers[1:])
    assert found[0].tobytes() == found[1].tobytes()


async def test_what_came_before_a_failure_is_kept(tmp_path: Path) -> None:
    inner = Words()
    wrap = WrappedConfig("inner/words", cache=tmp_path / "v.db", max_texts=1, max_concurrency=1, retries=0)
    action = await wrapped(inner, wrap)
    original = inner.fake.vector
    seen: list[str] = []

    def fail_at_third(text: str) -> Vectors:
        seen.append(text)
        if len(seen) == 3:
            raise GenkitError("INVALID_ARGUMENT", "no")
        return original(text)

    inner.fake.vector = fail_at_third  # type: ignore[method-assign]
    with pytest.raises(GenkitError, match="no"):
        await embed(action, "a", "b", "c", "d")
    await embed(action, "a", "b", "c", "d")
    assert [call[0] for call in inner.calls] == ["a", "b", "c", "c", "d"]


async def test_queries_documents_sizes_and_models_do_not_mix(tmp_path: Path) -> None:
    inner = Words(shortens=True)
    action = await wrapped(inner, cached(tmp_path / "v.db"))
    await embed(action, "cat")
    await embed(action, "cat", task="query")
    assert (await embed(action, "cat", dimensions=4)).shape == (1, 4)
    other = Words(revision="new weights")
    await embed(await wrapped(other, cached(tmp_path / "v.db")), "cat")
    assert (len(inner.calls), len(other.calls)) == (3, 1)


async def test_another_model_of_the_same_name_is_noticed_by_its_length(tmp_path: Path) -> None:
    from genkit_rag.testing import FakeEmbedder

    def wrap() -> WrappedConfig:
        return WrappedConfig("fake/words", cache=tmp_path / "v.db")

    await embed(await wrapped(FakeEmbedder(8), wrap()), "cat")
    with pytest.raises(GenkitError, match="another length") as caught:
        await embed(await wrapped(FakeEmbedder(9), wrap()), "cat", "dog")
    assert caught.value.status == "FAILED_PRECONDITION"


async def test_the_file_holds_no_text(tmp_path: Path) -> None:
    async with Genkit(plugins=[Words(), Wrapped({"w": cached(tmp_path / "v.db")})]) as ai:
        await ai.embed("wrapped/w", "a secret sentence")
    assert b"secret" not in contents(tmp_path)


def test_one_wrap_works_in_several_event_loops(tmp_path: Path) -> None:
    inner = Words()
    plugin = Wrapped(
        {"w": WrappedConfig("inner/words", cache=tmp_path / "v.db", max_concurrency=1, requests_per_minute=1e7)}
    )
    ai = Genkit(plugins=[inner, plugin])
    found: list[Any] = []

    def run() -> None:
        for number in range(5):
            found.append(asyncio.run(ai.embed("wrapped/w", f"text {number}"))[0].embedding)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({tuple(one) for one in found}) == 5
    assert len(found) == 20


# ---- the file


class CacheMachine(RuleBasedStateMachine):
    """A cache against a dictionary: two handles on one file, closed, reopened, with rows that rot."""

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "v.db"
        self.caches = [VectorCache(self.path), VectorCache(self.path)]
        self.model: dict[bytes, float] = {}

    @rule(which=st.integers(0, 1), keys=st.lists(st.sampled_from(KEYS)), number=st.integers(0, 99))
    def put(self, which: int, keys: list[bytes], number: int) -> None:
        kept = self.caches[which].put({key: vector(number) for key in keys})
        for key in keys:
            self.model.setdefault(key, number)
            assert kept[key].tolist() == vector(self.model[key]).tolist()

    @rule(which=st.integers(0, 1), keys=st.lists(st.sampled_from(KEYS), unique=True))
    def get(self, which: int, keys: list[bytes]) -> None:
        found = self.caches[which].get(keys)
        assert {key: row.tolist() for key, row in found.items()} == {
            key: vector(self.model[key]).tolist() for key in keys if key in self.model
        }

    @rule(which=st.integers(0, 1))
    def close(self, which: int) -> None:
        self.caches[which].close()

    @rule(key=st.sampled_from(KEYS), blob=st.binary(max_size=17))
    def rot(self, key: bytes, blob: bytes) -> None:
        """Bytes of a row change: it is no longer there, and can be written again."""
        if key in self.model:
            db = sqlite3.connect(self.path)
            db.execute("UPDATE vector SET vector = ? WHERE key = ?", (blob, key))
            db.commit()
            db.close()
            del self.model[key]
            assert self.caches[0].get([key]) == {}

    @invariant()
    def nothing_is_invented(self) -> None:
        if hasattr(self, "model"):
            assert set(self.caches[0].get(KEYS)) == set(self.model)

    def teardown(self) -> None:
        for cache in getattr(self, "caches", []):
            cache.close()
        if hasattr(self, "folder"):
            self.folder.cleanup()


TestCacheMachine = CacheMachine.TestCase
TestCacheMachine.settings = settings(max_examples=40, stateful_step_count=15, deadline=None)


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    now = 1000.0
    cache = VectorCache(tmp_path / "v.db", 200_000, clock=lambda: now)
    rows = {number.to_bytes(20, "big"): np.full(384, number, dtype=np.float32) for number in range(400)}
    keys = list(rows)
    cache.put({key: rows[key] for key in keys[:50]})
    for start in range(50, 400, 50):
        now += 100
        assert set(cache.get(keys[:20])) == set(keys[:20])  # these are in use
        cache.put({key: rows[key] for key in keys[start : start + 50]})
    assert set(cache.get(keys[:20])) == set(keys[:20])
    assert keys[399] in cache.get(keys)
    assert cache.get(keys[20:50]) == {}
    cache.close()
    assert (tmp_path / "v.db").stat().st_size < 400_000


@pytest.mark.parametrize("damage", ["header", "pages", "short", "text"])
def test_a_damaged_file_is_set_aside_and_begun_anew(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "v.db"
    keys = [number.to_bytes(20, "big") for number in range(500)]
    cache = VectorCache(path)
    cache.put({key: np.ones(64, dtype=np.float32) for key in keys})
    cache.close()
    body = path.read_bytes()
    path.write_bytes(
        {
            "header": b"\0" * 100 + body[100:],
            "pages": body[:4096] + b"\xa5" * (len(body) - 4096),
            "short": body[: len(body) // 2 + 100],
            "text": b"these are no vectors",
        }[damage]
    )
    cache = VectorCache(path)
    with caplog.at_level(logging.WARNING):
        assert cache.get(keys) == {}
    kept = cache.put({keys[0]: vector(3)})
    assert kept[keys[0]].tolist() == [3, 3, 3, 3]
    assert set(cache.get(keys)) == {keys[0]}
    cache.close()
    assert (tmp_path / "v.db.damaged").exists()
    assert "was damaged" in caplog.text


def test_a_file_that_another_process_has_replaced_is_not_set_aside_again(tmp_path: Path) -> None:
    path = tmp_path / "v.db"
    caches = [VectorCache(path), VectorCache(path)]
    for cache in caches:
        cache.put({KEYS[0]: vector(1)})
    for cache in caches:
        cache.close()
    path.write_bytes(b"rubbish" * 1000)
    assert caches[0].put({KEYS[1]: vector(2)})[KEYS[1]][0] == 2
    assert set(caches[1].get(KEYS)) == {KEYS[1]}
    for cache in caches:
        cache.close()


def test_a_database_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "mine.db"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE accounts (id)")
    db.commit()
    db.close()
    before = path.read_bytes()
    with pytest.raises(GenkitError, match="another program") as caught:
        VectorCache(path).get(KEYS)
    assert caught.value.status == "FAILED_PRECONDITION"
    assert path.read_bytes() == before


def test_a_path_that_cannot_be_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(GenkitError, match="cannot be opened") as caught:
        VectorCache(tmp_path).get(KEYS)
    assert str(tmp_path) in caught.value.message


def test_a_file_that_another_one_holds_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("genkit_rag_wrapped._database.BUSY_SECONDS", 0.05)
    cache = VectorCache(tmp_path / "v.db")
    cache.put({KEYS[0]: vector(1)})
    other = sqlite3.connect(tmp_path / "v.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert cache.put({KEYS[1]: vector(2)})[KEYS[1]].tolist() == [2, 2, 2, 2]
    assert "not used for now" in caplog.text
    other.execute("ROLLBACK")
    other.close()
    assert set(cache.get(KEYS)) == {KEYS[0]}
    cache.put({KEYS[1]: vector(2)})
    assert set(cache.get(KEYS)) == {KEYS[0], KEYS[1]}
    cache.close()


_WRITER = """
import sys
from pathlib import Path
import numpy as np
from genkit_rag_wrapped._cache import VectorCache
path, mark, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
cache = VectorCache(path)
for number in range(count):
    key = number.to_bytes(20, "big")
    kept = cache.put({key: np.full(256, mark, dtype=np.float32)})[key]
    print(number, int(kept[0]), flush=True)
"""


def _writer(path: Path, mark: int, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path), str(mark), str(count)], stdout=subprocess.PIPE, text=True
    )


def _said(lines: Iterable[str]) -> list[tuple[int, int]]:
    return [(int(number), int(mark)) for number, mark in (line.split() for line in lines if line.endswith("\n"))]


def test_two_processes_on_one_file_agree_on_every_vector(tmp_path: Path) -> None:
    processes = [_writer(tmp_path / "v.db", mark, 300) for mark in (1, 2)]
    said = [dict(_said(process.stdout or ())) for process in processes]
    for process in processes:
        with process:
            assert process.wait(60) == 0
    assert len(said[0]) == 300
    assert said[0] == said[1]
    found = VectorCache(tmp_path / "v.db").get([number.to_bytes(20, "big") for number in range(300)])
    assert {int.from_bytes(key, "big"): int(row[0]) for key, row in found.items()} == said[0]


def test_what_was_said_to_be_kept_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "v.db"
    total = 0
    for turn in range(3):
        with _writer(path, turn + 1, 1_000_000) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(total + 40)]
            os.kill(process.pid, signal.SIGKILL)
            said = _said([*lines, *process.stdout])
        total = len(said)
        cache = VectorCache(path)
        found = cache.get([number.to_bytes(20, "big") for number in range(total)])
        cache.close()
        assert {int.from_bytes(key, "big"): int(row[0]) for key, row in found.items()} == dict(said)
    assert not (tmp_path / "v.db.damaged").exists()
