"""Polite fetching: a delay for each host, robots.txt, retries and a cache."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, replace

import httpx
from protego import Protego

from genkit_rag._core.errors import GenkitError
from genkit_rag._core.threads import run_in_thread
from genkit_rag._ingest.web.cache import PageCache, validators
from genkit_rag._ingest.web.options import CONTENT_TYPES, WebOptions
from genkit_rag._ingest.web.urls import origin_of
from genkit_rag._net.fetch import Fetched, fetch
from genkit_rag._net.retrying import Backoff, retry_call

_MAX_WAIT = 120.0
_BUSY = (429, 503)
_ROBOTS_CHARACTERS = 500 * 1024  # RFC 9309, 2.5: what must be read at least


class HostDelay:
    """Turns for the requests to one host, at equal distances."""

    def __init__(self, interval: float) -> None:
        self.interval = interval
        self._next = 0.0

    async def turn(self) -> None:
        """Wait until the next request may be sent."""
        now = asyncio.get_running_loop().time()
        at = max(now, self._next)
        self._next = at + self.interval
        await asyncio.sleep(at - now)

    def pause(self, seconds: float) -> None:
        """Lets nothing be sent for some time."""
        self._next = max(self._next, asyncio.get_running_loop().time() + seconds)


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of a robots.txt; `failure` if it could not be fetched, which forbids everything for now."""

    parser: Protego | None = None
    failure: str | None = None


class _Busy(Exception):
    """A response that asks to come back later."""

    def __init__(self, fetched: Fetched) -> None:
        super().__init__(fetched.status)
        self.fetched = fetched


class Fetcher:
    """Fetches pages with a rate limit for each host. `cache` may be None."""

    def __init__(self, client: httpx.AsyncClient, options: WebOptions, cache: PageCache | None) -> None:
        self._client = client
        self._options = options
        self._cache = cache
        self._delays: dict[str, HostDelay] = {}
        self._rules: dict[str, asyncio.Task[Rules]] = {}

    async def get(self, url: str) -> Fetched:
        """Fetch a URL without following redirects; raise GenkitError on failure."""
        known = await run_in_thread(self._cache.get, url) if self._cache is not None else None
        fetched = await self._fetch_with_retries(url, headers=validators(known))
        if fetched.status == 304 and known is not None:
            return known
        if self._cache is not None and fetched.status in (404, 410):
            await run_in_thread(self._cache.forget, url)
        elif self._cache is not None and fetched.status == 200:
            await run_in_thread(self._cache.put, fetched)
        return fetched

    async def rules(self, url: str) -> Rules:
        """Return the robots.txt rules of the URL's server, fetched once."""
        origin = origin_of(url)
        if origin not in self._rules:
            self._rules[origin] = asyncio.create_task(self._fetch_rules(origin))
        return await asyncio.shield(self._rules[origin])

    async def close(self) -> None:
        """Cancel what still runs."""
        for task in self._rules.values():
            task.cancel()
        await asyncio.gather(*self._rules.values(), return_exceptions=True)

    async def _fetch_rules(self, origin: str) -> Rules:
        # RFC 9309, 2.3.1: a missing robots.txt forbids nothing, an unreachable one forbids everything.
        try:
            fetched = await self._fetch_with_retries(f"{origin}/robots.txt", robots=True)
        except GenkitError as error:
            return Rules(failure=f"its robots.txt could not be fetched: {reason_of(error)}")
        if fetched.status == 429 or fetched.status >= 500 or 300 <= fetched.status < 400:
            return Rules(failure=f"its robots.txt answered {fetched.status}")
        if fetched.status >= 400:
            return Rules()
        parser = Protego.parse(fetched.body.decode("utf-8-sig", "replace")[:_ROBOTS_CHARACTERS])
        delay = parser.crawl_delay(self._options.robot)
        if delay and delay > _MAX_WAIT:
            return Rules(failure=f"its robots.txt asks for {delay:g} s between requests, more than {_MAX_WAIT:g}")
        if delay:
            host = self._delay(origin)
            host.interval = max(host.interval, float(delay))
            host.pause(float(delay))
        return Rules(parser)

    async def _fetch_with_retries(
        self, url: str, *, headers: dict[str, str] | None = None, robots: bool = False
    ) -> Fetched:
        host = self._delay(url)
        backoff = Backoff(self._options.retry_seconds, math.inf)

        async def attempt() -> Fetched:
            await host.turn()
            fetched = await self._fetch(url, headers, robots)
            if fetched.status in _BUSY:
                raise _Busy(fetched)
            return fetched

        def pause(retry: int, error: Exception) -> float | None:
            seconds = backoff.pause(retry)
            if isinstance(error, _Busy):
                wanted = error.fetched.retry_after
                seconds = seconds if wanted is None else wanted
                return seconds if seconds <= _MAX_WAIT else None
            passes = isinstance(error, GenkitError) and error.status in ("UNAVAILABLE", "DEADLINE_EXCEEDED")
            return min(seconds, _MAX_WAIT) if passes else None

        async def hold(seconds: float) -> None:
            host.pause(seconds)  # no request to this host is sent during the pause, the retry included

        try:
            return await retry_call(attempt, pause, retries=self._options.retries, sleep=hold)
        except _Busy as busy:
            return busy.fetched

    async def _fetch(self, url: str, headers: dict[str, str] | None, robots: bool) -> Fetched:
        policy = self._options.policy
        policy = replace(policy, content_types=None if robots else policy.content_types or CONTENT_TYPES)
        return await fetch(url, policy, client=self._client, headers=headers, follow=robots)

    def _delay(self, url: str) -> HostDelay:
        return self._delays.setdefault(origin_of(url), HostDelay(1 / self._options.requests_per_second))


def reason_of(error: GenkitError) -> str:
    """Return the reason of a failed fetch without its URL."""
    return str(error.details.get("reason") or error.message)
