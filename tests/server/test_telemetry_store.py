from __future__ import annotations

import json
import os
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genkit_rag._core.errors import GenkitError
from genkit_rag._server.telemetry import Condition, StoreLimits, TraceQuery, TraceStore
from genkit_rag._server.telemetry.query import parse_filter
from genkit_rag._server.telemetry.wire import IGNORE, SpanData
from tests.server.spans import NOW, TRACE, span, trace_id

FOREVER = 1e6


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TraceStore]:
    made = TraceStore(tmp_path / "traces" / "traces.db", StoreLimits(max_age_days=FOREVER))
    yield made
    made.close()


def names(store: TraceStore, **query: Any) -> list[str]:
    return [one.name for one in store.list_traces(TraceQuery(**query)).traces]


def where(field: str, operator: Any, value: Any) -> dict[str, Any]:
    return {"where": (Condition(field, operator, value),)}


def test_a_trace_comes_back_as_it_was_saved(store: TraceStore) -> None:
    spans = [span(0, end=9, name="root"), span(1, parent=0, at=1, end=5, error="boom", a=[1, "x"], b=True)]
    store.save(spans)
    assert store.load(TRACE) == spans
    wire = json.loads(store.load_json(TRACE) or "")
    assert (wire["displayName"], wire["startTime"], wire["endTime"]) == ("root", NOW, NOW + 9)
    assert store.load(trace_id(5)) is None
    assert store.load_json("../../etc/passwd") is None
    summary = store.list_traces().traces[0]
    assert (summary.status, summary.latency, summary.spans, summary.errors) == ("ok", 9, 2, 1)


def test_a_running_span_ends_and_never_runs_again(store: TraceStore) -> None:
    changed, _ = store.save([span(0, name="root")])
    assert len(changed) == 1
    assert store.list_traces().traces[0].status == "running"
    assert "endTime" not in json.loads(store.load_json(TRACE) or "")
    assert len(store.save([span(0, end=5, name="root", error="late")])[0]) == 1
    assert store.save([span(0, name="root")]) == ([], [])
    assert store.list_traces().traces[0].status == "error"


@st.composite
def traces(draw: st.DrawFn) -> list[SpanData]:
    """Some spans of two traces, each by its start and its end post."""
    posts: list[SpanData] = []
    for number in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, 9))
        facts: dict[str, Any] = {
            "trace": trace_id(draw(st.integers(1, 2))),
            "at": start,
            "name": draw(st.sampled_from(["a", "b"])),
            "parent": draw(st.none() | st.integers(0, 6)),
            "genkit__metadata__subtype": draw(st.sampled_from(["flow", "model"])),
        }
        posts.append(span(number, **facts))
        if draw(st.booleans()):
            tokens = {"gen_ai_DOT_usage_DOT_input_tokens": draw(st.integers(0, 9))}
            posts.append(
                span(
                    number,
                    end=start + draw(st.integers(1, 9)),
                    error=draw(st.sampled_from([None, "e"])),
                    **facts,
                    **tokens,
                )
            )
    return posts


def everything(posts: list[list[SpanData]]) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        store = TraceStore(Path(folder) / "t.db", StoreLimits(max_age_days=FOREVER))
        for post in posts:
            store.save(post)
        listed = store.list_traces().traces
        loaded = {one.trace_id: {s.span_id: s for s in store.load(one.trace_id) or []} for one in listed}
        words = [sorted(one.trace_id for one in store.list_traces(TraceQuery(text=word)).traces) for word in "ab"]
        store.close()
        return sorted(listed, key=lambda one: one.trace_id), loaded, words


@settings(max_examples=60, deadline=None)
@given(traces(), st.data())
def test_any_order_and_any_repetition_of_posts_gives_the_same_traces(
    posts: list[SpanData], data: st.DataObject
) -> None:
    repeated = posts + data.draw(st.lists(st.sampled_from(posts), max_size=4))
    shuffled = data.draw(st.permutations(repeated))
    cut = data.draw(st.integers(0, len(shuffled)))
    one_by_one = [[one] for one in posts]
    assert everything([shuffled[:cut], shuffled[cut:]]) == everything(one_by_one)


