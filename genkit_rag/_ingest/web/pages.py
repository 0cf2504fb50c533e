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
    """Crawl web pages as documents for `ai.ingest(documents=...)`: an asynchronous iterable, each page once.

    HTML becomes Markdown; PDF, text, Markdown, CSV and JSON Lines are loaded like files. A failed page becomes an
    `UnreadableSource`, and the others continue. `metadata` has `source` (the URL after redirects, or the canonical one)
    and, if known, `title`, `language` and `last_modified`.

    Args:
        urls: Pages, or sitemaps, whose pages then count as given.
        depth: The number of links to follow from the given pages.
        max_pages: The maximum number of fetched pages.
        include: Patterns (`*` matches anything) of which a link must match one: the whole URL, or from the path on if
            the pattern begins with `/`. The given URLs need not match.
        exclude: Patterns of links to leave out.
        cache: A SQLite file that caches pages, so that unchanged ones are not downloaded again.
        options: Crawl options.

    Raises:
        GenkitError: INVALID_ARGUMENT for an invalid URL, PERMISSION_DENIED for one with a private address.
        MissingExtra: The extra `web` is not installed.
    """
    scope = Scope(depth, max_pages, _texts(include), _texts(exclude))
    return WebPages(_texts(urls), scope, Path(cache) if cache is not None else None, options or WebOptions())


class WebPages:
    """Web pages as documents; created by `web_pages`. Each iteration crawls again.

    Attributes:
        failed: Pages that could not be fetched or read in the last iteration, with the reason.
        skipped: Pages left out: forbidden by robots.txt, removed, of a type without a loader.
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
        """Return the events since the last call: left-out pages, and notes."""
        return [self._events.popleft() for _ in range(len(self._events))]

    def is_gone(self, source: str) -> bool:
        """Return whether a missing page was removed from its site, after the iteration.

        True if the server answered 404 or 410, or if the crawl covered the page's site completely without a failure.
        After a failure, or beyond `max_pages`, a page that was not found may still exist.
        """
        return self._crawl is not None and self._crawl.is_gone(source)


def _texts(given: str | Iterable[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)
