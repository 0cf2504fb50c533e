"""Web pages become documents: what is followed, what is left out, and what is said of it."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from genkit_rag import Document, GenkitError
from genkit_rag._ingest.web import WebOptions, WebPages, web_pages
from genkit_rag._net.policy import FetchPolicy
from tests.fakes.serving import closed_port, serve
from tests.fakes.website import Answer, Website

pytest.importorskip("selectolax")
pytestmark = pytest.mark.network

ARTICLE = """<html lang="en"><head><title>Tokens</title></head><body><nav><a href="/b">B</a></nav>
<h1>Tokens</h1><p>A token lives for one hour.</p><h2>Renewal</h2><p>Use the refresh key.</p></body></html>"""


@dataclass
class Site:
    website: Website
    url: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def pages(self) -> dict[str, Any]:
        return self.website.pages

    def at(self, *paths: str) -> list[str]:
        return [f"{self.url}{path}" for path in paths]

    def crawl(self, *paths: str, options: dict[str, Any] | None = None, **how: Any) -> WebPages:
        policy = FetchPolicy(allow_hosts=(self.url.removeprefix("http://"),))
        made = WebOptions(**{"policy": policy, "requests_per_second": 1e6, "retry_seconds": 0.0, **(options or {})})
        return web_pages(self.at(*paths or ("/",)), options=made, **how)

    async def names(self, pages: WebPages) -> list[str]:
        return [document.metadata["source"].removeprefix(self.url) for document in await listed(pages)]


async def listed(pages: WebPages) -> list[Document]:
    return [document async for document in pages if isinstance(document, Document)]


def reasons(problems: Any) -> dict[str, str]:
    return {
        problem.source.partition("/")[2].partition("/")[2].partition("/")[2]: problem.reason for problem in problems
    }


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Website, str]]:
    website = Website()
    with serve(website) as url:
        yield website, url


@pytest.fixture
def site(served: tuple[Website, str]) -> Site:
    website, url = served
    website.pages, website.requests, website.most_busy = {}, [], 0
    return Site(website, url)


# ---- a page


async def test_a_page_is_one_document_of_markdown_with_its_facts(site: Site) -> None:
    site.pages["/"] = Answer(ARTICLE, headers={"last-modified": "Mon, 02 Feb 2026 10:00:00 GMT"})
    (document,) = await listed(site.crawl())
    assert "# Tokens" in document.text
    assert "## Renewal" in document.text
    assert document.metadata == {
        "source": f"{site.url}/",
        "title": "Tokens",
        "language": "en",
        "content_type": "text/markdown",
        "last_modified": "2026-02-02T10:00:00Z",
    }


async def test_a_modification_time_that_is_now_is_no_fact(site: Site) -> None:
    from email.utils import formatdate

    site.pages["/"] = Answer(ARTICLE, headers={"last-modified": formatdate(usegmt=True)})
    (document,) = await listed(site.crawl())
    assert "last_modified" not in document.metadata


@pytest.mark.parametrize(
    "answer",
    [
        Answer("<p>Grüße für Zoë</p>".encode("latin-1"), content_type="text/html; charset=iso-8859-1"),
        Answer('<meta charset="iso-8859-1"><p>Grüße für Zoë</p>'.encode("latin-1"), content_type="text/html"),
        Answer(
            '<meta charset="utf-8"><p>Grüße für Zoë</p>'.encode("latin-1"), content_type="text/html; charset=latin1"
        ),
        Answer('<meta charset="iso-8859-1"><p>Grüße für Zoë</p>'.encode(), content_type="text/html; charset=utf-8"),
        Answer("Grüße für Zoë".encode("cp1252"), content_type="text/plain; charset=windows-1252"),
    ],
    ids=["header", "meta", "header before meta", "utf-8 before meta", "text"],
)
async def test_a_page_is_read_in_the_encoding_that_the_server_declares(site: Site, answer: Answer) -> None:
    site.pages["/"] = answer
    (document,) = await listed(site.crawl())
    assert document.text == "Grüße für Zoë"


async def test_other_files_are_read_by_their_loaders(site: Site) -> None:
    from tests.ingest.pdf import make_pdf

    site.pages.update(
        {
            "/a.md": Answer("# Head\n\nBody.", content_type="text/plain"),
            "/b": Answer("Plain words.", content_type="text/plain"),
            "/c.csv": Answer("plan,price\nsmall,5\nlarge,20\n", content_type="text/csv"),
            "/d.pdf": Answer(make_pdf(["Page one"]), content_type="application/pdf"),
        }
    )
    found = await listed(site.crawl("/a.md", "/b", "/c.csv", "/d.pdf"))
    texts = {(document.metadata["source"].removeprefix(site.url), document.text.strip()[:12]) for document in found}
    assert ("/a.md", "# Head\n\nBody") in texts
    assert ("/b", "Plain words.") in texts
    assert [name for name, _ in texts].count("/c.csv") == 2
    assert any(name == "/d.pdf" and "Page one" in text for name, text in texts)


async def test_what_no_loader_reads_is_left_out_with_the_reason(site: Site) -> None:
    site.pages["/"] = site.website.link("/picture", "/data", "/blob")
    site.pages["/picture"] = Answer(b"\x89PNG", content_type="image/png")
    site.pages["/blob"] = Answer(b"\0\1", content_type="application/octet-stream")
    pages = site.crawl(depth=1)
    await listed(pages)
    assert set(reasons(pages.skipped)) == {"picture", "data", "blob"}
    assert "image/png" in reasons(pages.skipped)["picture"]
    assert pages.failed == []


# ---- links


async def test_links_are_followed_to_the_depth_in_the_order_in_which_they_stand(site: Site) -> None:
    link = site.website.link
    site.pages.update(
        {
            "/": link("/b", "/a"),
            "/b": link("/b1", "/"),
            "/a": link("/a1", "/b"),
            "/b1": link("/deep"),
            "/a1": "a1",
            "/deep": "deep",
        }
    )
    assert await site.names(site.crawl()) == ["/"]
    assert await site.names(site.crawl(depth=1)) == ["/", "/b", "/a"]
    assert await site.names(site.crawl(depth=2)) == ["/", "/b", "/a", "/b1", "/a1"]
    assert await site.names(site.crawl(depth=9)) == ["/", "/b", "/a", "/b1", "/a1", "/deep"]


async def test_the_order_is_the_same_whichever_page_answers_first(site: Site) -> None:
    names = [f"/{number}" for number in range(8)]
    site.pages["/"] = site.website.link(*names)
    for number, name in enumerate(names):
        site.pages[name] = Answer(f"page {number}", wait=0.05 if number % 2 == 0 else 0)
    assert await site.names(site.crawl(depth=1, options={"concurrency": 8})) == ["/", *names]
    assert 1 < site.website.most_busy <= 8


async def test_a_page_is_fetched_once_whatever_its_spelling(site: Site) -> None:
    site.pages["/"] = site.website.link(
        "/a", "/a#part", "a", "./x/../a", f"{site.url.upper().replace('HTTP', 'http')}/a"
    )
    site.pages["/a"] = "a"
    assert await site.names(site.crawl(depth=1)) == ["/", "/a"]
    assert site.website.paths == ["/", "/a"]


async def test_a_query_makes_another_page(site: Site) -> None:
    site.pages.update({"/": site.website.link("/a?n=1", "/a?n=2"), "/a?n=1": "one", "/a?n=2": "two"})
    assert await site.names(site.crawl(depth=1)) == ["/", "/a?n=1", "/a?n=2"]


async def test_the_base_of_a_page_is_the_base_of_its_links(site: Site) -> None:
    site.pages.update({"/": "<base href='/docs/'><a href='a'>a</a>", "/docs/a": "a"})
    assert await site.names(site.crawl(depth=1)) == ["/", "/docs/a"]


async def test_a_page_with_very_many_links_does_not_hold_up_others(site: Site) -> None:
    site.pages["/"] = site.website.link(*(f"/none?{number}" for number in range(20_000)))
    loop, lags = asyncio.get_running_loop(), [0.0]

    async def watch() -> None:
        while True:
            before = loop.time()
            await asyncio.sleep(0.005)
            lags.append(loop.time() - before)

    watcher = asyncio.ensure_future(watch())
    assert await site.names(site.crawl(depth=1, max_pages=1)) == ["/"]
    watcher.cancel()
    assert len(lags) > 20  # the loop went round while links were looked at


async def test_only_links_that_can_be_pages_of_the_site_are_followed(site: Site) -> None:
    site.pages["/"] = site.website.link(
        "mailto:a@example.com",
        "javascript:alert(1)",
        "http://other.example/",
        "http://10.0.0.1/",
        "/film.mp4",
        "/style.css",
        "http://[",
        "http://user@x/",
        "/good",
        "file:///etc/passwd",
        "#top",
        "",
    )
    site.pages["/good"] = "good"
    pages = site.crawl(depth=1)
    assert await site.names(pages) == ["/", "/good"]
    assert site.website.paths == ["/", "/good"]
    assert pages.failed == pages.skipped == []


async def test_patterns_choose_among_links_but_not_among_given_pages(site: Site) -> None:
    site.pages.update(
        {
            "/": site.website.link("/docs/a", "/docs/old/b", "/blog/c"),
            "/docs/a": "a",
            "/docs/old/b": "b",
            "/blog/c": "c",
        }
    )
    assert await site.names(site.crawl(depth=1, include="/docs/*", exclude="/docs/old/*")) == ["/", "/docs/a"]
    assert await site.names(site.crawl(depth=1, exclude=[f"{site.url}/docs/*"])) == ["/", "/blog/c"]


async def test_no_more_pages_are_fetched_than_allowed(site: Site) -> None:
    site.pages["/"] = site.website.link(*(f"/{number}" for number in range(50)))
    site.pages.update({f"/{number}": f"page {number}" for number in range(50)})
    pages = site.crawl(depth=1, max_pages=7, options={"concurrency": 5})
    assert len(await listed(pages)) == 7
    assert len(site.website.paths) == 7
    assert not pages.is_gone(f"{site.url}/never-seen")


async def test_a_link_that_is_not_to_be_followed_is_not(site: Site) -> None:
    site.pages.update(
        {
            "/": "<a rel='nofollow' href='/a'>a</a><a href='/b'>b</a><a href='/c'>c</a>",
            "/a": "a",
            "/b": "<meta name='ROBOTS' content='NoFollow'><a href='/b1'>b1</a>",
            "/c": Answer("<a href='/c1'>c1</a>", headers={"x-robots-tag": "nofollow"}),
            "/b1": "b1",
            "/c1": "c1",
        }
    )
    assert await site.names(site.crawl(depth=3)) == ["/", "/b", "/c"]


# ---- one page, one source


async def test_a_redirect_and_the_canonical_address_name_the_source(site: Site) -> None:
    site.pages.update(
        {
            "/": site.website.link("/old", "/new", "/b?from=mail", "/b"),
            "/old": Answer(status=301, headers={"location": "/new#part"}),
            "/new": "new",
            "/b?from=mail": "<link rel='canonical' href='/b'>b",
            "/b": "<link rel='canonical' href='/b'>b",
        }
    )
    assert await site.names(site.crawl(depth=1)) == ["/", "/new", "/b"]


async def test_a_page_cannot_pass_for_one_of_another_site(site: Site) -> None:
    site.pages["/"] = "<link rel='canonical' href='https://bank.example/terms'>mine"
    assert await site.names(site.crawl()) == ["/"]


async def test_a_redirect_to_another_site_is_followed_from_given_pages_only(site: Site) -> None:
    site.pages["/"] = site.website.link("/out")
    site.pages["/out"] = Answer(status=302, headers={"location": "https://other.example/"})
    pages = site.crawl(depth=1)
    assert await site.names(pages) == ["/"]
    assert reasons(pages.skipped) == {"out": "it redirects to another site"}


async def test_redirects_in_a_circle_are_a_failure(site: Site) -> None:
    site.pages["/"] = Answer(status=302, headers={"location": "/"})
    pages = site.crawl()
    assert await listed(pages) == []
    assert "redirects" in pages.failed[0].reason


# ---- robots


async def test_what_robots_txt_forbids_is_not_fetched(site: Site) -> None:
    site.pages.update(
        {
            "/robots.txt": Answer("User-agent: *\nDisallow: /private\nAllow: /private/open", content_type="text/plain"),
            "/": site.website.link("/private/a", "/private/open", "/hop"),
            "/private/a": "a",
            "/private/open": "open",
            "/hop": Answer(status=302, headers={"location": "/private/b"}),
            "/private/b": "b",
        }
    )
    pages = site.crawl(depth=1)
    assert await site.names(pages) == ["/", "/private/open"]
    assert reasons(pages.skipped) == {"private/a": "robots.txt forbids it", "private/b": "robots.txt forbids it"}
    assert "/private/a" not in site.website.paths
    assert await site.names(site.crawl(depth=1, options={"obey_robots": False})) == [
        "/",
        "/private/a",
        "/private/open",
        "/private/b",
    ]


async def test_rules_are_those_for_our_name(site: Site) -> None:
    site.pages["/robots.txt"] = Answer("User-agent: *\nDisallow:\n\nUser-agent: Herbert\nDisallow: /", "text/plain")
    site.pages["/"] = "hello"
    assert await site.names(site.crawl(options={"user_agent": "Herbert/2.0 (+https://example.com)"})) == []
    assert site.website.requests[0].headers["user-agent"] == "Herbert/2.0 (+https://example.com)"
    assert await site.names(site.crawl()) == ["/"]


@pytest.mark.parametrize(
    ("status", "allowed"),
    [(200, True), (401, True), (403, True), (404, True), (429, False), (500, False), (503, False)],
)
async def test_robots_txt_that_cannot_be_had_forbids_unless_it_is_not_there(
    site: Site, status: int, allowed: bool
) -> None:
    site.pages.update({"/robots.txt": Answer("", "text/plain", status=status), "/": "hello"})
    pages = site.crawl()
    assert await site.names(pages) == (["/"] if allowed else [])
    assert [str(status) in problem.reason for problem in pages.failed] == ([] if allowed else [True])


async def test_a_page_that_asks_not_to_be_indexed_is_left_out_but_its_links_are_followed(site: Site) -> None:
    site.pages.update(
        {
            "/": "<meta name='robots' content='noindex'><a href='/a'>a</a><a href='/b'>b</a><a href='/c'>c</a>",
            "/a": Answer("a", headers={"x-robots-tag": "noindex"}),
            "/b": Answer("b", headers={"x-robots-tag": "otherbot: noindex, nofollow"}),
            "/c": "<meta name='genkit-rag' content='none'>c",
        }
    )
    pages = site.crawl(depth=1)
    assert await site.names(pages) == ["/b"]
    assert set(reasons(pages.skipped)) == {"", "a", "c"}


async def test_requests_keep_the_distance_that_robots_txt_asks_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from genkit_rag._ingest.web import fetcher

    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(round(seconds))

    # Of this module only: the server needs the real one.
    monkeypatch.setattr(fetcher, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": sleep}))
    site.pages["/robots.txt"] = Answer("User-agent: *\nCrawl-delay: 20", "text/plain")
    site.pages.update({"/": site.website.link("/a"), "/a": "a"})
    await listed(site.crawl(depth=1))
    assert [wait for wait in waits if wait > 1] == [20, 40]


async def test_a_distance_of_hours_is_a_failure(site: Site) -> None:
    site.pages.update({"/robots.txt": Answer("User-agent: *\nCrawl-delay: 7200", "text/plain"), "/": "hello"})
    pages = site.crawl()
    assert await listed(pages) == []
    assert "asks for 7200 s" in pages.failed[0].reason


# ---- failures


async def test_a_page_that_fails_is_reported_and_the_others_go_on(site: Site) -> None:
    site.pages.update(
        {
            "/": site.website.link("/broken", "/gone", "/long", "/secret", "/good"),
            "/good": "good",
            "/broken": Answer("", status=500),
            "/long": Answer("x" * 5000),
            "/secret": Answer("", status=403),
        }
    )
    policy = FetchPolicy(allow_hosts=(site.url.removeprefix("http://"),), max_bytes=3000)
    pages = site.crawl(depth=1, options={"policy": policy})
    assert await site.names(pages) == ["/", "/good"]
    assert set(reasons(pages.failed)) == {"broken", "long"}
    assert set(reasons(pages.skipped)) == {"gone", "secret"}
    assert "500" in reasons(pages.failed)["broken"]
    assert "max_bytes=3,000" in reasons(pages.failed)["long"]


@pytest.mark.parametrize("status", [429, 503])
async def test_a_busy_server_is_asked_again_when_it_says(site: Site, status: int) -> None:
    site.pages["/"] = [Answer("", status=status, headers={"retry-after": "0"})] * 2 + [Answer("at last")]
    assert await site.names(site.crawl()) == ["/"]
    assert site.website.paths == ["/"] * 3


async def test_a_busy_server_is_not_asked_for_ever_nor_waited_for_for_hours(site: Site) -> None:
    site.pages["/"] = Answer("", status=503, headers={"retry-after": "86400"})
    pages = site.crawl()
    assert await listed(pages) == []
    assert site.website.paths == ["/"]
    site.pages["/"] = Answer("", status=503, headers={"retry-after": "0"})
    assert await listed(pages) == []
    assert site.website.paths == ["/"] * 4
    assert "503" in pages.failed[0].reason


async def test_a_server_that_is_down_is_a_failure_with_a_reason(site: Site) -> None:
    port = closed_port()
    policy = FetchPolicy(allow_hosts=(f"127.0.0.1:{port}",))
    options = WebOptions(policy=policy, requests_per_second=1e6, retry_seconds=0.0)
    pages = web_pages(f"http://127.0.0.1:{port}/", options=options)
    assert await listed(pages) == []
    assert "robots.txt could not be fetched" in pages.failed[0].reason


async def test_leaving_a_crawl_early_ends_its_requests(site: Site) -> None:
    site.pages["/"] = site.website.link("/a", "/b", "/c")
    site.pages.update({f"/{name}": Answer("late", wait=30) for name in "abc"})
    crawl = aiter(site.crawl(depth=1))
    await anext(crawl)
    late = asyncio.ensure_future(anext(crawl))
    while site.website.busy < 3:  # noqa: ASYNC110 - the server has an event loop of its own
        await asyncio.sleep(0.01)
    late.cancel()
    with pytest.raises(asyncio.CancelledError):
        await late
    assert {task for task in asyncio.all_tasks() if not task.done()} == {asyncio.current_task()}


# ---- sitemaps

URLSET = '<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{}</urlset>'
INDEX = '<sitemapindex xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{}</sitemapindex>'


def xml(text: str | bytes, content_type: str = "application/xml") -> Answer:
    return Answer(text, content_type=content_type)


async def test_the_pages_of_a_sitemap_count_as_given(site: Site) -> None:
    entries = "".join(
        f"<url><loc>{url}</loc><lastmod>2026-01-0{number}</lastmod></url>"
        for number, url in enumerate([*site.at("/a", "/b"), "https://other.example/c"], 1)
    )
    site.pages.update(
        {
            "/sitemap.xml": xml(URLSET.format(entries)),
            "/a": "a",
            "/b": site.website.link("/b1"),
            "/b1": "b1",
        }
    )
    found = await listed(site.crawl("/sitemap.xml"))
    assert [(d.metadata["source"], d.metadata["last_modified"]) for d in found] == [
        (f"{site.url}/a", "2026-01-01"),
        (f"{site.url}/b", "2026-01-02"),
    ]
    assert await site.names(site.crawl("/sitemap.xml", depth=1)) == ["/a", "/b", "/b1"]


async def test_an_index_leads_to_sitemaps_also_compressed_ones(site: Site) -> None:
    names = "".join(f"<sitemap><loc>{url}</loc></sitemap>" for url in site.at("/1.xml", "/2.xml.gz", "/index.xml"))
    site.pages.update(
        {
            "/index.xml": xml(INDEX.format(names)),
            "/1.xml": xml(URLSET.format(f"<url><loc>{site.url}/a</loc></url>"), "text/xml"),
            "/2.xml.gz": xml(
                gzip.compress(URLSET.format(f"<url><loc>{site.url}/b</loc></url>").encode()), "application/x-gzip"
            ),
            "/a": "a",
            "/b": "b",
        }
    )
    assert await site.names(site.crawl("/index.xml")) == ["/a", "/b"]


ENTITIES = '<!DOCTYPE urlset [<!ENTITY x SYSTEM "file:///etc/passwd">]><urlset><url><loc>&x;</loc></url></urlset>'
LAUGHS = (
    "<!DOCTYPE urlset [<!ENTITY a 'ha'>" + "".join(f"<!ENTITY b{n} '{'&a;' * 9}'>" for n in range(9)) + "]><urlset/>"
)


@pytest.mark.parametrize(
    "body",
    [
        ENTITIES,
        LAUGHS,
        "<urlset><url>",
        b"<urlset>\xff\xfe",
        "<urlset>" * 100_000,
        gzip.compress(b"<urlset>" + bytes(60_000_000)),
        gzip.compress(b"x" * 100)[:20],
        "",
    ],
    ids=["external", "laughs", "cut", "bytes", "deep", "bomb", "cut gzip", "empty"],
)
async def test_a_hostile_sitemap_is_a_failure(site: Site, body: str | bytes) -> None:
    site.pages["/sitemap.xml"] = xml(body)
    pages = site.crawl("/sitemap.xml")
    assert await listed(pages) == []
    assert len(pages.failed) == 1


# ---- what is remembered


async def test_a_page_that_did_not_change_is_not_downloaded_again(site: Site, tmp_path: Path) -> None:
    cache = tmp_path / "web" / "pages.db"
    site.pages.update(
        {
            "/": Answer(site.website.link("/a", "/b"), headers={"etag": '"1"'}),
            "/a": Answer("<p>a</p>", headers={"last-modified": "Mon, 02 Feb 2026 10:00:00 GMT"}),
            "/b": "b",
        }
    )
    first = [(d.text, d.metadata) for d in await listed(site.crawl(depth=1, cache=cache))]
    site.website.requests.clear()
    second = [(d.text, d.metadata) for d in await listed(site.crawl(depth=1, cache=cache))]
    assert first == second
    asked = {request.path: request.headers for request in site.website.requests}
    assert asked["/"]["if-none-match"] == '"1"'
    assert asked["/a"]["if-modified-since"] == "Mon, 02 Feb 2026 10:00:00 GMT"
    assert "if-none-match" not in asked["/b"]
    assert cache.stat().st_mode & 0o777 == 0o600
    site.pages["/"] = Answer("new", headers={"etag": '"2"'})
    assert [d.text for d in await listed(site.crawl(cache=cache))] == ["new"]


async def test_a_damaged_cache_says_what_to_do(site: Site, tmp_path: Path) -> None:
    (tmp_path / "pages.db").write_bytes(b"no database" * 100)
    with pytest.raises(GenkitError, match="Delete that file"):
        await listed(site.crawl(cache=tmp_path / "pages.db"))


# ---- what cannot be meant


@pytest.mark.parametrize(
    ("urls", "status"),
    [
        ("ftp://example.com/", "INVALID_ARGUMENT"),
        ("example.com", "INVALID_ARGUMENT"),
        ([], "INVALID_ARGUMENT"),
        ("http://127.0.0.1/", "PERMISSION_DENIED"),
        ("http://169.254.169.254/", "PERMISSION_DENIED"),
        ("http://a:b@example.com/", "INVALID_ARGUMENT"),
    ],
)
def test_urls_that_are_not_to_be_fetched_are_refused_at_once(urls: Any, status: str) -> None:
    with pytest.raises(GenkitError) as caught:
        web_pages(urls)
    assert caught.value.status == status


@pytest.mark.parametrize(
    "wrong",
    [
        {"depth": -1},
        {"max_pages": 0},
        {"concurrency": 0},
        {"requests_per_second": 0},
        {"retries": -1},
        {"requests_per_second": float("nan")},
        {"user_agent": "a\r\nb: c"},
        {"user_agent": " "},
        {"retry_seconds": -1},
    ],
)
def test_options_that_cannot_be_meant_are_refused(wrong: dict[str, Any]) -> None:
    scope = set(wrong) <= {"depth", "max_pages"}
    with pytest.raises(GenkitError) as caught:
        web_pages("https://example.com/", **wrong) if scope else WebOptions(**wrong)
    assert next(iter(wrong)) in caught.value.message
