"""Fetch a URL from an untrusted source: a document, a web page, a linked file, an image."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from email.message import Message
from typing import Any
from urllib.parse import urljoin

from genkit_rag._core.errors import GenkitError, Status, require_extra
from genkit_rag._net.policy import FetchPolicy, check_url, shown_url
from genkit_rag._net.retry_after import retry_after

with require_extra("web", "httpx"):
    import httpx

from genkit_rag._net.transport import GuardedTransport, Resolver, resolve

_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_STATUSES: dict[int, Status] = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    410: "NOT_FOUND",
    408: "UNAVAILABLE",
    429: "RESOURCE_EXHAUSTED",
}
USER_AGENT = "genkit-rag"
"""The default user agent."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer.

    Attributes:
        url: Where it came from, after redirects.
        status: The HTTP status.
        headers: By lower-case name.
        body: The bytes, decompressed; empty unless the status is 2xx.
        content_type: The media type in lower case, empty where the server gave none.
        charset: The character set that the server declared.
    """

    url: str
    status: int
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    content_type: str = ""
    charset: str | None = None

    @property
    def location(self) -> str | None:
        """The target of a redirect as an absolute URL; None if the response is not a redirect."""
        to = self.headers.get("location")
        if self.status not in _REDIRECTS or to is None:
            return None
        return _join(self.url, to)

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait, where the server said so."""
        return retry_after(self.headers.get("retry-after"))

    def require_ok(self) -> Fetched:
        """Return the response; raise an error for a status other than 2xx."""
        if 200 <= self.status < 300:
            return self
        status = _STATUSES.get(self.status, "UNAVAILABLE" if self.status >= 500 else "FAILED_PRECONDITION")
        raise GenkitError(
            status,
            f"{shown_url(self.url)} answered {self.status}.",
            hint="Check the URL, or try again later." if self.status < 500 else "Try again later.",
            details={"url": shown_url(self.url), "httpStatus": self.status},
            retry_after=self.retry_after,
        )


def guarded_client(
    policy: FetchPolicy, *, user_agent: str = USER_AGENT, resolver: Resolver = resolve, network: Any = None
) -> httpx.AsyncClient:
    """Create a client that reaches only addresses that the policy allows; close it after use.

    Redirects are followed on request only, and each target is checked. The client uses no proxies of the environment
    and keeps no cookies.

    Args:
        policy: The limits and allowed addresses.
        user_agent: The User-Agent header.
        resolver: Resolves a host name to addresses.
        network: Opens sockets to addresses (an httpcore `AsyncNetworkBackend`).
    """
    from http.cookiejar import CookieJar, DefaultCookiePolicy

    return httpx.AsyncClient(
        transport=GuardedTransport(policy, resolver=resolver, network=network),
        timeout=httpx.Timeout(policy.read_seconds, connect=policy.connect_seconds),
        headers={"user-agent": user_agent, "accept-encoding": "gzip"},
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        follow_redirects=False,
        max_redirects=policy.max_redirects,
        trust_env=False,
    )


async def fetch(
    url: str,
    policy: FetchPolicy | None = None,
    *,
    client: httpx.AsyncClient | None = None,
    headers: Mapping[str, str] | None = None,
    follow: bool = True,
) -> Fetched:
    """Fetch a URL and return the response with any status; `require_ok` raises for statuses other than 2xx.

    Args:
        url: An http or https URL.
        policy: The limits; by default public servers and 20 MiB.
        client: A client of `guarded_client`, to reuse its connections; by default a new one.
        headers: Request headers.
        follow: Whether to follow redirects.

    Raises:
        GenkitError: PERMISSION_DENIED for a private address, at any redirect; INVALID_ARGUMENT for a URL that cannot be
            fetched; OUT_OF_RANGE for a body over the limit; FAILED_PRECONDITION for another content type or too many
            redirects; UNAVAILABLE and DEADLINE_EXCEEDED for failures of the server.
    """
    policy = policy or FetchPolicy()
    async with AsyncExitStack() as stack:
        if client is None:
            client = await stack.enter_async_context(guarded_client(policy))
        try:
            async with asyncio.timeout(policy.total_seconds):
                return await _follow(client, url, policy, headers, follow)
        except TimeoutError as error:
            raise _failed(url, "DEADLINE_EXCEEDED", f"it took over {policy.total_seconds:g} s") from error
        except httpx.TimeoutException as error:
            raise _failed(url, "DEADLINE_EXCEEDED", _said(error)) from error
        except (httpx.RequestError, httpx.InvalidURL) as error:
            raise _failed(url, "UNAVAILABLE", _said(error)) from error


async def _follow(
    client: httpx.AsyncClient, url: str, policy: FetchPolicy, headers: Mapping[str, str] | None, follow: bool
) -> Fetched:
    at = url
    for _ in range(policy.max_redirects + 1):
        fetched = await _fetch_one(client, at, policy, headers)
        to = fetched.location
        if not follow or to is None:
            return fetched
        if headers and not _same_origin(at, to):
            headers = None  # what was meant for one server is not told to another
        at = to
    raise _failed(url, "FAILED_PRECONDITION", f"there are more than {policy.max_redirects} redirects")


async def _fetch_one(
    client: httpx.AsyncClient, url: str, policy: FetchPolicy, headers: Mapping[str, str] | None
) -> Fetched:
    checked = check_url(url, policy)
    async with client.stream("GET", checked, headers=dict(headers or {})) as response:
        content_type, charset = _media_type(response.headers.get("content-type", ""))
        body = b""
        if response.is_success:
            if not policy.takes(content_type):
                error = _failed(url, "FAILED_PRECONDITION", f"its content type is {content_type or 'not given'}")
                error.details["contentType"] = content_type
                raise error
            body = b"".join([piece async for piece in response.aiter_bytes()])
        return Fetched(str(checked), response.status_code, dict(response.headers), body, content_type, charset)


def _same_origin(one: str, other: str) -> bool:
    try:
        first, second = httpx.URL(one), httpx.URL(other)
    except httpx.InvalidURL:
        return False
    return (first.scheme, first.host, first.port) == (second.scheme, second.host, second.port)


def _join(base: str, to: str) -> str:
    try:
        return urljoin(base, to)
    except ValueError:  # an unfinished IPv6 address; the check of the URL says so
        return to


def _media_type(header: str) -> tuple[str, str | None]:
    message = Message()
    message["content-type"] = header.replace("\r", " ").replace("\n", " ")
    charset = message.get_param("charset")
    return (message.get_content_type() if "/" in header else "", charset if isinstance(charset, str) else None)


def _failed(url: str, status: Status, reason: str) -> GenkitError:
    return GenkitError(
        status,
        f"{shown_url(url)} could not be fetched: {reason}.",
        hint="Check the URL, or try again later.",
        details={"url": shown_url(url), "reason": reason},
    )


def _said(error: Exception) -> str:
    return shown_url(error) if str(error) else type(error).__name__