def test_the_same_span_id_in_two_traces_is_two_spans(store: TraceStore) -> None:
    mine, other = span(0, end=1, name="mine"), span(0, trace=trace_id(7), end=99, name="other")
    store.save([mine])
    store.save([other])
    assert store.load(TRACE) == [mine]
    assert store.load(trace_id(7)) == [other]


def test_a_trace_that_asks_not_to_be_kept_is_not(store: TraceStore) -> None:
    store.save([span(0, end=5), span(1, end=6, parent=0).model_copy(update={"attributes": {IGNORE: True}})])
    assert store.list_traces().traces == []


@pytest.fixture
def filled(store: TraceStore) -> TraceStore:
    kinds = ("flow", "model", "retriever")
    for n in range(9):
        facts = {"genkit__name": f"action {n}", "genkit__metadata__subtype": kinds[n % 3], "genkitx__label": f"l{n}"}
        error = "Überlauf" if n == 4 else None
        root = span(0, trace=trace_id(n), at=n * 1000, end=n * 1000 + n * 10 + 1, error=error, **facts)
        inner = span(
            1,
            trace=trace_id(n),
            parent=0,
            at=n * 1000,
            end=n * 1000 + 500,
            genkit__metadata__subtype="tool",
            name=f"inner{n}",
            genkit__input=json.dumps({"query": f"When is lunch number{n}?"}),
        )
        store.save([root, inner])
    store.save([span(0, trace=trace_id(9), at=9000, genkit__name="action 9")])
    return store


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
        (where("name", "eq", "action 3"), [3]),
        (where("name", "neq", ["action 3", "action 4"]), [9, 8, 7, 6, 5, 2, 1, 0]),
        (where("name", "contains", "N 3"), [3]),
        (where("type", "eq", ["flow", "model"]), [7, 6, 4, 3, 1, 0]),
        (where("status", "eq", "error"), [4]),
        (where("status", "eq", "running"), [9]),
        (where("latency", "gte", 71), [8, 7]),
        (where("start", "lt", NOW + 2000), [1, 0]),
        (where("genkitx:label", "eq", "l5"), [5]),
        (where("id", "eq", trace_id(6)), [6]),
        (where("kind", "eq", "tool"), []),
        ({**where("kind", "eq", "tool"), "any_span": True, "limit": 2}, [8, 7]),
        ({**where("name", "eq", "inner2"), "any_span": True}, [2]),
        ({"text": "number7"}, [7]),
        ({"text": "LUNCH num"}, [8, 7, 6, 5, 4, 3, 2, 1, 0]),
        ({"text": "uberlauf"}, [4]),
        ({"text": "lunch NOT number7"}, []),
        ({"text": '"*"'}, []),
        ({"text": "lunch", "where": (Condition("kind", "eq", "model"),)}, [7, 4, 1]),
    ],
    ids=str,
)
def test_a_list_is_filtered(filled: TraceStore, query: dict[str, Any], found: list[int]) -> None:
    assert names(filled, **query) == [f"action {n}" for n in found]


def test_pages_follow_each_other_without_gaps_or_repetition(filled: TraceStore) -> None:
    seen: list[str] = []
    token = None
    while True:
        page = filled.list_traces(TraceQuery(limit=3, after=token))
        seen += [one.name for one in page.traces]
        if (token := page.next) is None:
            break
    assert seen == [f"action {n}" for n in range(9, -1, -1)]


def test_genkits_filter_is_understood(filled: TraceStore) -> None:
    conditions = parse_filter('{"eq": {"type": "model", "status": 2}, "gte": {"start": 0}}')
    assert names(filled, where=conditions) == ["action 4"]


@pytest.mark.parametrize("raw", ["{", "[]", "[1]", '{"like": {"name": "x"}}', '{"eq": 1}', "[" * 5000, '"x"'])
def test_a_filter_that_means_nothing_is_refused(raw: str) -> None:
    with pytest.raises(GenkitError) as error:
        parse_filter(raw)
    assert error.value.status == "INVALID_ARGUMENT"


