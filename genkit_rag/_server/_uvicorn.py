"""uvicorn without a say in the program that it runs in: its signals and its loggers are the user's.

A program of the user's may run uvicorn itself, and `uvicorn.error` and `uvicorn.access` are configured for that one.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

import uvicorn
from uvicorn.lifespan.on import LifespanOn
from uvicorn.middleware.message_logger import MessageLoggerMiddleware
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

logger = logging.getLogger("genkit_rag.server.uvicorn")
logger.setLevel(logging.WARNING)  # what it tells besides is of no use to whoever did not start it

_PAUSE = 0.01


class QuietConfig(uvicorn.Config):
    """Configures no logger."""

    def configure_logging(self) -> None:
        """Do nothing: uvicorn would remove the handlers of `uvicorn.access`."""

    def load(self) -> None:
        """Load uvicorn's settings with our lifespan logging and without the middleware that logs messages."""
        super().load()
        if isinstance(self.loaded_app, MessageLoggerMiddleware):  # the user's loggers are at their lowest level
            self.loaded_app = self.loaded_app.app
        if self.lifespan_class is LifespanOn:
            self.lifespan_class = QuietLifespan


class QuietLifespan(LifespanOn):
    """Logs to our logger."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.logger = logger


class QuietSocket(WebSocketsSansIOProtocol):
    """Logs to our logger."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.logger = self.conn.logger = logger
        self.conn.debug = False


class QuietServer(uvicorn.Server):
    """Takes no signals, and logs nothing of its life."""

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Run until shutdown is requested. On cancellation, close all client connections."""
        if not self.config.loaded:
            self.config.load()
        self.lifespan = self.config.lifespan_class(self.config)
        await self.startup(sockets=sockets)
        try:
            if not self.should_exit:
                await self.main_loop()
        except asyncio.CancelledError:
            self._stop_listening(sockets)
            for connection in list(self.server_state.connections):
                connection.transport.abort()
            raise
        if self.started:
            await self.shutdown(sockets=sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening and cancel requests that do not end in time."""
        self._stop_listening(sockets)
        for connection in list(self.server_state.connections):
            connection.shutdown()
        try:
            async with asyncio.timeout(self.config.timeout_graceful_shutdown):
                while self.server_state.connections or self.server_state.tasks:  # noqa: ASYNC110 - plain sets
                    await asyncio.sleep(_PAUSE)
                for server in self.servers:
                    await server.wait_closed()
        except TimeoutError:
            for task in list(self.server_state.tasks):
                task.cancel()
        await self.lifespan.shutdown()

    def _stop_listening(self, sockets: list[socket.socket] | None) -> None:
        for listener in (*self.servers, *(sockets or ())):
            listener.close()
