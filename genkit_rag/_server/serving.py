"""Run a guarded app on uvicorn: in the running event loop, or in a thread with its own loop."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import threading
from typing import TYPE_CHECKING, Any

from genkit_rag._core.errors import GenkitError, invalid, require_extra
from genkit_rag._server.guard import Guard

if TYPE_CHECKING:
    import uvicorn

logger = logging.getLogger("genkit_rag.server")


class Served:
    """A server that runs in the event loop that started it.

    Attributes:
        host: The address it listens on.
        port: The port it listens on.
    """

    def __init__(self, guard: Guard, server: uvicorn.Server, task: asyncio.Task[None], listener: socket.socket) -> None:
        self._guard, self._server, self._task = guard, server, task
        self.host, self.port = listener.getsockname()[:2]

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def sign_in_url(self) -> str:
        """Return a URL that signs one browser in, once; the base URL if the server requires no token."""
        return self.url + self._guard.sign_in_path()

    async def close(self) -> None:
        """Stop listening and end all open requests, with streams and WebSockets, within a time limit."""
        self._server.should_exit = True
        await self._guard.close()
        try:
            await asyncio.wait_for(asyncio.shield(self._task), 5)
        except TimeoutError:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def __aenter__(self) -> Served:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


async def serve(guard: Guard, host: str = "127.0.0.1", port: int = 0, *, remote: bool = False) -> Served:
    """Serve the guarded app in the caller's event loop; it listens when this returns.

    It installs no signal handlers and does not change logging; errors are logged by `genkit_rag.server`. Port 0 selects
    a free port.

    Raises:
        GenkitError: INVALID_ARGUMENT for an address beyond the loopback without `remote=True` or without a token in the
            guard's policy; UNAVAILABLE if the port is taken.
        MissingExtra: uvicorn is not installed.
    """
    listener = _listen(guard, host, port, remote)
    try:
        server = _make_server(guard)
        task = asyncio.create_task(_run(server, listener), name="genkit_rag server")
        while not server.started:
            if task.done():
                await task
            await asyncio.sleep(0.001)
    except BaseException:
        listener.close()
        raise
    return Served(guard, server, task, listener)


class ServedInThread:
    """A server in its own thread, for programs without an event loop."""

    def __init__(self, served: Served, loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
        self._served, self._loop, self._thread = served, loop, thread
        self.url, self.host, self.port = served.url, served.host, served.port

    def sign_in_url(self) -> str:
        """Return a URL that signs one browser in, once."""
        return self._served.sign_in_url()

    def close(self) -> None:
        """Stop the server and its thread."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._served.close(), self._loop).result(10)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5)

    def __enter__(self) -> ServedInThread:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def serve_in_thread(guard: Guard, host: str = "127.0.0.1", port: int = 0, *, remote: bool = False) -> ServedInThread:
    """Serve the guarded app in a daemon thread; it listens when this returns. Raises like `serve`."""
    loop = asyncio.new_event_loop()

    def run() -> None:
        asyncio.set_event_loop(loop)
        with contextlib.closing(loop):
            loop.run_forever()

    thread = threading.Thread(target=run, name="genkit_rag server", daemon=True)
    thread.start()
    try:
        served = asyncio.run_coroutine_threadsafe(serve(guard, host, port, remote=remote), loop).result(30)
    except BaseException:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        raise
    return ServedInThread(served, loop, thread)


async def _run(server: uvicorn.Server, listener: socket.socket) -> None:
    with contextlib.suppress(SystemExit):  # uvicorn's word for a lifespan that failed: it must not end the program
        await server.serve(sockets=[listener])
    if not server.started:
        raise GenkitError("UNAVAILABLE", "The app did not start.", hint="The log of `genkit_rag.server` says why.")


def _listen(guard: Guard, host: str, port: int, remote: bool) -> socket.socket:
    if not isinstance(guard, Guard):
        raise invalid("guard", type(guard).__name__, "must be the app in its Guard", hint="Pass Guard(app, policy).")
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise invalid("host", host, "must be an IP address or localhost") from None
    if not address.is_loopback:
        if not remote or guard.policy.token is None:
            raise invalid(
                "host",
                host,
                "is beyond the loopback",
                hint="That needs remote=True and a token in the guard's policy.",
            )
        logger.warning("Listening on %s: everybody who reaches this machine and has the token gets in.", address)
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    # With the protocol named asyncio turns Nagle's algorithm off; without, every answer waits 40 ms for an ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((str(address), port))
        listener.listen()  # not later: two that start together may both bind
    except OSError as error:
        listener.close()
        raise GenkitError(
            "UNAVAILABLE",
            f"Port {port} of {address} cannot be used: {error.strerror}.",
            hint="Take another port, or 0 for a free one.",
            cause=error,
        ) from None
    return listener


def _make_server(guard: Guard) -> uvicorn.Server:
    require_extra("dev", "uvicorn", "h11")
    from genkit_rag._server._h11 import ImpatientH11
    from genkit_rag._server._uvicorn import QuietConfig, QuietServer, QuietSocket

    settings: dict[str, Any] = {
        # h11 is strict: two Host headers, absolute targets and odd lengths do not get past it unseen.
        "http": ImpatientH11,
        "ws": QuietSocket,
        "ws_max_size": guard.policy.max_body,
        "h11_max_incomplete_event_size": 65_536,
        "proxy_headers": False,
        "server_header": False,
        "log_config": None,
        "timeout_graceful_shutdown": 1,
        "timeout_keep_alive": 30,
        "lifespan": "auto",
    }
    return QuietServer(QuietConfig(guard, **settings))
