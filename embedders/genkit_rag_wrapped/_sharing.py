"""One call for a text, however many ask for it at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from weakref import WeakKeyDictionary

from genkit_rag.plugin_api import Vectors, run_in_thread
from genkit_rag_wrapped._cache import VectorCache

Keep = Callable[[Mapping[bytes, Vectors]], Awaitable[None]]
Fetch = Callable[[Sequence[bytes], Keep], Awaitable[None]]
"""Embeds the content of the keys and passes the vectors on as they arrive."""

_Flights = dict[bytes, asyncio.Future[Vectors | None]]


class SharedCache:
    """A cache in front of an embedder: of each text that is not in it, only one call of an event loop is made."""

    def __init__(self, cache: VectorCache) -> None:
        self._cache = cache
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _Flights] = WeakKeyDictionary()

    async def vectors(self, keys: Sequence[bytes], fetch: Fetch) -> dict[bytes, Vectors]:
        """Return the vector of each key: from the file, from a running call, or from `fetch`."""
        flights = self._loops.setdefault(asyncio.get_running_loop(), {})
        found: dict[bytes, Vectors] = {}
        while missing := [key for key in dict.fromkeys(keys) if key not in found]:
            others = {key: flights[key] for key in missing if key in flights}
            mine = [key for key in missing if key not in others]
            if mine:
                found |= await self._lead(mine, fetch, flights)
            for key, flight in others.items():
                vector = await asyncio.shield(flight)  # a waiter that is cancelled must not end it for the others
                if vector is not None:  # else it failed, perhaps by another text: the next turn asks for this one
                    found[key] = vector
        return found

    async def _lead(self, keys: list[bytes], fetch: Fetch, flights: _Flights) -> dict[bytes, Vectors]:
        """Look the keys up and fetch the missing ones; concurrent callers for one of them wait for this call."""
        loop = asyncio.get_running_loop()
        flights |= {key: loop.create_future() for key in keys}
        found: dict[bytes, Vectors] = {}

        def land(vectors: Mapping[bytes, Vectors]) -> None:
            found.update(vectors)
            for key, vector in vectors.items():
                flights.pop(key).set_result(vector)

        async def keep(vectors: Mapping[bytes, Vectors]) -> None:
            land(await run_in_thread(self._cache.put, vectors))

        try:
            land(await run_in_thread(self._cache.get, keys))
            missing = [key for key in keys if key not in found]
            if missing:
                await fetch(missing, keep)
            return found
        finally:
            for key in keys:
                if key not in found:
                    flights.pop(key).set_result(None)
