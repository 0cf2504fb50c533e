"""HTTP clients for the plugins of providers: one for each event loop, since a connection cannot leave its loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from genkit_rag._core.threads import run_in_thread

if TYPE_CHECKING:
    import httpx

CONNECT_SECONDS = 10.0
"""How long a server may take to accept a connection."""


class HttpClients:
    """Clients for one server; needs httpx, which the plugin that uses it declares.

    Args:
        base_url: Where they send to; a proxy of the environment is not used for this machine.
        timeout: Seconds without a byte after which a request is given up.
    """

    def __init__(self, base_url: str, timeout: float) -> None:
        import httpx

        self.timeout = httpx.Timeout(timeout, connect=min(CONNECT_SECONDS, timeout))
        self._local = httpx.URL(base_url).host in ("localhost", "127.0.0.1", "::1")
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = WeakKeyDictionary()

    async def get(self) -> httpx.AsyncClient:
        """Return the client of the running event loop."""
        import httpx

        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            tls = await run_in_thread(httpx.create_ssl_context)  # reads the certificates: 20 ms and more
            if loop not in self._clients:
                self._clients[loop] = httpx.AsyncClient(verify=tls, timeout=self.timeout, trust_env=not self._local)
        return self._clients[loop]

    async def close(self) -> None:
        """Close the clients of all event loops that still run."""
        here = asyncio.get_running_loop()
        clients = list(self._clients.items())
        self._clients.clear()
        for loop, client in clients:
            if loop is here:
                await client.aclose()
            elif loop.is_running():
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(client.aclose(), loop))
