"""The door: web pages as an asynchronous iterable of documents."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from genkit_rag._core.errors import invalid, require_extra
from genkit_rag._ingest.events import Event, Problem, SourceDone
from genkit_rag._ingest.source import Given, UnreadableSource
from genkit_rag._ingest.web.options import WebOptions
from genkit_rag._ingest.web.scope import Scope

if TYPE_CHECKING:
    from genkit_rag._ingest.web.crawl import Crawl

_PACKAGES = ("httpx", "selectolax", "protego", "defusedxml")


def web_pages(
    urls: str | Iterable[str],
    *,
    depth: int = 0,
    max_pages: int = 1000,
    include: str | Iterable[str] = (),
    exclude: str | Iterable[str] = (),
    cache: str | Path | None = None,
    options: WebOptions | None = None,
) -> WebPages:
    """Returns pages as documents for `ai.ingest(documents=...)`: an asynchronous iterable, each page once.

    HTML becomes Markdown; PDF, text, Markdown, CSV and JSON Lines are read as files are. A page that fails comes as an
    `UnreadableSource`, and the others go on. `metadata` has `source` (the URL after redirects, or the canonical one)
    and, where they are known, `title`, `language` and `last_modified`.

    Args:
        urls: Pages, or sitemaps, whose pages then count as given.
        depth: How many links away from the given pages to go.
        max_pages: How many pages are fetched at most.
        include: Patterns (`*` matches anything) of which a link must match one: the whole URL, or from the path on
            when the pattern begins with `/`. The given URLs need not match.
        exclude: Patterns of links that are left out.
        cache: A SQLite file that keeps pages, so that one that did not change is not downloaded again.
        options: How to crawl.

    Raises:
        GenkitError: INVALID_ARGUMENT for what is no URL, PERMISSION_DENIED for one with a private address.
        MissingExtra: The extra `web` is not installed.
    """
    scope = Scope(depth, max_pages, _texts(include), _texts(exclude))
    return WebPages(_texts(urls), scope, Path(cache) if cache is not None else None, options or WebOptions())


class WebPages:
    """Pages as documents; made by `web_pages`. Each iteration crawls anew.

    Attributes:
        failed: Pages that could not be fetched or read in the last iteration, and why.
        skipped: Pages that were left out: forbidden by robots.txt, gone, of a type that nothing reads.
    """

    def __init__(self, urls: tuple[str, ...], scope: Scope, cache: Path | None, options: WebOptions) -> None:
        require_extra("web", *_PACKAGES)
        from genkit_rag._ingest.web.urls import normal_url

        if not urls:
            raise invalid("urls", urls, "must name a page or a sitemap")
        self.failed: list[Problem] = []
        self.skipped: list[Problem] = []
        self._urls = [normal_url(url, options.policy) for url in urls]
        self._scope = scope
        self._cache = cache
        self._options = options
        self._events: deque[Event] = deque()
        self._crawl: Crawl | None = None

    async def __aiter__(self) -> AsyncIterator[Given]:
        from genkit_rag._ingest.web.crawl import Crawl

        self.failed, self.skipped = [], []
        self._crawl = Crawl(self._urls, self._scope, self._cache, self._options, self._tell)
        async for item in self._crawl.items():
            if isinstance(item, UnreadableSource):
                self.failed.append(Problem(item.name, item.reason))
            yield item

    def _tell(self, event: Event) -> None:
        if isinstance(event, SourceDone):
            self.skipped.append(Problem(event.source, event.reason or ""))
        self._events.append(event)

    def take_events(self) -> list[Event]:
        """Returns what is to be said since the last call: of pages that were left out, and notes about others."""
        return [self._events.popleft() for _ in range(len(self._events))]

    def is_gone(self, source: str) -> bool:
        """Returns whether a page that was not given is gone, after the iteration.

        That is so when the server said 404 or 410, or when the crawl went through the page's site to the end without
        a failure. After a failure, or beyond `max_pages`, what was not found may still be there.
        """
        return self._crawl is not None and self._crawl.is_gone(source)


def _texts(given: str | Iterable[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)
