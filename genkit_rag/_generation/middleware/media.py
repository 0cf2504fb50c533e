"""Downloads the media of a request: for models that take bytes and no URLs."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._core.threads import run_in_thread
from genkit_rag._documents.part import Media, Part
from genkit_rag._generation.middleware.base import Middleware, ModelParams, Next, WireConfig
from genkit_rag._generation.middleware.map_parts import map_parts
from genkit_rag._generation.model import ModelResponse
from genkit_rag._net import FetchPolicy, shown_url

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")
MAX_BYTES = 20 * 1024 * 1024
CONTENT_TYPES = ("image/*", "audio/*", "video/*", "application/pdf")
CONCURRENCY = 4
"""Downloads of one request at a time."""

_UNKNOWN = ("", "application/octet-stream")


@dataclass(frozen=True)
class DownloadRequestMedia(Middleware):
    """Puts the bytes of http(s) media into the request, as data URIs, for models that fetch nothing themselves.

    Media of messages, of documents and of tools' responses are fetched, each URL once a call, four at a time. Only
    public servers are reached: a private address, also behind a redirect or a name, is PERMISSION_DENIED. Other errors
    are those of the fetch: OUT_OF_RANGE for a body that is too long, FAILED_PRECONDITION for another content type,
    NOT_FOUND, UNAVAILABLE and so on. The conversation in the response keeps the URLs.

    Args:
        max_bytes: The most that one medium may have.
        filter: Says of a part whether its medium is fetched; the others keep their URL.
        allow_private_networks: Whether loopback and private networks may be reached; the metadata services of clouds
            may not, all the same.
        content_types: What is taken, `*` matches anything. The server's word counts; it must be of the kind (image,
            audio and so on) that the part says. Where the server says nothing, the part's word counts.
        client: Makes the HTTP client for a policy; for tests.
    """

    wire_config: ClassVar[WireConfig] = {"max_bytes": int, "content_types": tuple[str, ...]}

    max_bytes: int = MAX_BYTES
    filter: Callable[[Part], bool] | None = None
    allow_private_networks: bool = False
    content_types: Sequence[str] = CONTENT_TYPES
    client: Callable[[FetchPolicy], httpx.AsyncClient] | None = field(default=None, repr=False, kw_only=True)

    def __post_init__(self) -> None:
        if isinstance(self.content_types, str) or not self.content_types:
            raise invalid("content_types", self.content_types, "must be a list of media types")
        self._policy()

    def _policy(self) -> FetchPolicy:
        return FetchPolicy(
            allow_private_networks=self.allow_private_networks,
            content_types=(*self.content_types, *_UNKNOWN),
            max_bytes=self.max_bytes,
        )

    async def wrap_model(self, params: ModelParams, next: Next[ModelParams, ModelResponse], /) -> ModelResponse:
        """Returns the response to the request with its media in it."""
        wanted: dict[str, None] = {}

        def look(part: Part) -> Part:
            if self._is_wanted(part):
                wanted[cast(Media, part.media).url] = None
            return part

        map_parts(params.request, look)
        if not wanted:
            return await next(params)
        found = await self._fetch_all(list(wanted))

        def fill(part: Part) -> Part:
            return _filled(part, *found[cast(Media, part.media).url]) if self._is_wanted(part) else part

        return await next(replace(params, request=map_parts(params.request, fill)))

    def _is_wanted(self, part: Part) -> bool:
        url = "" if part.media is None else part.media.url
        return url[:8].lower().startswith(("http://", "https://")) and (self.filter is None or self.filter(part))

    async def _fetch_all(self, urls: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Returns content type and bytes in base64 by URL; the first failure ends the other downloads."""
        from genkit_rag._net.fetch import fetch, guarded_client  # needs httpx

        policy, slots = self._policy(), asyncio.Semaphore(CONCURRENCY)

        async def one(url: str) -> tuple[str, str]:
            async with slots:
                fetched = (await fetch(url, policy, client=client)).require_ok()
            return fetched.content_type, await run_in_thread(_base64, fetched.body)

        async with (self.client or guarded_client)(policy) as client:
            return dict(zip(urls, await _together([one(url) for url in urls]), strict=True))


async def _together(calls: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Returns the results; at a failure or a cancellation the others are ended first."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _base64(body: bytes) -> str:
    return base64.b64encode(body).decode("ascii")


def _filled(part: Part, content_type: str, body: str) -> Part:
    """Returns the part with its medium as a data URI; FAILED_PRECONDITION when it is of another kind than it says."""
    media = cast(Media, part.media)
    said = (media.content_type or "").partition(";")[0].strip().lower()
    kind = said if content_type in _UNKNOWN else content_type
    if not kind or (said and kind.partition("/")[0] != said.partition("/")[0]):
        shown = shown_url(media.url)
        raise GenkitError(
            "FAILED_PRECONDITION",
            f"{shown} is {content_type or 'of a type that the server does not give'}, not {said or 'a known medium'}.",
            hint="Correct the part's `content_type`, or the URL.",
            details={"url": shown, "contentType": content_type, "expected": said},
        )
    return part.model_copy(update={"media": Media(url=f"data:{kind};base64,{body}", content_type=kind)})


download_request_media = DownloadRequestMedia
