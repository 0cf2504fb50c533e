"""An HTTP transport that resolves a name once, checks every address, and connects to a checked address."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import zlib
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from genkit_rag._core.errors import GenkitError, require_extra
from genkit_rag._core.threads import run_in_thread
from genkit_rag._net.policy import FetchPolicy, Refused, blocked, check_url, literal, shown_url

with require_extra("web", "httpx"):
    import httpcore
    import httpx

Resolver = Callable[[str, int], Awaitable[list[str]]]
"""Resolves a name to addresses, best first; raises OSError if there are none."""

_STEP = 64 * 1024
_ENCODINGS = ("gzip", "x-gzip")


async def resolve(host: str, port: int) -> list[str]:
    """Resolve a name with the system's resolver."""
    found = await run_in_thread(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens connections to checked addresses only. A name is resolved once, so DNS rebinding has no effect."""

    def __init__(self, policy: FetchPolicy, resolver: Resolver, network: httpcore.AsyncNetworkBackend) -> None:
        self._policy = policy
        self._resolve = resolver
        self._network = network

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address that answers; raise Refused if any address is not allowed."""
        failure: Exception | None = None
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._addresses(host, port)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"the name {host} was not resolved in {timeout:g} s") from error
        for address in addresses:
            try:
                return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError(f"{host} has no address")

    async def _addresses(self, host: str, port: int) -> list[str]:
        given = literal(host)
        try:
            texts = [str(given)] if given is not None else await self._resolve(host, port)
            addresses = [ipaddress.ip_address(text) for text in texts]
        except (OSError, ValueError) as error:  # UnicodeError of an odd name is a ValueError
            raise httpcore.ConnectError(f"{host} has no address: {error}") from error
        if not self._policy.names_host(host, port):
            for address in addresses:  # all of them: a name that is partly private is a trap
                self._policy.check_address(address)
        return [str(address) for address in addresses]

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Raise Refused: Unix sockets are not supported."""
        raise Refused("it is a socket of this machine")

    async def sleep(self, seconds: float) -> None:
        """Sleep."""
        await self._network.sleep(seconds)


class GuardedTransport(httpx.AsyncBaseTransport):
    """Checks every request, so also every redirect that a client follows, and bounds every body.

    Args:
        policy: What is allowed.
        resolver: Where addresses of names come from.
        network: What opens sockets to addresses.
    """

    def __init__(
        self, policy: FetchPolicy, *, resolver: Resolver = resolve, network: httpcore.AsyncNetworkBackend | None = None
    ) -> None:
        self._policy = policy
        sockets: Any = network or httpcore.AnyIOBackend()
        self._backend = GuardedBackend(policy, resolver, sockets)
        self._pool: httpcore.AsyncConnectionPool | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request; decompress the body of the response while it is read."""
        url = check_url(request.url, self._policy)
        pool = await self._opened()
        wire = httpcore.Request(
            method=request.method,
            url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        try:
            with _as_httpx(request):
                answer = await pool.handle_async_request(wire)
        except Refused as error:
            raise blocked(url, str(error)) from None
        return await self._response(request, answer)

    async def _response(self, request: httpx.Request, answer: httpcore.Response) -> httpx.Response:
        headers = httpx.Headers(answer.headers)
        encoding = headers.get("content-encoding", "identity").strip().lower()
        problem = None
        if encoding not in ("identity", "", *_ENCODINGS):
            problem = f"its encoding is {encoding}, which was not asked for"
        elif answer.status < 300 and _length(headers) > self._policy.max_bytes:
            problem = _too_long(self._policy)
        if problem is not None:
            await answer.aclose()
            raise too_much(request.url, problem)
        compressed = encoding in _ENCODINGS
        if compressed:
            del headers["content-encoding"]
            headers.pop("content-length", None)
        body = _Body(answer, request, self._policy, compressed)
        return httpx.Response(answer.status, headers=headers, stream=body, extensions=answer.extensions)

    async def _opened(self) -> httpcore.AsyncConnectionPool:
        if self._pool is None:
            tls = await run_in_thread(httpx.create_ssl_context)  # reads the certificates: 20 ms and more
            if self._pool is None:
                self._pool = httpcore.AsyncConnectionPool(
                    ssl_context=tls,
                    max_connections=100,
                    max_keepalive_connections=20,
                    keepalive_expiry=5.0,
                    network_backend=self._backend,
                )
        return self._pool

    async def aclose(self) -> None:
        """Close the connections."""
        if self._pool is not None:
            await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(self, answer: httpcore.Response, request: httpx.Request, policy: FetchPolicy, gzip: bool) -> None:
        self._answer = answer
        self._request = request
        self._policy = policy
        self._gunzip = Gunzip() if gzip else None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        raw: AsyncIterable[bytes] = self._answer.aiter_stream()
        read = given = 0
        with _as_httpx(self._request):
            async for data in raw:
                read += len(data)
                for piece in self._pieces(data):
                    given += len(piece)
                    # Both: a body may also be endless and unfold into nothing.
                    if max(read, given) > self._policy.max_bytes:
                        raise too_much(self._request.url, _too_long(self._policy))
                    yield piece
                    if self._gunzip is not None:
                        await asyncio.sleep(0)  # a small packet may unfold into much: others get their turn
                if read > self._policy.max_bytes:
                    raise too_much(self._request.url, _too_long(self._policy))
        if self._gunzip is not None and read and not self._gunzip.complete:
            raise httpx.RemoteProtocolError("the compressed body ends early", request=self._request)

    def _pieces(self, data: bytes) -> Iterable[bytes]:
        if self._gunzip is None:
            return (data,)
        return self._decompressed(self._gunzip, data)

    def _decompressed(self, gunzip: Gunzip, data: bytes) -> Iterator[bytes]:
        try:
            yield from gunzip.pieces(data)
        except zlib.error as error:
            raise httpx.DecodingError(f"the body is not gzip: {error}", request=self._request) from error

    async def aclose(self) -> None:
        await self._answer.aclose()


class Gunzip:
    """Decompresses gzip a step at a time, so that a bomb is noticed before it has unfolded."""

    def __init__(self) -> None:
        self._state = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self.complete = False

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Decompress data in pieces of at most 64 KiB; raise zlib.error if it is not gzip."""
        while True:
            piece = self._state.decompress(data, _STEP)
            if piece:
                yield piece
            self.complete = self._state.eof
            if self.complete:
                data = self._state.unused_data
                if not data.strip(b"\0"):
                    return
                self._state = zlib.decompressobj(zlib.MAX_WBITS | 16)
                continue
            data = self._state.unconsumed_tail
            if not data and len(piece) < _STEP:
                return


def too_much(url: object, problem: str) -> GenkitError:
    """Create the error for a response over a limit."""
    return GenkitError(
        "OUT_OF_RANGE",
        f"{shown_url(url)} is not read: {problem}.",
        hint="Raise max_bytes in the FetchPolicy if you trust it.",
        details={"url": shown_url(url), "reason": problem},
    )


def _too_long(policy: FetchPolicy) -> str:
    return f"it has more than max_bytes={policy.max_bytes:,}"


def _length(headers: httpx.Headers) -> int:
    text = headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else 0


@contextmanager
def _as_httpx(request: httpx.Request) -> Generator[None]:
    """Convert errors of the connection pool to the httpx errors of the same name."""
    try:
        yield
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as error:
        known: type[httpx.RequestError] = getattr(httpx, type(error).__name__, httpx.NetworkError)
        raise known(str(error), request=request) from error
