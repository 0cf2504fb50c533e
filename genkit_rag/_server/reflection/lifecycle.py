"""Keeps one app's reflection API in the event loop that the app itself runs in."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import ipaddress
import itertools
import logging
import os
import sys
import threading
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._core.registry import Registry
from genkit_rag._server.reflection import wire
from genkit_rag._server.reflection.core import Reflection
from genkit_rag._server.reflection.runtime_file import RuntimeFile
from genkit_rag._server.telemetry.log_filter import redact_logs

logger = logging.getLogger("genkit_rag.reflection")

_numbers = itertools.count(1)


def in_dev() -> bool:
    """Return whether this is a development environment (`GENKIT_ENV=dev`); otherwise nothing here runs."""
    return os.environ.get("GENKIT_ENV") == "dev"


def started_by_tools() -> bool:
    """Return whether a tool has started this program and waits for its reflection API."""
    return in_dev() and bool(os.environ.get("GENKIT_TELEMETRY_SERVER") or os.environ.get("GENKIT_REFLECTION_V2_SERVER"))


def connect_to(url: str, *, replace: bool = False) -> None:
    """Send spans to a telemetry server on this machine, with `replace` instead of the last one; log failures."""
    redact_logs()
    try:
        host = urlsplit(url).hostname or ""
        if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
            raise ValueError(host)
    except ValueError:
        logger.warning("No spans are sent to %s: it is not on this machine.", url)
        return
    try:
        from genkit_rag._server.telemetry.exporter import connect_telemetry

        connect_telemetry(url, replace=replace)
    except (ImportError, GenkitError) as error:
        logger.warning("No spans are sent to %s: %s", url, error)


def _take_offer(url: str) -> None:
    if not os.environ.get("GENKIT_TELEMETRY_SERVER"):  # what the environment says is not up to a client
        connect_to(url, replace=True)


class DevRuntime:
    """The reflection API of one app; at any time it is in one event loop or in none.

    Args:
        registry: The app's actions.

    Attributes:
        closed: It is not started again.
        url: Where it listens (version 1); None while it does not.
    """

    def __init__(self, registry: Registry) -> None:
        self.closed = False
        self.url: str | None = None
        self._registry = registry
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._ready: asyncio.Event | None = None
        self._stop: asyncio.Event | None = None
        self._number = next(_numbers)

    @property
    def attached(self) -> bool:
        """Whether an event loop that runs has it."""
        return self._loop is not None and not self._loop.is_closed()

    def attach(self) -> None:
        """Start the runtime in the running event loop, unless it has one already or was closed."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if self.closed or self.attached or not in_dev():
                return
            self._loop, self._ready, self._stop = loop, asyncio.Event(), asyncio.Event()
        # Use an empty context, so that the current span is not the parent of clients' runs.
        self._task = loop.create_task(
            self._live(self._ready, self._stop), name="genkit_rag reflection", context=_without_span()
        )

    async def start(self) -> None:
        """Wait until the API is served, or cannot be."""
        self.attach()
        if self._loop is asyncio.get_running_loop() and self._ready is not None:
            await self._ready.wait()

    async def wait(self) -> None:
        """Wait until the runtime has ended: at a client's request, or because it was stopped."""
        if self._task is not None and self._loop is asyncio.get_running_loop():
            await asyncio.wait([self._task])

    def stop(self) -> None:
        """Stop the runtime permanently, from any thread, without waiting."""
        self.closed = True
        loop, stop = self._loop, self._stop
        if loop is not None and stop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(stop.set)

    async def close(self) -> None:
        """Stop the runtime permanently; in its own event loop, wait for its end."""
        self.stop()
        await self.wait()

    async def _live(self, ready: asyncio.Event, stop: asyncio.Event) -> None:
        redact_logs()
        reflection = Reflection(self._registry, _take_offer)
        try:
            async with self._transport(reflection):
                ready.set()
                await stop.wait()
        except Exception as error:  # a tool that cannot look inside must not cost the app its life
            self.closed = True
            logger.warning("The reflection API is not served: %s", error)
        finally:
            ready.set()
            self.url = None
            await reflection.close()
            self._loop = None

    @contextlib.asynccontextmanager
    async def _transport(self, reflection: Reflection) -> AsyncGenerator[None]:
        tools = os.environ.get("GENKIT_REFLECTION_V2_SERVER")
        async with self._client(reflection, tools) if tools else self._server(reflection):
            yield

    @contextlib.asynccontextmanager
    async def _client(self, reflection: Reflection, tools: str) -> AsyncGenerator[None]:
        from genkit_rag._server.reflection.websocket import ReflectionClient

        identity = {**self._identity(f"{os.getpid()}-{self._number}"), "envs": reflection.envs()}
        task = asyncio.create_task(ReflectionClient(tools, reflection, identity).run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    @contextlib.asynccontextmanager
    async def _server(self, reflection: Reflection) -> AsyncGenerator[None]:
        from genkit_rag._server.reflection.http import ReflectionServer
        from genkit_rag._server.serving import serve

        host, token = _host()
        server = ReflectionServer(reflection, token=token, on_quit=self.stop)
        try:
            served = await serve(server.guard, host, _port(), remote=token is not None)
        except GenkitError as error:
            if error.status != "UNAVAILABLE" or not _port():
                raise
            logger.warning("%s Another port is used.", error.message)  # a second app of the same environment
            served = await serve(server.guard, host, 0, remote=token is not None)
        async with served:
            address = "127.0.0.1" if served.host == "0.0.0.0" else served.host  # noqa: S104 - compared, not bound
            shown = f"[{address}]" if ":" in address else address
            self.url = f"http://{shown}:{served.port}"
            facts = self._identity(f"{os.getpid()}-{served.port}")
            server.runtime_id = facts["id"]
            file = RuntimeFile({**facts, "reflectionServerUrl": self.url})
            try:
                file.write()
                logger.info("The reflection API is at %s", self.url)
                yield
            finally:
                file.remove()

    def _identity(self, own: str) -> dict[str, Any]:
        wanted = os.environ.get("GENKIT_RUNTIME_ID")
        identifier = own if not wanted else wanted if self._number == 1 else f"{wanted}-{self._number}"
        name = Path(sys.argv[0] if sys.argv else "").stem
        return {
            "id": identifier,
            "pid": os.getpid(),
            "genkitVersion": wire.version(),
            "reflectionApiSpecVersion": wire.SPEC_VERSION,
            **({"name": name} if name else {}),
        }


def _without_span() -> contextvars.Context:
    """Return the caller's context variables without a current span, so that clients' runs begin their own traces."""
    context = contextvars.copy_context()
    api = sys.modules.get("opentelemetry.context")
    if api is not None:
        context.run(api.attach, api.Context())
    return context


def _port() -> int:
    value = os.environ.get("GENKIT_REFLECTION_PORT") or "0"
    if not value.isdecimal() or int(value) > 65_535:
        raise invalid("GENKIT_REFLECTION_PORT", value, "must be a port")
    return int(value)


def _host() -> tuple[str, str | None]:
    """Return the address to listen on and the token; other addresses than the loopback require one."""
    host = os.environ.get("GENKIT_REFLECTION_HOST") or "127.0.0.1"
    token = os.environ.get("GENKIT_REFLECTION_TOKEN") or None
    if host == "localhost":
        return "127.0.0.1", token
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        raise invalid("GENKIT_REFLECTION_HOST", host, "must be an IP address or localhost") from None
    if not loopback and token is None:
        logger.warning(
            "GENKIT_REFLECTION_HOST=%s is beyond this machine: that needs GENKIT_REFLECTION_TOKEN. 127.0.0.1 is used.",
            host,
        )
        return "127.0.0.1", None
    return host, token
