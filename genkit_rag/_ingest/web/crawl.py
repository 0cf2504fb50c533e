"""One crawl: pages in the order in which they were found, some of them fetched ahead."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from genkit_rag._core.errors import GenkitError
from genkit_rag._core.threads import run_in_thread
from genkit_rag._ingest.events import Event, Note, SourceDone
from genkit_rag._ingest.section import UnreadableFile
from genkit_rag._ingest.source import Given, UnreadableSource
from genkit_rag._ingest.web.cache import PageCache
from genkit_rag._ingest.web.fetcher import Fetcher, reason_of
from genkit_rag._ingest.web.options import WebOptions
from genkit_rag._ingest.web.page import Page, documents_of, read_page, suffix_of
from genkit_rag._ingest.web.scope import Scope
from genkit_rag._ingest.web.sitemap import Sitemap, read_sitemap
from genkit_rag._ingest.web.urls import link_url, matches_any, may_be_text, site_of
from genkit_rag._net.fetch import Fetched, guarded_client

_MAX_SITEMAPS = 100
_XML = ("text/xml", "application/xml", "application/gzip", "application/x-gzip", "application/octet-stream")


@dataclass(frozen=True, slots=True)
class Entry:
    """A URL to look at. `given`: by the caller; `sitemap`: it may be one; `changed`: when, according to a sitemap."""

    url: str
    depth: int = 0
    given: bool = False
    sitemap: bool = False
    changed: str = ""


@dataclass(slots=True)
class Visit:
    """What became of an entry. Without page, sitemap and problem there is nothing to say of it."""

    entry: Entry
    url: str
    sent: bool = False
    sites: list[str] = field(default_factory=list[str])
    fetched: Fetched | None = None
    page: Page | None = None
    sitemap: Sitemap | None = None
    failed: str = ""
    skipped: str = ""
    gone: bool = False


class Crawl:
    """Fetches ahead, but takes pages in the order in which they were found: so a site always gives the same order."""

    def __init__(
        self, urls: list[str], scope: Scope, cache: Path | None, options: WebOptions, tell: Callable[[Event], None]
    ) -> None:
        self._scope = scope
        self._cache = cache
        self._options = options
        self._tell = tell
        self._sites = {site_of(url) for url in urls}
        self._seen = set(urls)
        self._waiting = deque(Entry(url, given=True, sitemap=True) for url in dict.fromkeys(urls))
        self._running: deque[tuple[Entry, asyncio.Task[Visit]]] = deque()
        self._names: set[str] = set()
        self._gone: set[str] = set()
        self._sent = self._sitemaps = 0
        self._complete = True
        self._ended = False

    async def items(self) -> AsyncIterator[Given]:
        """Yield the documents of each page, and an item for each page that could not be read."""
        async with AsyncExitStack() as stack:
            cache: PageCache | None = None
            if self._cache is not None:
                cache = await run_in_thread(PageCache, self._cache)
                stack.push_async_callback(run_in_thread, cache.close)
            client = guarded_client(self._options.policy, user_agent=self._options.user_agent)
            fetcher = Fetcher(await stack.enter_async_context(client), self._options, cache)
            stack.push_async_callback(fetcher.close)
            stack.push_async_callback(self._stop)
            while self._start(fetcher):
                _, task = self._running.popleft()
                for item in await self._take(await task):
                    yield item
            self._complete = self._complete and not self._waiting
            self._ended = True

    def is_gone(self, name: str) -> bool:
        """Return whether a missing page was removed from the site."""
        return name in self._gone or (self._ended and self._complete and site_of(name) in self._sites)

    def _start(self, fetcher: Fetcher) -> bool:
        """Start queued fetches up to the concurrency; return whether any runs."""
        while self._waiting and len(self._running) < self._options.concurrency:
            if self._sent + len(self._running) >= self._scope.max_pages:
                break
            entry = self._waiting.popleft()
            self._running.append((entry, asyncio.create_task(self._visit(entry, fetcher))))
        return bool(self._running)

    async def _stop(self) -> None:
        for _, task in self._running:
            task.cancel()
        await asyncio.gather(*(task for _, task in self._running), return_exceptions=True)

    # -- fetching, several at a time

    async def _visit(self, entry: Entry, fetcher: Fetcher) -> Visit:
        visit = Visit(entry, entry.url)
        try:
            await self._reach(visit, fetcher)
            if visit.fetched is not None:
                await run_in_thread(self._read, visit, visit.fetched)
        except GenkitError as error:
            if "contentType" in error.details or (error.status == "PERMISSION_DENIED" and not entry.given):
                visit.skipped = reason_of(error)
            else:
                visit.failed = reason_of(error)
        except UnreadableFile as error:
            visit.failed = str(error)
        return visit

    async def _reach(self, visit: Visit, fetcher: Fetcher) -> None:
        """Follows redirects like links: each is asked of robots.txt and must lead to a site that is wanted."""
        for _ in range(self._options.policy.max_redirects + 1):
            if self._options.obey_robots:
                rules = await fetcher.rules(visit.url)
                if rules.failure is not None:
                    visit.failed = rules.failure
                    return
                if rules.parser is not None and not rules.parser.can_fetch(visit.url, self._options.robot):
                    visit.skipped = "robots.txt forbids it"
                    return
            visit.sent = True
            fetched = await fetcher.get(visit.url)
            if fetched.location is None:
                self._judge(visit, fetched)
                return
            target = link_url(fetched.location, self._options.policy)
            if target is None:
                visit.skipped = "it redirects to what is not to be fetched"
                return
            if visit.entry.given:
                visit.sites.append(site_of(target))
            elif not self._is_wanted_site(target):
                visit.skipped = "it redirects to another site"
                return
            if target in self._names:
                return  # that page was given already
            visit.url = target
        visit.failed = f"more than {self._options.policy.max_redirects} redirects"

    def _judge(self, visit: Visit, fetched: Fetched) -> None:
        if 200 <= fetched.status < 300:
            visit.fetched = fetched
        elif fetched.status in (404, 410):
            visit.gone = True
            visit.failed, visit.skipped = (
                ("it is not there (404)", "") if visit.entry.given else ("", "it is not there")
            )
        elif fetched.status in (401, 403) and not visit.entry.given:
            visit.skipped = f"the server does not give it ({fetched.status})"
        else:
            visit.failed = f"the server answered {fetched.status}"

    def _read(self, visit: Visit, fetched: Fetched) -> None:
        if visit.entry.sitemap and (fetched.content_type in _XML or visit.url.endswith((".xml", ".xml.gz"))):
            visit.sitemap = read_sitemap(fetched.body)
            if visit.sitemap is not None:
                return
        visit.page = read_page(fetched, self._options.robot)

    # -- taking, one after another

    async def _take(self, visit: Visit) -> Sequence[Given]:
        self._sites.update(visit.sites)
        self._sent += visit.sent and visit.sitemap is None
        if visit.gone:
            self._gone.update((visit.entry.url, visit.url))
        if visit.failed:
            self._complete = False
            return self._unreadable(visit.url, visit.failed)
        if visit.skipped:
            self._tell(SourceDone(visit.url, "skipped", reason=visit.skipped))
        elif visit.sitemap is not None:
            await run_in_thread(self._take_sitemap, visit.entry, visit.sitemap)
        elif visit.page is not None and visit.fetched is not None:
            return await self._take_page(visit, visit.page, visit.fetched)
        return []

    def _take_sitemap(self, entry: Entry, sitemap: Sitemap) -> None:
        self._sitemaps += 1
        for url in sitemap.sitemaps:
            link = link_url(url, self._options.policy)
            if link is None or link in self._seen or not self._is_wanted_site(link):
                continue
            if self._sitemaps + len(self._waiting) > _MAX_SITEMAPS:
                self._complete = False
                self._tell(Note(entry.url, f"of the sitemaps that it names, the first {_MAX_SITEMAPS} are read"))
                break
            self._seen.add(link)
            self._waiting.append(Entry(link, sitemap=True))
        for url, changed in sitemap.pages:
            self._add(url, 0, changed)

    async def _take_page(self, visit: Visit, page: Page, fetched: Fetched) -> Sequence[Given]:
        name = self._name(visit.url, page)
        if name in self._names:
            return []
        self._names.add(name)
        self._seen.add(name)
        if visit.entry.depth < self._scope.depth and not (page.nofollow and self._options.obey_robots):
            await run_in_thread(self._add_links, page.links, visit.entry.depth + 1)
        if page.noindex and self._options.obey_robots:
            self._gone.add(name)
            self._tell(SourceDone(name, "skipped", reason="it asks not to be indexed"))
            return []
        return await self._load(visit, name, page, fetched)

    async def _load(self, visit: Visit, name: str, page: Page, fetched: Fetched) -> Sequence[Given]:
        notes: list[str] = []
        try:
            suffix_of(fetched, self._options.loaders)
        except UnreadableFile as error:
            self._tell(SourceDone(name, "skipped", reason=str(error)))
            return []
        try:
            return await run_in_thread(
                documents_of, fetched, name, page, self._options.loaders, notes.append, visit.entry.changed
            )
        except Exception as error:
            # One page's trouble, whatever it is: loaders and their libraries may raise anything.
            known = isinstance(error, UnreadableFile | ImportError | GenkitError)
            return [UnreadableSource(name, str(error) if known else f"{type(error).__name__}: {error}")]
        finally:
            for text in notes:
                self._tell(Note(name, text))

    def _unreadable(self, url: str, reason: str) -> Sequence[Given]:
        if url in self._names:
            return []
        self._names.add(url)
        return [UnreadableSource(url, reason)]

    def _name(self, url: str, page: Page) -> str:
        """Return the canonical URL that the page declares, if it is on the same site."""
        canonical = link_url(page.canonical, self._options.policy) if page.canonical else None
        return canonical if canonical is not None and site_of(canonical) == site_of(url) else url

    def _add_links(self, links: list[str], depth: int) -> None:
        """Queue wanted links; runs in a thread, since a page may have thousands."""
        for link in dict.fromkeys(links):
            self._add(link, depth)

    def _add(self, url: str, depth: int, changed: str = "") -> None:
        link = link_url(url, self._options.policy)
        if link is None or link in self._seen or not self._is_wanted_site(link) or not may_be_text(link):
            return
        if self._scope.include and not matches_any(link, self._scope.include):
            return
        if matches_any(link, self._scope.exclude):
            return
        self._seen.add(link)
        self._waiting.append(Entry(link, depth, changed=changed))

    def _is_wanted_site(self, url: str) -> bool:
        return not self._options.same_site or site_of(url) in self._sites
