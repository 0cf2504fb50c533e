"""uvicorn's HTTP/1.1 protocol, with a limit on how long a request's head may take, and our logger."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from genkit_rag._server._uvicorn import logger

HEAD_SECONDS = 10.0
"""From the connection, or the first byte of a further request, to the end of the header."""


class ImpatientH11(H11Protocol):
    """Closes a connection whose request head does not arrive; uvicorn itself would wait for ever."""

    _due: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.logger = self.access_logger = logger
        self.access_log = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timeout of the request head."""
        super().connection_made(transport)
        self._due = self.loop.call_later(HEAD_SECONDS, transport.close)

    def data_received(self, data: bytes) -> None:
        """Stop the timeout when the head is complete; start it for the next one."""
        super().data_received(data)
        waiting = self.conn.their_state is h11.IDLE
        if not waiting:
            self._stop_clock()
        elif self._due is None and not self.transport.is_closing():
            self._due = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timeout."""
        self._stop_clock()
        super().connection_lost(exc)

    def _stop_clock(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
