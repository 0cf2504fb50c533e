"""The connection to the provider: one client for each event loop, and its failures as `GenkitError`s."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import AsyncGenerator, Generator, Mapping
from typing import Any

import httpx

from genkit_rag.plugin_api import GenkitError, HttpClients, invalid, openai_wire, retry_after
from genkit_rag_openai._sse import SseDecoder

OFFICIAL = "https://api.openai.com/v1"
DONE = object()
_LAST = "[DONE]"


class Connection:
    """Sends requests to one base URL.

    Args:
        base_url: Up to and without `/chat/completions`.
        api_key: None means the environment's, asked for at each request.
        timeout: Seconds without a byte after which a request is given up.
    """

    def __init__(self, base_url: str | None, api_key: str | None, timeout: float) -> None:
        self.base_url = (base_url or os.environ.get("OPENAI_BASE_URL") or OFFICIAL).rstrip("/")
        if not self.base_url.startswith(("http://", "https://")) or not httpx.URL(self.base_url).host:
            raise invalid(
                "base_url",
                self.base_url,
                "must be an http or https URL",
                hint="For instance `http://127.0.0.1:8000/v1`.",
            )
        self._key = api_key
        self._clients = HttpClients(self.base_url, timeout)

    @property
    def official(self) -> bool:
        """True for OpenAI's own servers."""
        return httpx.URL(self.base_url).host == "api.openai.com"

    @property
    def shown_url(self) -> str:
        """The base URL without user name, password and query."""
        return str(httpx.URL(self.base_url).copy_with(userinfo=b"", query=None))

    async def post(self, path: str, body: Mapping[str, Any], api_key: str | None = None) -> Any:
        """Returns the JSON that the provider answers to a POST."""
        return await self._json("POST", path, body, api_key)

    async def model_ids(self) -> list[str]:
        """Returns the ids of the models that the provider lists."""
        answer = await self._json("GET", "/models", None, None)
        try:
            return [str(item["id"]) for item in answer["data"]]
        except (KeyError, TypeError) as error:
            raise GenkitError(
                "INTERNAL", f"{self.shown_url}/models answered with something else than models.", hint=_BASE_URL_HINT
            ) from error

    async def events(self, path: str, body: Mapping[str, Any], api_key: str | None = None) -> AsyncGenerator[Any]:
        """Yields the JSON of each event of a streamed answer, and `DONE` where the provider says that it ends."""
        key = self._checked_key(api_key)
        client = await self._clients.get()
        decoder = SseDecoder()
        with self._failures(key):
            async with client.stream("POST", self._url(path), json=body, headers=_headers(key)) as response:
                if response.is_error:
                    await response.aread()
                    raise self._refusal(response, key)
                if response.headers.get("content-type", "").startswith(("application/json", "text/html")):
                    yield self._parsed(await response.aread(), key)  # it does not stream, or is no chat server
                    yield DONE
                    return
                async for chunk in response.aiter_bytes():
                    for data in decoder.feed(chunk):
                        if data.strip() == _LAST:
                            yield DONE
                            return
                        yield self._parsed(data, key)
                if decoder.rest().strip() == _LAST:
                    yield DONE

    async def close(self) -> None:
        """Closes the clients of every event loop that still runs."""
        await self._clients.close()

    async def _json(self, method: str, path: str, body: Mapping[str, Any] | None, api_key: str | None) -> Any:
        key = self._checked_key(api_key)
        client = await self._clients.get()
        with self._failures(key):
            response = await client.request(method, self._url(path), json=body, headers=_headers(key))
        if response.is_error:
            raise self._refusal(response, key)
        return self._parsed(response.content, key)

    def _checked_key(self, api_key: str | None) -> str | None:
        key = (api_key or self._key or os.environ.get("OPENAI_API_KEY") or "").strip() or None
        if not key and self.official:
            raise GenkitError(
                "FAILED_PRECONDITION",
                f"There is no API key for {self.shown_url}.",
                hint="Set the environment variable OPENAI_API_KEY, or pass OpenAI(api_key=...).",
            )
        if key and not (key.isascii() and key.isprintable()):
            raise GenkitError(
                "FAILED_PRECONDITION",
                "The API key holds line breaks or characters that a header cannot carry.",
                hint="Copy it again, without quotes and line breaks.",
            )
        return key

    def _url(self, path: str) -> str:
        return self.base_url + path

    def _parsed(self, text: str | bytes, key: str | None) -> Any:
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            shown = text if isinstance(text, str) else text.decode("utf-8", "replace")
            raise GenkitError(
                "INTERNAL",
                f"{self.shown_url} answered with something that is not JSON: {_redacted(shown[:200], key)!r}.",
                hint=_BASE_URL_HINT,
            ) from error

    def _refusal(self, response: httpx.Response, key: str | None) -> GenkitError:
        body: Any = None
        try:
            body = response.json()
            text = openai_wire.error_text(body)
        except ValueError:
            text = response.text[:300].strip() or None
        code = response.status_code
        details: dict[str, Any] = {"http_status": code}
        error = body.get("error") if isinstance(body, dict) else None
        if isinstance(error, dict) and isinstance(error.get("code"), str):
            details["code"] = error["code"]  # `insufficient_quota` is a 429 that no retry cures
        request_id = response.headers.get("x-request-id")
        if request_id:
            details["request_id"] = request_id
        return GenkitError(
            openai_wire.status_of_http(code),
            f"{self.shown_url} answered {code}: {_redacted(text or response.reason_phrase, key)}",
            hint=_HINTS.get(code) or (_FAILED_HINT if code >= 500 else None),
            details=details,
            retry_after=retry_after(response.headers.get("retry-after")),
        )

    @contextlib.contextmanager
    def _failures(self, key: str | None) -> Generator[None]:
        """Turns what httpx raises into `GenkitError`s; its texts may quote the request, so the key is cut out."""
        try:
            yield
        except httpx.ConnectTimeout as error:
            raise self._unreachable(error, key) from error
        except httpx.TimeoutException as error:
            raise GenkitError(
                "DEADLINE_EXCEEDED",
                f"{self.shown_url} sent nothing for {self._clients.timeout.read:g} s ({type(error).__name__}).",
                hint="Raise OpenAI(timeout=...), or ask for fewer tokens.",
            ) from error
        except httpx.HTTPError as error:
            raise self._unreachable(error, key) from error

    def _unreachable(self, error: Exception, key: str | None) -> GenkitError:
        reason = _redacted(str(error), key) or type(error).__name__
        return GenkitError(
            "UNAVAILABLE",
            f"The connection to {self.shown_url} failed: {reason}",
            hint="Check base_url (or OPENAI_BASE_URL), that the server runs, and your network and proxy settings.",
        )


_BASE_URL_HINT = "Check that base_url is the one of an OpenAI-compatible API; most end in `/v1`."
_FAILED_HINT = "The server failed: ask again, with the retry middleware for instance."
_HINTS = {
    401: "Check OPENAI_API_KEY, or pass OpenAI(api_key=...).",
    403: "The key is known but may not do this: check the project's and model's permissions.",
    404: "Check the model's name and base_url; most base URLs end in `/v1`.",
    429: "Wait and ask again, with the retry middleware for instance; or check the account's quota.",
}


def _headers(key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


def _redacted(text: str, key: str | None) -> str:
    return text.replace(key, "***") if key else text
