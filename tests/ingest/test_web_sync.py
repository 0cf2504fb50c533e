"""A store in step with a web site: what is embedded, and what leaves the store, when pages change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from genkit_rag._ingest.web import WebOptions, web_pages
from genkit_rag._net.policy import FetchPolicy
from genkit_rag.ingest import IngestOptions, IngestReport, ingest
from tests.fakes.serving import serve
from tests.fakes.website import Answer, Website
from tests.ingest.conftest import MemorySink

pytest.importorskip("selectolax")
pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Website, str]]:
    website = Website()
    with serve(website) as url:
        yield website, url


@dataclass
class Mirror:
    """A site, and a store that is kept in step with it."""

    website: Website
    url: str
    base: Path
    sink: MemorySink

    async def sync(self, *, prune: bool = True, depth: int = 1, **how: Any) -> IngestReport:
        self.sink.embedded.clear()
        self.website.requests.clear()
        policy = FetchPolicy(allow_hosts=(self.url.removeprefix("http://"),))
        options = WebOptions(policy=policy, requests_per_second=1e6, retry_seconds=0.0)
        pages = web_pages(f"{self.url}/", depth=depth, options=options, cache=self.base / "pages.db", **how)
        kept = IngestOptions(base=self.base, prune=prune)
        return await ingest(sink=self.sink, documents=pages, options=kept)

    def sources(self) -> set[str]:
        return {source.removeprefix(self.url) for source in self.sink.sources()}


@pytest.fixture
def mirror(served: tuple[Website, str], tmp_path: Path) -> Mirror:
    website, url = served
    website.pages = {
        "/": Answer("<h1>Home</h1><p>Welcome.</p><a href='/a'>a</a><a href='/b'>b</a>", headers={"etag": '"home"'}),
        "/a": Answer("<h1>A</h1><p>First part.</p><h2>More</h2><p>Second part.</p>", headers={"etag": '"a"'}),
        "/b": Answer("<h1>B</h1><p>About b.</p>", headers={"etag": '"b"'}),
    }
    return Mirror(website, url, tmp_path, MemorySink())


async def test_a_second_run_embeds_nothing(mirror: Mirror) -> None:
    first = await mirror.sync()
    assert (first.added, first.ok, mirror.sources()) == (3, True, {"/", "/a", "/b"})
    assert mirror.sink.embedded
    second = await mirror.sync()
    assert (second.unchanged, second.chunks_added, mirror.sink.embedded, mirror.sink.refreshed) == (3, 0, [], [])
    assert all(
        "if-none-match" in request.headers for request in mirror.website.requests if request.path != "/robots.txt"
    )


async def test_of_a_page_that_changed_only_the_new_chunks_are_embedded(mirror: Mirror) -> None:
    await mirror.sync()
    mirror.website.pages["/a"] = "<h1>A</h1><p>First part.</p><h2>More</h2><p>Another part.</p>"
    report = await mirror.sync()
    assert (report.changed, report.unchanged) == (1, 2)
    assert len(mirror.sink.embedded) == 1
    assert "Another part." in mirror.sink.embedded[0]
    assert not any("Second part." in text for text in mirror.sink.texts())


async def test_a_heading_is_the_path_of_its_chunks(mirror: Mirror) -> None:
    await mirror.sync()
    chunks = [d for d in mirror.sink.documents.values() if "Second part." in d.text]
    assert chunks[0].metadata["heading_path"] == ["A"]
    assert chunks[0].metadata["source"] == f"{mirror.url}/a"


async def test_pages_that_are_gone_leave_the_store_only_when_asked(mirror: Mirror) -> None:
    await mirror.sync()
    mirror.website.pages["/"] = "<h1>Home</h1><p>Welcome.</p><a href='/a'>a</a>"
    del mirror.website.pages["/b"]
    assert (await mirror.sync(prune=False)).removed == 0
    assert (await mirror.sync()).removed == 1
    assert mirror.sources() == {"/", "/a"}


async def test_a_page_that_fails_this_time_stays(mirror: Mirror) -> None:
    await mirror.sync()
    mirror.website.pages["/a"] = Answer("", status=500)
    report = await mirror.sync()
    assert [problem.source for problem in report.failed] == [f"{mirror.url}/a"]
    assert "500" in report.failed[0].reason
    assert mirror.sources() == {"/", "/a", "/b"}
    assert not report.removed


async def test_a_page_that_cannot_be_read_this_time_stays(mirror: Mirror) -> None:
    await mirror.sync()
    mirror.website.pages["/a"] = Answer(b"no pdf", content_type="application/pdf")
    report = await mirror.sync()
    assert [problem.source for problem in report.failed] == [f"{mirror.url}/a"]
    assert mirror.sources() == {"/", "/a", "/b"}


async def test_pages_behind_one_that_fails_stay(mirror: Mirror) -> None:
    await mirror.sync()
    mirror.website.pages["/"] = Answer("", status=503, headers={"retry-after": "0"})
    report = await mirror.sync()
    assert (len(report.failed), report.removed) == (1, 0)
    assert mirror.sources() == {"/", "/a", "/b"}


async def test_pages_beyond_the_limit_stay(mirror: Mirror) -> None:
    await mirror.sync()
    assert (await mirror.sync(max_pages=2)).removed == 0
    assert mirror.sources() == {"/", "/a", "/b"}


async def test_a_page_that_the_server_says_is_gone_leaves_whatever_else_fails(mirror: Mirror) -> None:
    await mirror.sync()
    mirror.website.pages["/a"] = Answer("", status=500)
    mirror.website.pages["/b"] = Answer("", status=410)
    report = await mirror.sync()
    assert (len(report.failed), report.removed) == (1, 1)
    assert [problem.source for problem in report.skipped] == [f"{mirror.url}/b"]
    assert mirror.sources() == {"/", "/a"}


async def test_a_page_that_asks_to_be_left_out_now_leaves(mirror: Mirror) -> None:
    await mirror.sync()
    mirror.website.pages["/a"] = Answer("<h1>A</h1>", headers={"x-robots-tag": "noindex"})
    assert (await mirror.sync()).removed == 1
    assert mirror.sources() == {"/", "/b"}


async def test_pages_of_another_site_stay(mirror: Mirror) -> None:
    from genkit_rag import Document

    other = [Document("Other.", {"source": "https://other.example/"})]
    await ingest(sink=mirror.sink, documents=other, options=IngestOptions(base=mirror.base))
    await mirror.sync()
    assert "https://other.example/" in mirror.sink.sources()


async def test_pages_and_files_are_ingested_together(mirror: Mirror) -> None:
    (mirror.base / "notes.md").write_text("# Notes\n\nMine.")
    policy = FetchPolicy(allow_hosts=(mirror.url.removeprefix("http://"),))
    pages = web_pages(f"{mirror.url}/a", options=WebOptions(policy=policy, requests_per_second=1e6))
    report = await ingest("notes.md", sink=mirror.sink, documents=pages, options=IngestOptions(base=mirror.base))
    assert report.added == 2
    assert mirror.sources() == {"notes.md", "/a"}
