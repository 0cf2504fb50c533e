"""The HTTP client of plugins for providers: JSON requests whose failures are `GenkitError`s without credentials."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._net.http_clients import HttpClients
from genkit_rag._net.retry_after import retry_after
from genkit_rag._plugin_kit.http_errors import error_text, status_of_http

if TYPE_CHECKING:
    import httpx

_REQUEST_ID_HEADERS = ("x-request-id", "request-id")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """The API key of a provider and the header that carries it.

    Attributes:
        value: The key; None reads `variable` at each request.
        variable: The environment variable with the key.
        parameter: How to pass the key in code, such as `OpenAI(api_key=...)`; used in error messages.
        required: Whether a request without a key raises FAILED_PRECONDITION.
        header: The name of the header.
        prefix: The text before the key in the header.
    """

    value: str | None = field(default=None, repr=False)
    variable: str = ""
    parameter: str = "api_key=..."
    required: bool = False
    header: str = "Authorization"
    prefix: str = "Bearer "

    def find(self, url: str, override: str | None = None) -> str | None:
        """Return the key of a request to `url`; raises FAILED_PRECONDITION for a missing or malformed key."""
        key = (override or self.value or os.environ.get(self.variable) or "").strip() or None
        if not key and self.required:
            raise GenkitError(
                "FAILED_PRECONDITION",
                f"No API key is set for {url}.",
                hint=f"Set the environment variable {self.variable}, or pass {self.parameter}.",
            )
        if key and not (key.isascii() and key.isprintable()):
            raise GenkitError(
                "FAILED_PRECONDITION",
                "The API key contains line breaks or characters that an HTTP header cannot carry.",
                hint="Copy the key again, without quotes and line breaks.",
            )
        return key


@dataclass(frozen=True, slots=True)
class ApiHints:
    """The advice in the error messages of an API.

    Attributes:
        not_json: For an answer that is not JSON.
        timeout: For a server that sends nothing for `timeout` seconds.
        unreachable: For a failed connection.
        status: By HTTP status code.
        server_error: For a 5xx status code that `status` does not contain.
    """

    not_json: str
    timeout: str
    unreachable: str
    status: Mapping[int, str] = field(default_factory=dict[int, str])
    server_error: str | None = None


class StreamedAnswer:
    """A streamed answer of a provider; read it with `SseDecoder` or `split_lines`."""

    def __init__(self, response: httpx.Response, parse: Callable[[str | bytes], Any]) -> None:
        self._response = response
        self._parse = parse

    @property
    def content_type(self) -> str:
        """The Content-Type header; empty when absent."""
        return str(self._response.headers.get("content-type", ""))

    def chunks(self) -> AsyncIterator[bytes]:
        """Iterate over the bytes as they arrive."""
        return self._response.aiter_bytes()

    async def read(self) -> bytes:
        """Return the whole body."""
        return await self._response.aread()

    def parse_json(self, text: str | bytes) -> Any:
        """Parse one item of the stream; raises INTERNAL with the beginning of an item that is not JSON."""
        return self._parse(text)


class HttpApi:
    """The HTTP API of a provider at one base URL, with one client for each event loop.

    Every failure raises a `GenkitError` with a status, a hint and `details["http_status"]`; `retry_after` holds the
    server's Retry-After header. No message contains the API key or the credentials of the base URL.

    Args:
        base_url: The URL before the paths of the requests.
        timeout: Seconds without a byte before a request fails (for connecting: at most 10).
        hints: The advice in error messages.
        key: The API key; None for an API without keys.
        argument: The name of the plugin's argument for `base_url`, for the error about an invalid URL.
        example: An example of a valid URL, for the same error.
    """

    def __init__(
        self,
        base_url: str,
        timeout: float,
        hints: ApiHints,
        *,
        key: ApiKey | None = None,
        argument: str = "base_url",
        example: str = "http://127.0.0.1:8000",
    ) -> None:
        self.base_url = base_url.rstrip("/")
        url = _parse_url(self.base_url)
        if url is None:
            raise invalid(argument, base_url, "must be an http or https URL", hint=f"For example `{example}`.")
        # Neither the user name and password nor the query may show up in messages.
        self.shown_url = str(url.copy_with(userinfo=b"", query=None)).rstrip("/")
        self._hints = hints
        self._key = key or ApiKey()
        self._clients = HttpClients(self.base_url, timeout)

    async def get(self, path: str) -> Any:
        """Send a GET request and return the JSON of the answer."""
        return await self._request("GET", path, None, None, {})

    async def post(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        api_key: str | None = None,
        status_hints: Mapping[int, str] | None = None,
    ) -> Any:
        """Post JSON and return the JSON of the answer.

        Args:
            path: The path after the base URL.
            body: The JSON body.
            api_key: A key for this request only.
            status_hints: Hints by HTTP status code for this request only.
        """
        return await self._request("POST", path, body, api_key, status_hints or {})

    @contextlib.asynccontextmanager
    async def stream(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        api_key: str | None = None,
        status_hints: Mapping[int, str] | None = None,
    ) -> AsyncGenerator[StreamedAnswer]:
        """Post JSON and open the streamed answer; failures inside the block raise `GenkitError` too."""
        key = self._key.find(self.shown_url, api_key)
        client = await self._clients.get()
        with self._mapped_errors(key):
            async with client.stream("POST", self.base_url + path, json=body, headers=self._headers(key)) as response:
                if response.is_error:
                    await response.aread()
                    raise self._error(response, key, status_hints or {})
                yield StreamedAnswer(response, lambda text: self._parsed(text, key))

    async def close(self) -> None:
        """Close the clients of every event loop that still runs."""
        await self._clients.close()

    async def _request(
        self, method: str, path: str, body: Mapping[str, Any] | None, api_key: str | None, hints: Mapping[int, str]
    ) -> Any:
        key = self._key.find(self.shown_url, api_key)
        client = await self._clients.get()
        with self._mapped_errors(key):
            response = await client.request(method, self.base_url + path, json=body, headers=self._headers(key))
        if response.is_error:
            raise self._error(response, key, hints)
        return self._parsed(response.content, key)

    def _headers(self, key: str | None) -> dict[str, str]:
        return {self._key.header: f"{self._key.prefix}{key}"} if key else {}

    def _parsed(self, text: str | bytes, key: str | None) -> Any:
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            shown = text if isinstance(text, str) else text.decode("utf-8", "replace")
            raise GenkitError(
                "INTERNAL",
                f"{self.shown_url} returned invalid JSON: {_redacted(shown[:200], key)!r}.",
                hint=self._hints.not_json,
            ) from error

    def _error(self, response: httpx.Response, key: str | None, hints: Mapping[int, str]) -> GenkitError:
        body: Any = None
        try:
            body = response.json()
            text = error_text(body)
        except (ValueError, RecursionError):
            text = response.text[:300].strip() or None
        code = response.status_code
        details: dict[str, Any] = {"http_status": code}
        error = body.get("error") if isinstance(body, dict) else None
        if isinstance(error, dict) and isinstance(error.get("code"), str):
            details["code"] = error["code"]  # `insufficient_quota` is a 429 that no retry cures
        request_id = next((response.headers[name] for name in _REQUEST_ID_HEADERS if name in response.headers), None)
        if request_id:
            details["request_id"] = request_id
        hint = hints.get(code) or self._hints.status.get(code) or (self._hints.server_error if code >= 500 else None)
        return GenkitError(
            status_of_http(code),
            f"{self.shown_url} answered {code}: {_redacted(text or response.reason_phrase, key)}",
            hint=hint,
            details=details,
            retry_after=retry_after(response.headers.get("retry-after")),
        )

    @contextlib.contextmanager
    def _mapped_errors(self, key: str | None) -> Generator[None]:
        import httpx

        try:
            yield
        except httpx.HTTPError as error:
            if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
                raise GenkitError(
                    "DEADLINE_EXCEEDED",
                    f"{self.shown_url} sent nothing for {self._clients.timeout.read:g} s ({type(error).__name__}).",
                    hint=self._hints.timeout,
                ) from error
            reason = _redacted(str(error), key) or type(error).__name__  # the text may quote the request
            raise GenkitError(
                "UNAVAILABLE",
                f"The connection to {self.shown_url} failed: {reason}",
                hint=self._hints.unreachable,
            ) from error


def _parse_url(text: str) -> httpx.URL | None:
    import httpx

    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        return None
    return url if url.scheme in ("http", "https") and url.host else None


def _redacted(text: str, key: str | None) -> str:
    return text.replace(key, "***") if key else text
