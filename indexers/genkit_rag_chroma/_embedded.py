"""Chroma in this process: its calls block, so they run in worker threads."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import chromadb
from chromadb.config import Settings

from genkit_rag.plugin_api import run_in_thread
from genkit_rag_chroma._engine import closed_error, translated
from genkit_rag_chroma._lock import WriteLock

_clients = threading.Lock()
"""Chroma counts the clients of a path, and does so without a lock."""


class EmbeddedEngine:
    """A `PersistentClient`.

    Args:
        path: The folder of the database.
        lock_file: The file of the writer lock.
        lock_timeout: Seconds to wait for another writing process.
    """

    shared = False
    slice_rows = 100
    """Chroma keeps the interpreter's lock while it writes: about half a millisecond for a row."""

    def __init__(self, path: Path, lock_file: Path, lock_timeout: float) -> None:
        self.where = str(path)
        self._lock = WriteLock(lock_file, lock_timeout)
        self._client: Any = None

    @classmethod
    async def open(cls, path: Path, lock_file: Path, lock_timeout: float) -> EmbeddedEngine:
        """Create the folder and return an engine."""
        engine = cls(path, lock_file, lock_timeout)
        await run_in_thread(engine._open, path)
        return engine

    def _open(self, path: Path) -> None:
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _clients:
                settings = Settings(anonymized_telemetry=False)
                self._client = chromadb.PersistentClient(str(path.resolve()), settings=settings)
        except Exception as error:
            raise translated(error, self.where) from error

    async def call(self, target: Any, method: str, /, **arguments: Any) -> Any:
        """Call the method in a thread; it has ended when this returns or raises, also on cancellation."""
        work = asyncio.ensure_future(run_in_thread(self._call, target, method, arguments))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            await _over(work)  # else the call would go on without the lock that the caller holds
            raise

    def _call(self, target: Any, method: str, arguments: dict[str, Any]) -> Any:
        client = self._client
        if client is None:
            raise closed_error(self.where)
        try:
            return getattr(client if target is None else target, method)(**arguments)
        except Exception as error:
            if self._client is None:
                raise closed_error(self.where) from error
            raise translated(error, self.where) from error

    def writing(self) -> AbstractAsyncContextManager[None]:
        """Return the writer's lock."""
        return self._lock.held()

    async def close(self) -> None:
        """Frees the client, after the writer that is at work."""
        if self._client is None:
            return
        async with self._lock.held():
            client, self._client = self._client, None
            if client is not None:
                await run_in_thread(_close, client)


def _close(client: Any) -> None:
    with _clients:
        client.close()


async def _over(work: asyncio.Future[Any]) -> None:
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError:
            continue
    if not work.cancelled():
        work.exception()
