"""The connection to an OpenAI-compatible server."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Mapping
from typing import Any
from urllib.parse import urlsplit

from genkit_rag.plugin_api import ApiHints, ApiKey, GenkitError, HttpApi, SseDecoder

OFFICIAL_URL = "https://api.openai.com/v1"
DONE = object()
"""The last item of a complete stream."""

_LAST = "[DONE]"
_NOT_AN_API = "Check that base_url is the one of an OpenAI-compatible API; most end in `/v1`."
_HINTS = ApiHints(
    not_json=_NOT_AN_API,
    timeout="Raise OpenAI(timeout=...), or ask for fewer tokens.",
    unreachable="Check base_url (or OPENAI_BASE_URL), that the server runs, and your network and proxy settings.",
    server_error="The server failed. Retry later, for example with the `retry` middleware.",
    status={
        401: "Check OPENAI_API_KEY, or pass OpenAI(api_key=...).",
        403: "The key is valid but lacks a permission: check those of the project and the model.",
        404: "Check the model's name and base_url; most base URLs end in `/v1`.",
        429: "Retry later, for example with the `retry` middleware, or check the account's quota.",
    },
)


class Connection:
    """A connection to one base URL.

    Args:
        base_url: The URL before `/chat/completions`.
        api_key: None reads the environment variable at each request.
        timeout: Seconds without a byte before a request fails.
    """

    def __init__(self, base_url: str | None, api_key: str | None, timeout: float) -> None:
        url = base_url or os.environ.get("OPENAI_BASE_URL") or OFFICIAL_URL
        self.official = urlsplit(url).hostname == "api.openai.com"
        key = ApiKey(api_key, "OPENAI_API_KEY", "OpenAI(api_key=...)", required=self.official)
        self._api = HttpApi(url, timeout, _HINTS, key=key, example="http://127.0.0.1:8000/v1")
        self.shown_url = self._api.shown_url

    async def post(self, path: str, body: Mapping[str, Any], api_key: str | None = None) -> Any:
        """Post JSON and return the JSON of the answer."""
        return await self._api.post(path, body, api_key=api_key)

    async def model_ids(self) -> list[str]:
        """Return the ids of the models that the server lists."""
        answer = await self._api.get("/models")
        try:
            return [str(item["id"]) for item in answer["data"]]
        except (KeyError, TypeError) as error:
            raise GenkitError(
                "INTERNAL", f"{self.shown_url}/models did not return a list of models.", hint=_NOT_AN_API
            ) from error

    async def events(self, path: str, body: Mapping[str, Any], api_key: str | None = None) -> AsyncGenerator[Any]:
        """Yield the JSON of each event of a streamed answer, and `DONE` at its end."""
        async with self._api.stream(path, body, api_key=api_key) as answer:
            if answer.content_type.startswith(("application/json", "text/html")):
                yield answer.parse_json(await answer.read())  # the server does not stream, or is no chat server
                yield DONE
                return
            decoder = SseDecoder()
            async for chunk in answer.chunks():
                for data in decoder.feed(chunk):
                    if data.strip() == _LAST:
                        yield DONE
                        return
                    yield answer.parse_json(data)
            if decoder.rest().strip() == _LAST:
                yield DONE

    async def close(self) -> None:
        """Close the HTTP clients."""
        await self._api.close()
