"""The connection: one POST with retries; failures are `GenkitError`s, and the key is in none of them."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
from collections.abc import Mapping
from typing import Any

import httpx

from genkit_rag.plugin_api import GenkitError, HttpClients, invalid, openai_wire, retry_after
from genkit_rag_http_rerank._options import HttpRerankOptions

logger = logging.getLogger("genkit_rag.http_rerank")

RETRIED = {408, 429, 500, 502, 503, 504}
"""HTTP status codes that another attempt may not meet: a ranking changes nothing, so asking twice is harmless."""

FIRST_PAUSE = 0.5
"""Seconds before the first retry; each further pause is twice as long, and up to half of it is left out by chance."""


class Connection:
    """Sends requests to one base URL.

    Args:
        base_url: The protocol's path is put behind it.
        key: None means the environment's, asked for at each request.
        key_variable: The environment variable with the key.
        needs_key: Whether it is an error to have none.
        options: Timeouts and retries.
    """

    def __init__(
        self, base_url: str, key: str | None, key_variable: str, needs_key: bool, options: HttpRerankOptions
    ) -> None:
        self.base_url = base_url.rstrip("/")
        if not self.base_url.startswith(("http://", "https://")) or not httpx.URL(self.base_url).host:
            raise invalid(
                "base_url", self.base_url, "must be an http or https URL", hint="For instance `http://127.0.0.1:8000`."
            )
        self._key = key
        self._variable = key_variable
        self._needs_key = needs_key
        self._options = options
        self._clients = HttpClients(self.base_url, options.timeout)

    @property
    def shown_url(self) -> str:
        """The base URL without user name, password and query."""
        return str(httpx.URL(self.base_url).copy_with(userinfo=b"", query=None))

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Returns the JSON that the server answers; asks again where that may help."""
        attempt = 0
        while True:
            try:
                return await self._once(path, body)
            except GenkitError as error:
                pause = self._pause(attempt, error)
                if pause is None:
                    raise
                logger.info("attempt %d failed, next in %.2f s: %s", attempt + 1, pause, error)
            await asyncio.sleep(pause)
            attempt += 1

    async def close(self) -> None:
        """Closes the clients of every event loop that still runs."""
        await self._clients.close()

    async def _once(self, path: str, body: Mapping[str, Any]) -> Any:
        key = self._checked_key()
        client = await self._clients.get()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            response = await client.post(self.base_url + path, json=body, headers=headers)
        except httpx.HTTPError as error:
            raise self._failure(error, key) from error
        if response.is_error:
            raise self._refusal(response, key)
        try:
            return json.loads(response.content)
        except (ValueError, RecursionError) as error:
            raise GenkitError(
                "INTERNAL",
                f"{self.shown_url} answered with something that is not JSON: {_redacted(response.text[:200], key)!r}.",
                hint="Check base_url and api.",
            ) from error

    def _pause(self, attempt: int, error: GenkitError) -> float | None:
        """Returns the seconds before the next attempt, counted from 0; None when there is to be none."""
        if attempt >= self._options.max_retries or not error.details.get("retryable"):
            return None
        longest = self._options.max_delay
        wanted = error.retry_after or 0.0
        if wanted > longest:
            return None
        grown = min(FIRST_PAUSE * 2.0 ** min(attempt, 64), longest)
        return max(grown * (1 - random.random() / 2), wanted)  # noqa: S311 - it spreads retries, it hides nothing

    def _checked_key(self) -> str | None:
        key = (self._key or os.environ.get(self._variable) or "").strip() or None
        if not key and self._needs_key:
            raise GenkitError(
                "FAILED_PRECONDITION",
                f"There is no API key for {self.shown_url}.",
                hint=f"Set the environment variable {self._variable}, or pass HttpRerank(api_key=...).",
            )
        if key and not (key.isascii() and key.isprintable()):
            raise GenkitError(
                "FAILED_PRECONDITION",
                "The API key holds line breaks or characters that a header cannot carry.",
                hint="Copy it again, without quotes and line breaks.",
            )
        return key

    def _refusal(self, response: httpx.Response, key: str | None) -> GenkitError:
        try:
            text = openai_wire.error_text(response.json())
        except ValueError:
            text = response.text[:300].strip() or None
        code = response.status_code
        hints = {
            401: f"Check {self._variable}, or pass HttpRerank(api_key=...).",
            403: "The key is known but may not do this: check its permissions.",
            404: "Check base_url (the protocol's path is put behind it), api, and the model's name.",
            413: "Lower HttpRerank(max_documents=...) or max_characters.",
            429: "Wait and ask again; or check the account's quota.",
        }
        return GenkitError(
            openai_wire.status_of_http(code),
            f"{self.shown_url} answered {code}: {_redacted(text or response.reason_phrase, key)}",
            hint=hints.get(code),
            details={"http_status": code, "retryable": code in RETRIED},
            retry_after=retry_after(response.headers.get("retry-after")),
        )

    def _failure(self, error: httpx.HTTPError, key: str | None) -> GenkitError:
        """Returns what httpx raised as a `GenkitError`; its text may quote the request, so the key is cut out."""
        if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
            return GenkitError(
                "DEADLINE_EXCEEDED",
                f"{self.shown_url} sent nothing for {self._options.timeout:g} s ({type(error).__name__}).",
                hint="Raise HttpRerank(timeout=...), or send less: max_documents, max_characters.",
            )
        reason = _redacted(str(error), key) or type(error).__name__
        return GenkitError(
            "UNAVAILABLE",
            f"The connection to {self.shown_url} failed: {reason}",
            hint="Check base_url, that the server runs, and your network and proxy settings.",
            details={"retryable": True},
        )


def _redacted(text: str, key: str | None) -> str:
    return text.replace(key, "***") if key else text