@pytest.mark.parametrize("value", [float("nan"), None, True, {"$gt": 1}, [], [[1]], "\ud800", 10**300])
def test_a_value_that_is_no_text_or_number_is_refused(store: TraceStore, value: Any) -> None:
    with pytest.raises(GenkitError, match="compared"):
        names(store, **where("name", "eq", value))


@pytest.mark.parametrize("field", ["data", "labels", 'name" OR 1=1 --', "", "root", "genkit:input"])
def test_a_field_that_is_not_offered_is_refused(store: TraceStore, field: str) -> None:
    for any_span in (False, True):
        with pytest.raises(GenkitError, match="is no field"):
            names(store, any_span=any_span, **where(field, "eq", "x"))


@pytest.mark.parametrize("token", ["", "x", "1", "1:", ":1", "nan:1", "1:-1", "1:9e9", "inf:1", "1:" + "9" * 50])
def test_a_token_that_is_not_ours_is_refused(store: TraceStore, token: str) -> None:
    with pytest.raises(GenkitError, match="continuation token"):
        names(store, after=token)


@pytest.mark.parametrize("limit", [0, -1, 1001, 2.5, "10"])
def test_a_limit_out_of_bounds_is_refused(limit: Any) -> None:
    with pytest.raises(GenkitError, match="limit"):
        TraceQuery(limit=limit)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TraceStore]:
    made = TraceStore(tmp_path_factory.mktemp("s") / "t.db", StoreLimits(max_age_days=FOREVER))
    made.save([span(0, end=1, genkit__input="the word is here")])
    yield made
    made.close()


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40) | st.text(alphabet='"*^:()-+{}ANDORTNE 0a\ud800\0', max_size=20))
def test_every_string_is_a_valid_search(one: TraceStore, text: str) -> None:
    assert names(one, text=text) in ([], ["span 0"])


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["name", "kind", "genkitx:a", 'genkitx:"$.b']),
    st.sampled_from(["eq", "neq", "contains", "lt"]),
    st.text(st.characters(codec="utf-8"), max_size=20),
)
def test_every_text_is_a_value_and_never_sql(one: TraceStore, field: str, operator: Any, value: str) -> None:
    names(one, **where(field, operator, value))


def test_attributes_that_are_too_long_are_cut_and_marked(tmp_path: Path) -> None:
    store = TraceStore(tmp_path / "t.db", StoreLimits(attribute_bytes=100, max_age_days=FOREVER))
    store.save([span(0, end=1, long="ä" * 500, short="x", listed=["y" * 50] * 50, big=10**20), span(1, end=1, a="b")])
    first, second = store.load(TRACE) or []
    assert (first.truncated, second.truncated) == (True, None)
    assert first.attributes["long"] == "ä" * 50 + "…"
    assert first.attributes["short"] == "x"
    assert len(first.attributes["listed"].encode()) <= 103
    store.close()


def test_a_trace_takes_so_many_spans_and_bytes_and_counts_the_rest(tmp_path: Path) -> None:
    store = TraceStore(tmp_path / "t.db", StoreLimits(spans_per_trace=5, trace_bytes=20_000, max_age_days=FOREVER))
    store.save([span(n, end=1) for n in range(9)])
    store.save([span(n, trace=trace_id(1), end=1, big="x" * 8000) for n in range(9)])
    store.save([span(0, trace=trace_id(2), end=1, big="x" * 50_000)])
    assert [(one.spans, one.dropped) for one in store.list_traces().traces] == [(2, 7), (5, 4)]
    store.save([span(0, end=2)])
    assert store.list_traces().traces[1].end == NOW + 2, "a span that is there can still end"
    store.close()


def test_the_oldest_traces_go_when_there_are_too_many(tmp_path: Path) -> None:
    store = TraceStore(tmp_path / "t.db", StoreLimits(max_traces=3, max_age_days=FOREVER))
    for n in (5, 1, 4, 2, 3):
        store.save([span(0, trace=trace_id(n), at=n, end=n + 1, genkit__input=f"word{n}")])
    assert [one.trace_id for one in store.list_traces().traces] == [trace_id(n) for n in (5, 4, 3)]
    assert store.load(trace_id(1)) is None
    assert names(store, text="word1") == []
    assert store.stats()["spans"] == 3
    store.close()


