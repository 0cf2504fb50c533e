"""The connection to a rerank server, with retries."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from genkit_rag.plugin_api import ApiHints, ApiKey, Backoff, GenkitError, HttpApi, retry_call
from genkit_rag_http_rerank._options import HttpRerankOptions

logger = logging.getLogger("genkit_rag.http_rerank")

RETRIED_HTTP_CODES = {408, 429, 500, 502, 503, 504}
"""HTTP status codes of temporary failures; reranking changes nothing on the server, so a retry is harmless."""

FIRST_PAUSE = 0.5
"""Seconds before the first retry; each further pause is twice as long, minus up to half of it at random."""


class Connection:
    """A connection to one base URL.

    Args:
        base_url: The URL before the path of the protocol.
        key: The API key.
        options: Timeouts and retries.
    """

    def __init__(self, base_url: str, key: ApiKey, options: HttpRerankOptions) -> None:
        hints = ApiHints(
            not_json="Check base_url and api.",
            timeout="Raise HttpRerank(timeout=...), or send less: max_documents, max_characters.",
            unreachable="Check base_url, that the server runs, and your network and proxy settings.",
            status={
                401: f"Check {key.variable}, or pass {key.parameter}.",
                403: "The key is valid but lacks a permission: check its permissions.",
                404: "Check base_url (the protocol's path is appended to it), api, and the model's name.",
                413: "Lower HttpRerank(max_documents=...) or max_characters.",
                429: "Retry later, or check the account's quota.",
            },
        )
        self._api = HttpApi(base_url, options.timeout, hints, key=key)
        self.shown_url = self._api.shown_url
        self._retries = options.max_retries
        self._max_delay = options.max_delay
        self._backoff = Backoff(FIRST_PAUSE, options.max_delay, jitter=0.5)

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Post JSON and return the JSON of the answer; retries temporary failures."""
        return await retry_call(lambda: self._api.post(path, body), self._pause, retries=self._retries)

    async def close(self) -> None:
        """Close the HTTP clients."""
        await self._api.close()

    def _pause(self, retry: int, error: Exception) -> float | None:
        if not isinstance(error, GenkitError) or not _is_temporary(error):
            return None
        wanted = error.retry_after or 0.0
        if wanted > self._max_delay:
            return None
        pause = max(self._backoff.pause(retry), wanted)
        logger.info("attempt %d failed, next in %.2f s: %s", retry + 1, pause, error)
        return pause


def _is_temporary(error: GenkitError) -> bool:
    code = error.details.get("http_status")
    return error.status == "UNAVAILABLE" if code is None else code in RETRIED_HTTP_CODES
