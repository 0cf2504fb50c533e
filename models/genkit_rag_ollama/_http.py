"""The connection to an Ollama server."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import httpx

from genkit_rag.plugin_api import ApiHints, HttpApi, invalid, split_lines

DEFAULT_HOST = "http://127.0.0.1:11434"
_HINTS = ApiHints(
    not_json="Check that host is an Ollama server.",
    timeout="A large model may take long to load: raise Ollama(timeout=...).",
    unreachable="Start it with `ollama serve`, or set OLLAMA_HOST.",
)


def base_url_of(host: str | None) -> str:
    """Return the URL for a host in the forms of OLLAMA_HOST: `1.2.3.4`, `:11434`, `0.0.0.0:8080`, `https://ollama.lan`."""
    given = (host or os.environ.get("OLLAMA_HOST") or DEFAULT_HOST).strip().rstrip("/")
    if "://" not in given:
        name, colon, port = given.rpartition(":") if given.rpartition(":")[2].isdigit() else (given, "", "")
        given = f"http://{name or '127.0.0.1'}:{port if colon else 11434}"
    try:
        url = httpx.URL(given)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        raise invalid(
            "host", host or given, "must be a host or an http or https URL", hint=f"Omit it for {DEFAULT_HOST}."
        )
    # A server can listen on 0.0.0.0, but a client cannot connect to it.
    return str(url.copy_with(host="127.0.0.1") if url.host in ("0.0.0.0", "::") else url).rstrip("/")  # noqa: S104


class Connection:
    """A connection to one server; `timeout` is in seconds without a byte."""

    def __init__(self, base_url: str, timeout: float) -> None:
        self._api = HttpApi(base_url, timeout, _HINTS, argument="host")
        self.shown_url = self._api.shown_url

    async def get(self, path: str) -> Any:
        """Send a GET request and return the JSON of the answer."""
        return await self._api.get(path)

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Post JSON and return the JSON of the answer."""
        return await self._api.post(path, body, status_hints=_missing_model_hint(body))

    async def lines(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[Any]:
        """Yield the JSON of each line of a streamed answer."""
        async with self._api.stream(path, body, status_hints=_missing_model_hint(body)) as answer:
            async for line in split_lines(answer.chunks()):
                if _is_cut(line):
                    return
                yield answer.parse_json(line)

    async def close(self) -> None:
        """Close the HTTP clients."""
        await self._api.close()


def _missing_model_hint(body: Mapping[str, Any]) -> dict[int, str]:
    return {404: f"Fetch the model with `ollama pull {body['model']}`."} if body.get("model") else {}


def _is_cut(line: bytes) -> bool:
    """Return whether the line is the beginning of an object, cut off by the end of the stream."""
    if line.endswith(b"\n") or not line.lstrip().startswith(b"{"):
        return False
    try:
        json.loads(line)
    except ValueError:
        return True
    return False
