"""Media download middleware, for models that accept bytes but no URLs."""

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
"""The number of concurrent downloads of one request."""

_UNKNOWN = ("", "application/octet-stream")


@dataclass(frozen=True)
class DownloadRequestMedia(Middleware):
    """A middleware that replaces http(s) URLs of media by data URIs, for models that do not fetch URLs.

    Media of messages, documents and tool responses are downloaded, each URL once per call, four at a time. Only public
    servers are contacted: a private address, also after a redirect or a name look-up, raises PERMISSION_DENIED. Other
    errors are those of the download: OUT_OF_RANGE for a body that is too long, FAILED_PRECONDITION for another content
    type, NOT_FOUND, UNAVAILABLE and so on. The conversation in the response keeps the URLs.

    Args:
        max_bytes: The maximum size of one medium.
        filter: Returns whether to download the medium of a part; other parts keep their URL.
        allow_private_networks: Whether loopback and private networks may be contacted; cloud metadata services are
            never contacted.
        content_types: The accepted content types, in which `*` matches anything. The server's content type must be of
            the same kind (image, audio and so on) as the part's; the part's is used if the server sends none.
        client: Creates the HTTP client for a policy; for tests.
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
        """Download the media, then call the model."""
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
        """Download the URLs; return content types and base64 data by URL. The first failure cancels the rest."""
        from genkit_rag._net.fetch import fetch, guarded_client  # needs httpx

        policy, slots = self._policy(), asyncio.Semaphore(CONCURRENCY)

        async def one(url: str) -> tuple[str, str]:
            async with slots:
                fetched = (await fetch(url, policy, client=client)).require_ok()
            return fetched.content_type, await run_in_thread(_base64, fetched.body)

        async with (self.client or guarded_client)(policy) as client:
            return dict(zip(urls, await _together([one(url) for url in urls]), strict=True))


async def _together(calls: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Return the results; a failure or cancellation cancels the other calls first."""
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
    """Replace the URL by a data URI; raises FAILED_PRECONDITION for an unexpected kind of medium."""
    media = cast(Media, part.media)
    said = (media.content_type or "").partition(";")[0].strip().lower()
    kind = said if content_type in _UNKNOWN else content_type
    if not kind or (said and kind.partition("/")[0] != said.partition("/")[0]):
        shown = shown_url(media.url)
        raise GenkitError(
            "FAILED_PRECONDITION",
            f"{shown} has the content type {content_type or '(none)'}, expected {said or 'a media type'}.",
            hint="Correct the part's `content_type`, or the URL.",
            details={"url": shown, "contentType": content_type, "expected": said},
        )
    return part.model_copy(update={"media": Media(url=f"data:{kind};base64,{body}", content_type=kind)})


download_request_media = DownloadRequestMedia
