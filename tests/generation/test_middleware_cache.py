"""The response cache: an equal request costs nothing, and the cache never costs an answer."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genkit_rag import Document, Genkit, GenkitError, Message, ModelResponse, Part
from genkit_rag.middleware import Cache, augment_with_context, cache, redact, retry
from genkit_rag.plugin_api import ToolRequest, Usage
from genkit_rag.testing import ScriptedModel


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class World:
    """A model that counts its answers."""

    def __init__(self, made: Cache | None = None, *, name: str = "test/model", answers: Any = None) -> None:
        self.ai = Genkit()
        script = answers or [lambda request, n=n: f"answer {n}" for n in range(100)]
        self.model = ScriptedModel(name, script)
        self.cache = made or cache()

    async def run(self, prompt: Any = "hi", *, use: Any = None, **more: Any) -> ModelResponse:
        return await self.ai.generate(prompt, model=self.model.action, use=use or [self.cache], **more)

    async def text(self, prompt: Any = "hi", **more: Any) -> str:
        return (await self.run(prompt, **more)).text

    async def asked(self) -> None:
        """Returns when the model was asked."""
        for _ in range(10_000):
            if self.calls:
                return
            await asyncio.sleep(0.001)
        raise AssertionError("the model was not asked")

    @property
    def calls(self) -> int:
        return len(self.model.requests)


async def test_an_equal_request_is_answered_without_the_model() -> None:
    world = World()
    first, second = await world.run(), await world.run()
    assert (first.text, second.text, world.calls) == ("answer 0", "answer 0", 1)
    assert second.messages == first.messages
    assert second.finish_reason == first.finish_reason


async def test_a_hit_costs_no_tokens_and_says_so() -> None:
    said = Usage(input_tokens=10, output_tokens=20, total_tokens=30)
    world = World(
        answers=[ModelResponse(message=Message.model("hello"), finish_reason="stop", usage=said, raw={"a": 1})]
    )
    first, second = await world.run(), await world.run()
    assert first.usage is not None
    assert second.usage is not None
    assert (first.usage.total_tokens, first.usage.custom) == (30, None)
    assert (second.usage.input_tokens, second.usage.output_tokens, second.usage.total_tokens) == (0, 0, 0)
    assert second.usage.custom == {"cachedResponses": 1}
    assert second.usage.output_characters == 5
    assert second.raw is None


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "hi!"},
        {"system": "Be brief."},
        {"config": {"temperature": 0.1}},
        {"config": {"api_key": "other"}},
        {"docs": [Document("A passage.")]},
        {"docs": [Document("A passage.", {"year": 2020})]},
        {"tool_choice": "none"},
        {"output_format": "json"},
        {"output_schema": {"type": "object"}},
        {"messages": [Message.user("before")]},
        {"prompt": [Part(text="h"), Part(text="i")]},
        {"prompt": Part(text="hi", metadata={"a": 1})},
    ],
)
async def test_a_request_that_differs_in_anything_is_another_one(change: Any) -> None:
    world = World(answers=['{"n": 1}', '{"n": 2}', '{"n": 1}'])
    await world.run()
    await world.run(**{"prompt": "hi", **change})
    assert world.calls == 2
    await world.run(**{"prompt": "hi", **change})
    assert world.calls == 2


async def test_tools_are_part_of_the_request() -> None:
    def one() -> int:
        """Gives one."""
        return 1

    world = World()
    await world.run()
    await world.run(tools=[one])
    assert world.calls == 2


async def test_another_model_has_answers_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    first, second = World(cache(path)), World(cache(path), name="test/other")
    assert await first.text() == "answer 0"
    await second.run()
    assert second.calls == 1


async def test_what_the_model_is_told_of_the_output_is_part_of_the_request() -> None:
    world = World(answers=['{"n": 1}', '{"n": 2}'])
    for _ in range(2):
        await world.run(output_format="json", output_instructions="Write JSON.")
        await world.run(output_format="json", output_instructions="Write nothing but JSON.")
    assert world.calls == 2


async def test_how_passages_are_put_is_part_of_the_request() -> None:
    world = World()
    for _ in range(2):
        for preface in ("Read this.", "Read that."):
            use = [world.cache, augment_with_context(preface=preface)]
            await world.run(docs=[Document("A passage.")], use=use)
    assert world.calls == 2


async def test_the_context_is_part_of_it_when_asked_for() -> None:
    world = World(cache(vary_by=lambda context: context.get("tenant")))
    for tenant in ("a", "b", "a", "b"):
        await world.run(context={"tenant": tenant})
    assert world.calls == 2


@pytest.mark.parametrize(
    "answer",
    [
        GenkitError("UNAVAILABLE", "Not now."),
        ZeroDivisionError("oops"),
        ModelResponse(message=Message.model("no"), finish_reason="blocked"),
        ModelResponse(message=None, finish_reason="stop"),
    ],
)
async def test_failures_are_not_kept(answer: Any) -> None:
    world = World(answers=[answer, "fine", "not asked for"])
    with pytest.raises(GenkitError):
        await world.run()
    assert [await world.text(), await world.text()] == ["fine", "fine"]


@pytest.mark.parametrize("reason", ["aborted", "interrupted", "other"])
async def test_answers_that_were_broken_off_are_not_kept(reason: Any) -> None:
    world = World(answers=[ModelResponse(message=Message.model("par"), finish_reason=reason), "whole"])
    await world.run()
    assert await world.text() == "whole"


async def test_a_hit_streams_as_one_chunk_and_a_miss_as_it_comes() -> None:
    world = World(answers=["one two three"])
    first: list[Any] = []
    second: list[Any] = []
    await world.run(on_chunk=first.append)
    await world.run(on_chunk=second.append)
    assert [chunk.text for chunk in first] == ["one", " two", " three"]
    assert [(chunk.text, chunk.role, chunk.index) for chunk in second] == [("one two three", "model", 0)]


async def test_several_turns_with_tools_come_from_the_cache() -> None:
    def double(n: int) -> int:
        return 2 * n

    world = World(answers=[[ToolRequest(name="double", input={"n": 4}, ref="a")], "It is 8."])
    first = await world.run(tools=[double])
    second = await world.run(tools=[double])
    assert world.calls == 2
    assert first.messages == second.messages
    follow_up = World(world.cache, answers=["You are welcome."])
    for before in (first, second):
        await follow_up.run("Thanks.", messages=before.messages)
    assert follow_up.calls == 1  # what came from the cache leaves no trace in the conversation


async def test_answers_expire(tmp_path: Path) -> None:
    clock = Clock()
    world = World(Cache(tmp_path / "cache.db", ttl_seconds=60, clock=clock))
    assert await world.text() == "answer 0"
    clock.now += 59.9
    assert await world.text() == "answer 0"
    clock.now += 0.2
    assert await world.text() == "answer 1"


async def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    clock = Clock()
    world = World(Cache(tmp_path / "cache.db", max_entries=2, clock=clock))
    for prompt in ("a", "b", "a", "c", "a"):
        clock.now += 100
        await world.run(prompt)
    assert world.calls == 3
    await world.run("b")
    assert world.calls == 4


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from([0, 30, 61])), max_size=25), st.integers(1, 3))
def test_it_agrees_with_a_dictionary(steps: list[tuple[str, int]], most: int) -> None:
    clock = Clock()
    world = World(Cache(max_entries=most, ttl_seconds=100, clock=clock))
    kept: dict[str, float] = {}

    async def play() -> None:
        for prompt, pause in steps:
            clock.now += pause
            expected_hit = prompt in kept and clock.now - kept[prompt] < 100
            before = world.calls
            await world.run(prompt)
            hit = world.calls == before
            assert not (hit and not expected_hit)
            if not hit:
                assert not expected_hit or len(kept) > most - 1  # only a full cache forgets
                kept[prompt] = clock.now

    asyncio.run(play())


# ---- several at once


async def test_equal_calls_that_overlap_ask_the_model_once() -> None:
    gate = asyncio.Event()

    async def slowly(_: Any) -> str:
        await gate.wait()
        return "worth waiting for"

    world = World(answers=[slowly])
    calls = [asyncio.create_task(world.text()) for _ in range(50)]
    await world.asked()
    gate.set()
    assert set(await asyncio.gather(*calls)) == {"worth waiting for"}
    assert world.calls == 1


async def waiting(world: World, others: int) -> list[asyncio.Task[str]]:
    """Returns calls of which the first asks the model while the others wait for it."""
    calls = [asyncio.create_task(world.text())]
    await world.asked()
    calls += [asyncio.create_task(world.text()) for _ in range(others)]
    await asyncio.sleep(0.05)
    assert world.calls == 1
    return calls


async def test_when_the_first_caller_is_cancelled_another_one_asks() -> None:
    async def never(_: Any) -> str:
        await asyncio.Event().wait()
        return ""

    world = World(answers=[never, "second"])
    first, *others = await waiting(world, 10)
    first.cancel()
    assert set(await asyncio.wait_for(asyncio.gather(*others), 5)) == {"second"}
    assert world.calls == 2
    assert first.cancelled()


async def test_a_caller_who_waits_and_is_cancelled_disturbs_nobody() -> None:
    gate = asyncio.Event()

    async def slowly(_: Any) -> str:
        await gate.wait()
        return "done"

    world = World(answers=[slowly])
    first, second, third = await waiting(world, 2)
    second.cancel()
    gate.set()
    assert [await first, await third] == ["done", "done"]
    assert world.calls == 1


async def test_when_the_first_call_fails_the_others_ask_for_themselves() -> None:
    gate = asyncio.Event()

    async def fail(_: Any) -> str:
        await gate.wait()
        raise GenkitError("UNAVAILABLE", "Not now.")

    world = World(answers=[fail, "b", "b", "b"])
    first, *others = await waiting(world, 3)
    gate.set()
    assert set(await asyncio.gather(*others)) == {"b"}
    with pytest.raises(GenkitError, match="Not now"):
        await first
    assert not world.cache._flights  # nothing is left behind


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.booleans(), st.integers(0, 6)), min_size=1, max_size=10),
    st.lists(st.booleans(), min_size=12, max_size=12),
)
async def test_whoever_fails_or_leaves_nobody_waits_for_ever(
    callers: list[tuple[str, bool, int]], fails: list[bool]
) -> None:
    answers = iter(fails)

    async def answer(request: Any) -> str:
        fail = next(answers, False)
        await asyncio.sleep(0.001)
        if fail:
            raise GenkitError("UNAVAILABLE", "Not now.")
        return f"re: {request.messages[0].text}"

    world = World(answers=[answer] * 50)
    calls = []
    for prompt, leaves, steps in callers:
        calls.append((prompt, leaves, asyncio.create_task(world.text(prompt))))
        for _ in range(steps):
            await asyncio.sleep(0.0003)
        if leaves:
            calls[-1][2].cancel()
    async with asyncio.timeout(20):
        ended = await asyncio.gather(*(task for _, _, task in calls), return_exceptions=True)
    for (prompt, leaves, _), result in zip(calls, ended, strict=True):
        if isinstance(result, asyncio.CancelledError):
            assert leaves
        elif isinstance(result, BaseException):
            assert isinstance(result, GenkitError)
            assert result.status == "UNAVAILABLE"
        else:
            assert result == f"re: {prompt}"
    assert not world.cache._flights


def test_threads_and_event_loops_share_what_is_kept() -> None:
    world = World()
    assert [asyncio.run(world.text()) for _ in range(3)] == ["answer 0"] * 3


async def test_a_retry_outside_of_it_and_a_redaction_work_with_it() -> None:
    world = World(answers=[GenkitError("UNAVAILABLE", "Not now."), "I wrote to [EMAIL_1]."])
    use = [retry(initial_delay_ms=0), redact(), world.cache]
    assert await world.text("Write to ada@example.com.", use=use) == "I wrote to ada@example.com."
    assert await world.text("Write to bob@example.com.", use=use) == "I wrote to bob@example.com."
    assert world.calls == 2


# ---- the file


def bytes_in(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())


def overwrite(folder: Path) -> None:
    for file in folder.iterdir():
        file.write_bytes(b"\xff" * file.stat().st_size)


async def test_a_file_outlives_the_object_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "cache.db"
    assert await World(cache(path)).text() == "answer 0"
    again = World(cache(path), answers=["never asked"])
    assert await again.text() == "answer 0"
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


async def test_no_secret_and_no_question_stands_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    world = World(cache(path))
    await world.run("My question is QUESTION-CANARY", config={"api_key": "sk-CANARY"}, system="SYSTEM-CANARY")
    held = bytes_in(tmp_path)
    assert b"answer 0" in held
    assert b"CANARY" not in held


@pytest.mark.parametrize("damage", [b"this is no database", b"SQLite format 3\x00" + b"\xff" * 5000])
async def test_a_damaged_file_costs_a_miss_and_a_warning(
    tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "cache.db"
    path.write_bytes(damage)
    world = World(cache(path))
    with caplog.at_level(logging.WARNING):
        assert await world.text() == "answer 0"
    assert str(path) in caplog.text
    assert await world.text() == "answer 0"  # begun anew
    assert damage in bytes_in(tmp_path)
    assert "cache.db.damaged" in caplog.text


async def test_a_file_that_is_damaged_while_it_is_open_costs_no_answer(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    world = World(cache(path))
    await world.run("a")
    overwrite(tmp_path)
    texts = [await world.text("b"), await world.text("b"), await world.text("c"), await world.text("c")]
    assert len(set(texts[2:])) == 1


async def test_a_row_that_cannot_be_read_is_asked_for_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "cache.db"
    world = World(cache(path))
    await world.run()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE response SET value = ?", (b'{"message": 3',))
    db.close()
    assert await world.text() == "answer 1"
    assert "cannot be read" in caplog.text
    assert await world.text() == "answer 1"


async def test_a_database_of_another_program_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "theirs.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs (a)")
    db.close()
    before = path.read_bytes()
    world = World(cache(path))
    assert [await world.text(), await world.text()] == ["answer 0", "answer 1"]
    assert "another program" in caplog.text
    assert path.read_bytes() == before


async def test_a_locked_database_costs_a_miss_and_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genkit_rag._generation.middleware.response_store.BUSY_SECONDS", 0.05)
    path = tmp_path / "cache.db"
    world = World(cache(path))
    assert await world.text("a") == "answer 0"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert [await world.text("b"), await world.text("b")] == ["answer 1", "answer 2"]
    assert "locked" in caplog.text
    other.execute("ROLLBACK")
    other.close()
    assert [await world.text("b"), await world.text("b")] == ["answer 3", "answer 3"]


async def test_a_folder_in_the_place_of_the_file_costs_no_answer(tmp_path: Path) -> None:
    world = World(cache(tmp_path))
    assert [await world.text(), await world.text()] == ["answer 0", "answer 1"]


async def test_a_request_that_is_no_json_is_not_cached(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    for expected in ("answer 0", "answer 1"):
        assert await world.text(config={"callback": object()}) == expected
    assert "is not cached" in caplog.text


def test_processes_share_a_file(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys\n"
        "from genkit_rag import Genkit\n"
        "from genkit_rag.middleware import cache\n"
        "from genkit_rag.testing import ScriptedModel\n"
        "async def main():\n"
        "    model = ScriptedModel('test/model', [lambda r: 're: ' + r.messages[0].text] * 40)\n"
        "    kept = cache(sys.argv[1])\n"
        "    for round in range(2):\n"
        "        for n in range(20):\n"
        "            r = await Genkit().generate(f'q{n}', model=model.action, use=[kept])\n"
        "            assert r.text == f're: q{n}', r.text\n"
        "    print(len(model.requests))\n"
        "asyncio.run(main())\n"
    )
    path = tmp_path / "cache.db"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for process in running:
        said, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert int(said) <= 20
        assert "not used" not in errors
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM response").fetchone() == (20,)
    db.close()


def test_a_forked_process_opens_a_connection_of_its_own(tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from genkit_rag._generation.middleware.response_store import Bounds, ResponseStore\n"
        "store = ResponseStore(Path(sys.argv[1]), Bounds(10))\n"
        "store.put(b'a', b'parent')\n"
        "mine = store._db\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    assert store.get(b'a') == b'parent'\n"
        "    assert store._db is not mine\n"
        "    store.put(b'b', b'child')\n"
        "    sys.exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "assert store._db is mine\n"
        "print(store.get(b'a'), store.get(b'b'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "c.db")], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "b'parent' b'child'", done.stderr


@pytest.mark.parametrize(
    "wrong", [{"ttl_seconds": 0}, {"ttl_seconds": -1}, {"ttl_seconds": float("nan")}, {"max_entries": 0}]
)
def test_wrong_settings_are_refused(wrong: Any) -> None:
    with pytest.raises(GenkitError, match=next(iter(wrong))):
        cache(**wrong)