def test_posts_of_many_traces_do_not_outrun_the_retention(tmp_path: Path) -> None:
    store = TraceStore(tmp_path / "t.db", StoreLimits(max_traces=10, max_age_days=FOREVER))
    for first in range(0, 1000, 200):
        store.save([span(0, trace=trace_id(n), at=n, end=n + 1) for n in range(first, first + 200)])
    assert store.stats()["traces"] == 10
    store.close()


def test_traces_go_by_age_and_by_size(tmp_path: Path) -> None:
    import time

    now = time.time() * 1000
    store = TraceStore(tmp_path / "a.db", StoreLimits(max_age_days=1))
    store.save([span(0, trace=trace_id(1), at=now - NOW - 2 * 86_400_000), span(0, trace=trace_id(2), at=now - NOW)])
    assert [one.trace_id for one in store.list_traces().traces] == [trace_id(2)]
    store.close()
    store = TraceStore(tmp_path / "b.db", StoreLimits(max_bytes=1_000_000, max_age_days=FOREVER))
    for n in range(60):
        store.save([span(0, trace=trace_id(n), at=n, genkit__input="x" * 50_000)])
        assert store.stats()["bytes"] < 1_200_000
    assert store.list_traces().traces[0].trace_id == trace_id(59)
    store.close()


def test_a_deleted_trace_is_gone_from_every_table(store: TraceStore) -> None:
    store.save([span(0, end=1, genkit__input="needle"), span(1, end=1)])
    assert store.delete(TRACE)
    assert not store.delete(TRACE)
    assert names(store, text="needle") == []
    with sqlite3.connect(store.path) as raw:
        for table in ("traces", "spans", "payloads", "words"):
            assert raw.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    raw.close()


def test_the_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = TraceStore(tmp_path / "new" / "traces.db")
        store.save([span(0)])
    finally:
        os.umask(before)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "new").iterdir()} == {0o600}
    store.close()


def test_a_store_is_there_again_after_a_restart(tmp_path: Path) -> None:
    for n in range(3):
        store = TraceStore(tmp_path / "t.db", StoreLimits(max_traces=2, max_age_days=FOREVER))
        store.save([span(0, trace=trace_id(n), at=n, end=n)])
        assert store.stats()["traces"] == min(n + 1, 2)
        store.close()
        store.close()
    with pytest.raises(GenkitError, match="closed"):
        store.list_traces()
    with pytest.raises(GenkitError, match="closed"):
        store.save([span(0)])


def test_a_foreign_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    text, database, link, trapped = (tmp_path / name for name in ("text", "other.db", "link", "trapped.db"))
    text.write_bytes(b"not a database at all " * 100)
    with sqlite3.connect(database) as raw:
        raw.execute("CREATE TABLE mine (a)")
    raw.close()
    link.symlink_to(tmp_path / "elsewhere.db")
    TraceStore(trapped).close()
    with sqlite3.connect(trapped) as raw:
        raw.execute("CREATE TRIGGER bad AFTER INSERT ON spans BEGIN DELETE FROM traces; END")
    raw.close()
    before = [path.read_bytes() for path in (text, database)]
    for path in (text, database, link, trapped):
        with pytest.raises(GenkitError) as error:
            TraceStore(path)
        assert error.value.status == "FAILED_PRECONDITION"
    assert [path.read_bytes() for path in (text, database)] == before
    assert not (tmp_path / "elsewhere.db").exists()


def test_many_threads_save_and_read_at_once(store: TraceStore) -> None:
    failures: list[BaseException] = []

    def work(worker: int) -> None:
        try:
            for n in range(20):
                store.save([span(worker * 100 + n, end=1), span(n, trace=trace_id(worker), end=2)])
                store.list_traces(TraceQuery(text="span"))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert store.stats() == {**store.stats(), "traces": 7, "spans": 240}


@pytest.mark.parametrize(
    "bad",
    [
        {"max_traces": 0},
        {"max_bytes": -1},
        {"max_age_days": float("nan")},
        {"trace_bytes": True},
        {"spans_per_trace": 1 << 21},
    ],
)
def test_limits_that_limit_nothing_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(GenkitError, match=next(iter(bad))):
        StoreLimits(**bad)
