"""The cache of token vectors: bounded, shared, never wrong, and never in the way."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genkit_rag import GenkitError
from genkit_rag_late_interaction._cache import OVERHEAD, TokenCache
from genkit_rag_late_interaction._file import VectorFile
from genkit_rag_late_interaction._maxsim import maxsim

WIDTH = 8


def vectors(text: str, revision: str = "r1") -> Any:
    """Vectors that are the text's only, as many as it has letters; halves, so that they come back as they are."""
    seed = int.from_bytes(f"{revision} {text}".encode()[-7:], "little")
    return np.random.default_rng(seed).standard_normal((len(text), WIDTH)).astype(np.float16).astype(np.float32)


class Model:
    """Computes `vectors`, and remembers of which texts."""

    def __init__(self, revision: str = "r1") -> None:
        self.asked: list[str] = []
        self._revision = revision

    def __call__(self, texts: list[str]) -> Iterable[Any]:
        self.asked += texts
        return [vectors(text, self._revision) for text in texts]


def correct(found: list[Any], texts: list[str], revision: str = "r1") -> bool:
    return all(np.array_equal(one, vectors(text, revision)) for one, text in zip(found, texts, strict=True))


TEXTS = st.lists(st.text("abc", max_size=6), max_size=6)


@given(calls=st.lists(TEXTS, max_size=12), limit=st.integers(0, 1500))
def test_whatever_is_asked_the_vectors_are_right_and_the_bytes_bounded(calls: list[list[str]], limit: int) -> None:
    cache, model = TokenCache("r1", limit), Model()
    for texts in calls:
        assert correct(cache.vectors(texts, model), texts)
        assert 0 <= cache.size <= limit


@given(calls=st.lists(TEXTS, max_size=12))
def test_with_room_enough_every_text_is_computed_once(calls: list[list[str]]) -> None:
    cache, model = TokenCache("r1", 1 << 20), Model()
    for texts in calls:
        cache.vectors(texts, model)
    assert sorted(model.asked) == sorted({text for texts in calls for text in texts})


def test_what_was_not_used_for_longest_goes_first() -> None:
    size = 2 * WIDTH + OVERHEAD  # one token in half precision
    cache, model = TokenCache("r1", 2 * size), Model()
    for text in ("a", "b", "a", "c", "a", "b"):
        cache.vectors([text], model)
    assert model.asked == ["a", "b", "c", "b"]


def test_threads_may_share_it(tmp_path: Path) -> None:
    cache = TokenCache("r1", 2000, VectorFile(tmp_path / "v", 1 << 20))
    wrong: list[list[str]] = []

    def work(seed: int) -> None:
        random = np.random.default_rng(seed)
        for _ in range(20):
            texts = ["".join(random.choice(list("abcd"), size=3)) for _ in range(5)]
            if not correct(cache.vectors(texts, Model()), texts):
                wrong.append(texts)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert cache.size <= 2000


# ---- the file


def test_a_file_gives_what_an_earlier_run_wrote(tmp_path: Path) -> None:
    texts = ["abc", "", "abcdef"]
    TokenCache("r1", 0, VectorFile(tmp_path / "deep" / "v", 1 << 20)).vectors(texts, Model())
    later = Model()
    assert correct(TokenCache("r1", 0, VectorFile(tmp_path / "deep" / "v", 1 << 20)).vectors(texts, later), texts)
    assert later.asked == []


def test_another_models_vectors_are_never_given(tmp_path: Path) -> None:
    file = VectorFile(tmp_path / "v", 1 << 20)
    TokenCache("r1", 1000, file).vectors(["abc"], Model())
    other = Model("r2")
    assert correct(TokenCache("r2", 1000, file).vectors(["abc"], other), ["abc"], "r2")
    assert other.asked == ["abc"]


@settings(deadline=None, max_examples=25)  # it waits for a disk
@given(calls=st.lists(TEXTS, min_size=1, max_size=5), limit=st.integers(0, 600))
def test_the_file_stays_within_its_limit(tmp_path_factory: Any, calls: list[list[str]], limit: int) -> None:
    file = VectorFile(tmp_path_factory.mktemp("cache") / "v", limit)
    for texts in calls:
        assert correct(TokenCache("r1", 0, file).vectors(texts, Model()), texts)
        if file.path.exists():
            assert kept(file.path) <= limit


