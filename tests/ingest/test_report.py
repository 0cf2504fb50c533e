"""What the report of an ingestion says, and sources among documents that cannot be read now."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from genkit_rag import Document
from genkit_rag.ingest import SourceDone, UnreadableSource

from .conftest import Corpus


async def test_the_report_is_json_and_its_counters_add_up(corpus: Corpus) -> None:
    for number in range(5):
        corpus.write(f"{number}.txt", f"Text {number}.")
    corpus.write("bad.txt", b"\0")
    corpus.write("x.unknown", b"")
    events: list[Any] = []
    report = await corpus.ingest(progress=events.append)
    told = json.loads(report.to_json())
    assert told == report.to_dict()
    assert (told["found"], told["added"], told["failures"], told["skips"]) == (7, 5, 1, 1)
    assert told["found"] == sum(isinstance(event, SourceDone) for event in events)
    assert told["failed"][0]["source"] == "docs/bad.txt"
    assert told["skipped"][0]["source"] == "docs/x.unknown"
    assert told["bytes"] == 35
    (corpus.folder / "0.txt").unlink()
    again = await corpus.ingest()
    assert (again.found, again.unchanged, again.removed, again.chunks_deleted) == (6, 4, 1, 1)


async def test_the_lists_of_a_report_are_bounded_and_its_counters_are_not(corpus: Corpus) -> None:
    for number in range(1100):
        corpus.write(f"{number}.unknown", b"")
        corpus.write(f"{number}.txt", b"\0")
    report = await corpus.ingest()
    assert (report.found, report.skips, report.failures) == (2200, 1100, 1100)
    assert (len(report.skipped), len(report.failed)) == (1000, 1000)
    assert not report.ok


async def test_a_source_that_cannot_be_read_now_keeps_what_was_indexed_of_it(corpus: Corpus) -> None:
    pages = [
        Document("Alpha.", {"source": "u/a"}),
        Document("Beta.", {"source": "u/b"}),
        Document("C.", {"source": "u/c"}),
    ]
    await corpus.ingest((), documents=pages)

    async def crawl() -> AsyncIterator[Document | UnreadableSource]:
        yield Document("Alpha new.", {"source": "u/a"})
        yield UnreadableSource("u/b", "503 Service Unavailable")

    report = await corpus.ingest((), documents=crawl(), prune=True)
    assert [(problem.source, problem.reason) for problem in report.failed] == [("u/b", "503 Service Unavailable")]
    assert (report.changed, report.removed, report.failures, report.found) == (1, 1, 1, 2)
    assert corpus.sink.texts() == ["Alpha new.", "Beta."]
    assert (await corpus.ingest((), documents=pages, prune=True)).failures == 0


async def test_a_source_that_fails_in_its_middle_or_twice_is_reported_once_each(corpus: Corpus) -> None:
    documents = [
        UnreadableSource("u/a", "timeout"),
        UnreadableSource("u/a", "timeout"),
        Document("A.", {"source": "u/a"}),
        Document("B.", {"source": "u/b"}),
    ]
    report = await corpus.ingest((), documents=documents)
    assert [problem.reason.split(":")[0] for problem in report.failed] == ["timeout", "came twice"]
    assert corpus.sink.sources() == {"u/b"}
