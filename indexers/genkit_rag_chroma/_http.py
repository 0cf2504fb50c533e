"""Chroma on a server: its asynchronous client on its own event loop.

The caller's loop is not used: Chroma's client takes hundreds of milliseconds to check and encode a batch of thousands
of rows, and its connections are bound to the loop that created them.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

import chromadb
import httpx
from chromadb.api.async_fastapi import AsyncFastAPI
from chromadb.config import Settings

from genkit_rag.plugin_api import run_in_thread
from genkit_rag_chroma._engine import MAX_ROWS, closed_error, translated
from genkit_rag_chroma._lock import WriteLock
from genkit_rag_chroma._options import ChromaConfig

_LOST = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
"""A kept connection that the server has closed meanwhile."""


class HttpEngine:
    """An `AsyncHttpClient`; it connects at the first call and again after the server was away."""

    shared = True
    slice_rows = MAX_ROWS

    def __init__(self, url: str, options: ChromaConfig) -> None:
        self.where = url
        self._url = httpx.URL(url)
        self._options = options
        self._lock = WriteLock(None, 0)
        self._client: Any = None
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="genkit_rag_chroma", daemon=True)
        self._thread.start()

    async def call(self, target: Any, method: str, /, **arguments: Any) -> Any:
        """Call the method on the client's event loop."""
        try:
            return await self._there(self._answered(target, method, arguments))
        except Exception as error:
            raise translated(error, self.where) from error

    async def _there(self, work: Coroutine[Any, Any, Any]) -> Any:
        if self._closed:
            work.close()
            raise closed_error(self.where)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    async def _answered(self, target: Any, method: str, arguments: dict[str, Any]) -> Any:
        async with asyncio.timeout(self._options.timeout):
            try:
                return await self._once(target, method, arguments)
            except _LOST:  # every call may be made twice: none adds to what is there
                return await self._once(target, method, arguments)

    async def _once(self, target: Any, method: str, arguments: dict[str, Any]) -> Any:
        if self._client is None:
            self._client = await self._connected()
        return await getattr(self._client if target is None else target, method)(**arguments)

    async def _connected(self) -> Any:
        options, url = self._options, self._url
        return await chromadb.AsyncHttpClient(
            host=url.host,
            port=url.port or (443 if url.scheme == "https" else 80),
            ssl=url.scheme == "https",
            headers=dict(options.headers),
            settings=Settings(anonymized_telemetry=False),
            tenant=options.tenant,
            database=options.database,
        )

    def writing(self) -> AbstractAsyncContextManager[None]:
        """Return the writer's lock of this object."""
        return self._lock.held()

    async def close(self) -> None:
        """Close the connections and end the event loop."""
        if self._closed:
            return
        async with self._lock.held():
            if not self._closed:
                await self._there(self._disconnected())
                self._closed = True
                self._loop.call_soon_threadsafe(self._loop.stop)
                await run_in_thread(self._thread.join)
                self._loop.close()

    async def _disconnected(self) -> None:
        self._client = None
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        # Chroma keeps the connections of all its clients in one table, by event loop: these are ours.
        connections: Any = vars(AsyncFastAPI)["_clients"].pop(hash(self._loop), None)
        if connections is not None:
            await connections.aclose()