def kept(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        (total,) = connection.execute("SELECT coalesce(sum(length(data)), 0) FROM vectors").fetchone()
    connection.close()
    return int(total)


def test_what_the_file_did_not_use_for_longest_goes_first(tmp_path: Path) -> None:
    file = VectorFile(tmp_path / "v", 2 * 3 * 2 * WIDTH)
    for text in ("aaa", "bbb"):
        TokenCache("r1", 0, file).vectors([text], Model())
    with sqlite3.connect(file.path) as connection:
        connection.execute("UPDATE vectors SET used = used - 10000 - rowid")  # long ago, `bbb` before `aaa`
    connection.close()
    for text in ("bbb", "ccc"):  # reading `bbb` says that it is in use
        TokenCache("r1", 0, file).vectors([text], Model())
    model = Model()
    TokenCache("r1", 0, file).vectors(["ccc"], model)
    TokenCache("r1", 0, file).vectors(["aaa"], model)
    assert model.asked == ["aaa"]


def test_damaged_vectors_are_computed_anew(tmp_path: Path) -> None:
    file = VectorFile(tmp_path / "v", 1 << 20)
    TokenCache("r1", 0, file).vectors(["abc"], Model())
    with sqlite3.connect(file.path) as connection:
        connection.execute("UPDATE vectors SET data = zeroblob(length(data))")
    connection.close()
    for asked in (["abc"], []):
        model = Model()
        assert correct(TokenCache("r1", 0, file).vectors(["abc"], model), ["abc"])
        assert model.asked == asked


@pytest.mark.parametrize("content", ["text", "database"])
def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "v"
    if content == "text":
        path.write_text("notes " * 500)
    else:
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE mine (a)")
        connection.close()
    before = path.read_bytes()
    with pytest.raises(GenkitError) as caught:
        TokenCache("r1", 0, VectorFile(path, 1 << 20)).vectors(["abc"], Model())
    assert caught.value.status == "FAILED_PRECONDITION"
    assert path.read_bytes() == before


def test_a_place_that_cannot_be_written_to_costs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "v", tmp_path):  # below a file; a folder
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert correct(TokenCache("r1", 0, VectorFile(path, 1 << 20)).vectors(["abc"], Model()), ["abc"])
        assert "cannot be used now" in caplog.text


def test_a_file_that_is_locked_for_long_costs_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("genkit_rag_late_interaction._file.BUSY_SECONDS", 0.05)
    file = VectorFile(tmp_path / "v", 1 << 20)
    TokenCache("r1", 0, file).vectors(["abc"], Model())
    other = sqlite3.connect(file.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with caplog.at_level(logging.WARNING):
        assert correct(TokenCache("r1", 0, file).vectors(["abc", "b"], Model()), ["abc", "b"])
    other.close()
    assert "locked" in caplog.text


WRITER = """
import os, sys
sys.path[:0] = sys.argv[1].split(os.pathsep)
import numpy as np
from pathlib import Path
from genkit_rag_late_interaction._cache import TokenCache
from genkit_rag_late_interaction._file import VectorFile
file = VectorFile(Path(sys.argv[2]), int(sys.argv[4]))
print("ready", flush=True)
for number in range(int(sys.argv[3])):
    texts = [f"{number} {i}" for i in range(20)]
    compute = lambda texts: [np.full((50, 8), len(text), dtype=np.float32) for text in texts]
    found = TokenCache("r1", 0, file).vectors(texts, compute)
    assert all((one == len(text)).all() for one, text in zip(found, texts)), texts
"""


def writer(path: Path, rounds: int, limit: int = 1 << 30) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, os.pathsep.join(sys.path), str(path), str(rounds), str(limit)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def sound(path: Path) -> bool:
    with sqlite3.connect(path) as connection:
        (said,) = connection.execute("PRAGMA integrity_check").fetchone()
    connection.close()
    return bool(said == "ok")


def test_processes_may_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "v"
    writers = [writer(path, 10, limit) for limit in (1 << 30, 40_000)]
    for process in writers:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert sound(path)


def test_a_process_that_is_killed_leaves_a_file_that_works(tmp_path: Path) -> None:
    path = tmp_path / "v"
    for delay in (0.0, 0.07):
        process = writer(path, 100_000)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        assert correct(TokenCache("r1", 0, VectorFile(path, 1 << 30)).vectors(["abc"], Model()), ["abc"])
        assert sound(path)


# ---- the score


@given(query=st.integers(0, 5), lengths=st.lists(st.integers(0, 7), max_size=8), seed=st.integers(0, 99))
def test_maxsim_is_the_mean_of_the_largest_cosines(query: int, lengths: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    words = random.standard_normal((query, WIDTH)).astype(np.float32)
    documents = [random.standard_normal((length, WIDTH)).astype(np.float16) for length in lengths]
    expected = [
        float((words @ one.astype(np.float32).T).max(axis=1).mean()) if query and len(one) else 0.0 for one in documents
    ]
    assert maxsim(words, documents).tolist() == pytest.approx(expected, abs=1e-5)
