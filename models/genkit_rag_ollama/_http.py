"""The connection to the server: one client for each event loop, and its failures as `GenkitError`s."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import AsyncGenerator, AsyncIterable, Generator, Mapping
from typing import Any

import httpx

from genkit_rag.plugin_api import GenkitError, HttpClients, invalid, openai_wire

DEFAULT_HOST = "http://127.0.0.1:11434"
MAX_LINE_BYTES = 32 * 1024 * 1024
"""A line larger than this is refused, not collected."""


def base_url_of(host: str | None) -> str:
    """Returns the URL for a host as OLLAMA_HOST may have it: `1.2.3.4`, `:11434`, `0.0.0.0:8080`, `https://ollama.lan`."""
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
            "host", host or given, "must be a host or an http or https URL", hint=f"Leave it out for {DEFAULT_HOST}."
        )
    # What a server binds to is no address to call.
    return str(url.copy_with(host="127.0.0.1") if url.host in ("0.0.0.0", "::") else url).rstrip("/")  # noqa: S104


class Connection:
    """Sends requests to one server; `timeout` is in seconds without a byte."""

    def __init__(self, base_url: str, timeout: float) -> None:
        self.base_url = base_url
        self._clients = HttpClients(self.base_url, timeout)

    async def get(self, path: str) -> Any:
        """Returns the JSON that the server answers to a GET."""
        return await self._json("GET", path, None)

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Returns the JSON that the server answers to a POST."""
        return await self._json("POST", path, body)

    async def lines(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[Any]:
        """Yields the JSON of each line of a streamed answer."""
        client = await self._clients.get()
        with self._failures():
            async with client.stream("POST", self.base_url + path, json=body) as response:
                if response.is_error:
                    await response.aread()
                    raise self._refusal(response, body)
                async for line in split_lines(response.aiter_bytes()):
                    if _is_cut(line):
                        return
                    yield self._parsed(line)

    async def close(self) -> None:
        """Closes the clients of every event loop that still runs."""
        await self._clients.close()

    async def _json(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        client = await self._clients.get()
        with self._failures():
            response = await client.request(method, self.base_url + path, json=body)
        if response.is_error:
            raise self._refusal(response, body or {})
        return self._parsed(response.content)

    def _parsed(self, text: bytes) -> Any:
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise GenkitError(
                "INTERNAL",
                f"{self.base_url} answered with something that is not JSON: {text[:200].decode('utf-8', 'replace')!r}.",
                hint="Check that host is an Ollama server.",
            ) from error

    def _refusal(self, response: httpx.Response, body: Mapping[str, Any]) -> GenkitError:
        try:
            text = openai_wire.error_text(response.json())
        except ValueError:
            text = response.text[:300].strip() or None
        code, model = response.status_code, body.get("model")
        return GenkitError(
            openai_wire.status_of_http(code),
            f"{self.base_url} answered {code}: {text or response.reason_phrase}",
            hint=f"Fetch the model with `ollama pull {model}`." if code == 404 and model else None,
            details={"http_status": code},
        )

    @contextlib.contextmanager
    def _failures(self) -> Generator[None]:
        try:
            yield
        except httpx.TimeoutException as error:
            if isinstance(error, httpx.ConnectTimeout):
                raise self._unreachable(error) from error
            raise GenkitError(
                "DEADLINE_EXCEEDED",
                f"{self.base_url} sent nothing for {self._clients.timeout.read:g} s ({type(error).__name__}).",
                hint="A large model may take long to load: raise Ollama(timeout=...).",
            ) from error
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> GenkitError:
        return GenkitError(
            "UNAVAILABLE",
            f"The connection to Ollama at {self.base_url} failed: {str(error) or type(error).__name__}",
            hint="Start it with `ollama serve`, or set OLLAMA_HOST.",
        )


async def split_lines(chunks: AsyncIterable[bytes], max_bytes: int = MAX_LINE_BYTES) -> AsyncGenerator[bytes]:
    r"""Yields the lines that are not blank, with their ends, wherever the network cut the bytes.

    Lines end at `\n` only: JSON may hold other line separators as they are. The last one may lack its end. Raises
    RESOURCE_EXHAUSTED for a huge line.
    """
    pieces: list[bytes] = []
    size = 0
    async for chunk in chunks:
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            _check_line(size + len(end), max_bytes)
            line = b"".join([*pieces, end, b"\n"])
            pieces.clear()
            size = 0
            if line.strip():
                yield line
        pieces.append(rest)
        size += len(rest)
        _check_line(size, max_bytes)
    if b"".join(pieces).strip():
        yield b"".join(pieces)


def _is_cut(line: bytes) -> bool:
    """True for the beginning of an object at which the stream stopped."""
    if line.endswith(b"\n") or not line.lstrip().startswith(b"{"):
        return False
    try:
        json.loads(line)
    except ValueError:
        return True
    return False


def _check_line(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise GenkitError(
            "RESOURCE_EXHAUSTED",
            f"The server sent a line of more than {max_bytes} bytes.",
            hint="Check that host is an Ollama server.",
        )
