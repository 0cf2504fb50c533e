"""`genkit-rag trace`: lists, trees, live lines; nothing of a trace steers the terminal."""

from __future__ import annotations

import json
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from genkit_rag._server.telemetry import StoreLimits, TraceStore
from tests.cli.apps import running
from tests.cli.conftest import HOSTILE, Command
from tests.cli.terminal import spawn
from tests.server.spans import span, trace_id

FLOW: dict[str, Any] = {"genkit__name": "answer", "genkit__type": "action", "genkit__metadata__subtype": "flow"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TraceStore]:
    store = TraceStore(tmp_path / ".genkit_rag/traces.db", StoreLimits(max_age_days=100_000))
    yield store
    store.close()


def flow(number: int, *, end: float | None = 12, error: str | None = None, **more: Any) -> Any:
    attributes = {name.replace("__metadata__", ":metadata:"): value for name, value in (FLOW | more).items()}
    return span(
        1,
        trace=trace_id(number),
        at=number * 100,
        end=None if end is None else number * 100 + end,
        error=error,
        **attributes,
    )


def ids(command: Command, *arguments: str) -> list[int]:
    found = command("trace", "list", "--json", *arguments)
    assert found.code == 0, found.err
    return [int(one["traceId"], 16) for one in found.data["traces"]]


def test_traces_are_listed_newest_first_and_filtered(command: Command, store: TraceStore) -> None:
    store.save([flow(1), flow(2, error="no"), flow(3, end=None), flow(4, end=900, genkit__name="slow")])
    assert ids(command) == [4, 3, 2, 1]
    assert ids(command, "--limit", "2") == [4, 3]
    assert ids(command, "--status", "error") == [2]
    assert ids(command, "--status", "running") == [3]
    assert ids(command, "--name", "slow") == [4]
    assert ids(command, "--slower", "100") == [4]
    assert ids(command, "--kind", "retriever") == []
    assert ids(command, "--search", "slo") == [4]
    assert ids(command, "--since", "9000000d") == [4, 3, 2, 1]
    shown = command("trace", "list")
    assert "900 ms" in shown.out
    assert "flow slow" in shown.out


def test_without_a_store_nothing_is_listed_and_none_is_made(command: Command) -> None:
    ran = command("trace", "list", "--json")
    assert (ran.code, ran.data) == (0, {"traces": []})
    assert "genkit-rag start" in ran.err
    assert command("trace", "show", "last").code == 1
    assert not Path(".genkit_rag").exists()


def test_a_trace_is_a_tree_with_times_tokens_and_errors(command: Command, store: TraceStore) -> None:
    model: dict[str, Any] = {
        "gen_ai_DOT_operation_DOT_name": "chat",
        "gen_ai_DOT_request_DOT_model": "tiny",
        "gen_ai_DOT_usage_DOT_input_tokens": 12,
        "gen_ai_DOT_usage_DOT_output_tokens": 40,
    }
    key = trace_id(7)
    spans = [
        flow(7),
        span(2, trace=key, parent=1, at=701, end=705, name="search", genkit__input='"q"'),
        span(3, trace=key, parent=2, at=702, end=703, name="inner", error="broke"),
        span(4, trace=key, parent=1, at=706, end=711, name="ask", **model),
    ]
    store.save(spans)
    lines = command("trace", "show", "last").out.splitlines()
    assert lines[0].startswith(f"trace {key}")
    assert lines[1:] == [
        "flow answer  12 ms",
        "├─ span search  4.0 ms",
        "│  └─ span inner  1.0 ms  error: broke",
        "└─ model ask  5.0 ms, tiny, 12 in, 40 out",
    ]
    assert "in: q" in command("trace", "show", key, "--contents").out
    assert len(command("trace", "show", key[:30], "--json").data["spans"]) == 4


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [("zz", 2, "hex"), ("ffff", 1, "trace list"), ("f" * 32, 1, "trace list"), ("0000", 1, "more digits")],
)
def test_an_id_that_names_no_trace_says_so(
    command: Command, store: TraceStore, given: str, code: int, said: str
) -> None:
    store.save([flow(1), flow(2)])
    ran = command("trace", "show", given)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err


def test_parents_in_a_circle_and_deep_traces_are_shown_once_each(command: Command, store: TraceStore) -> None:
    circle = [span(n, trace=trace_id(1), parent=3 - n, end=5, name=f"circle {n}") for n in (1, 2)]
    deep = [
        span(n, trace=trace_id(2), parent=n - 1 if n else None, at=n, end=9999, name=f"deep {n}") for n in range(1500)
    ]
    store.save([*circle, *deep])
    shown = command("trace", "show", trace_id(1)).out
    assert [shown.count(f"circle {n}") for n in (1, 2)] == [1, 1]
    lines = command("trace", "show", trace_id(2)).out.splitlines()
    assert len(lines) == 1501
    assert max(map(len, lines)) < 200


def test_nothing_of_a_trace_steers_a_terminal(store: TraceStore, tmp_path: Path) -> None:
    named = flow(1, genkit__name=HOSTILE, genkit__input=json.dumps(HOSTILE), genkit__output=HOSTILE)
    store.save([named, span(2, trace=trace_id(1), parent=1, at=1, end=2, name=HOSTILE, error=HOSTILE)])
    for arguments in (["list"], ["show", "last"], ["show", "last", "--contents"], ["show", "last", "--json"]):
        code, printed = spawn("trace", *arguments, cwd=tmp_path)
        assert code == 0
        for bad in (b"\x1b]", b"\x1b[31m", b"\x07", "\x9b".encode(), "\u202e".encode()):
            assert bad not in printed, (arguments, bad)


def test_a_damaged_store_is_an_error_and_not_a_crash(command: Command) -> None:
    Path(".genkit_rag").mkdir()
    Path(".genkit_rag/traces.db").write_bytes(b"no database" * 1000)
    ran = command("trace", "list", "--json")
    assert ran.code == 1
    assert ran.data["error"]["status"] == "FAILED_PRECONDITION"


@pytest.mark.network
def test_tail_prints_what_ends_from_now_on(store: TraceStore, tmp_path: Path) -> None:
    store.save([flow(1)])
    with running("trace", "tail", "--json", "--limit", "2", cwd=tmp_path) as tail:
        tail.wait_for("Waiting")
        lines: list[dict[str, Any]] = []
        assert tail.process.stdout is not None
        number = 2
        while not lines:  # until it has looked once
            store.save([flow(number), flow(100 + number, end=None)])
            import select

            if select.select([tail.process.stdout], [], [], 0.5)[0]:
                lines.append(json.loads(tail.process.stdout.readline()))
            number += 1
        store.save([flow(200, error="no")])
        assert tail.finish() == 0
    assert lines[0]["status"] == "ok"
    with running("trace", "tail", cwd=tmp_path) as tail:
        tail.wait_for("Waiting")
        assert tail.finish(signal.SIGINT) == 130
    assert sqlite3.connect(tmp_path / ".genkit_rag/traces.db").execute("PRAGMA integrity_check").fetchone() == ("ok",)
