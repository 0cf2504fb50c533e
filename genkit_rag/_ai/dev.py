"""What `Genkit()` does under `GENKIT_ENV=dev`: it serves the reflection API and sends its spans to the tools."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING

from genkit_rag._core.registry import Registry
from genkit_rag._generation.prompt.actions import prompt_source_actions

if TYPE_CHECKING:
    from genkit_rag._server.reflection import DevRuntime

logger = logging.getLogger("genkit_rag.reflection")


class Dev:
    """The development side of one `Genkit`; outside of development it does and imports nothing."""

    __slots__ = ("_runtime",)

    def __init__(self, registry: Registry) -> None:
        self._runtime: DevRuntime | None = None
        if os.environ.get("GENKIT_ENV") == "dev":
            self._begin(registry)

    def _begin(self, registry: Registry) -> None:
        try:
            from genkit_rag._server import reflection
        except ImportError as error:
            logger.warning("The reflection API is not served: %s", error)
            return
        if server := os.environ.get("GENKIT_TELEMETRY_SERVER"):
            reflection.connect_to(server)
        # Templates come over the wire here, and only here: a developer writes them.
        for action in prompt_source_actions(registry):
            registry.register(action)
        reflection.leave_politely()
        self._runtime = reflection.DevRuntime(registry)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            self._runtime.attach()
        reflection.wait_for_loop(self._runtime)

    async def start(self) -> None:
        """Start the reflection API in the running event loop."""
        if self._runtime is not None:
            await self._runtime.start()

    async def hold(self) -> None:
        """Serve until SIGTERM, Ctrl-C or a client's request to stop."""
        if self._runtime is not None:
            from genkit_rag._server.reflection import hold

            await hold(self._runtime)

    async def close(self) -> None:
        """Stop the reflection API permanently."""
        if self._runtime is not None:
            await self._runtime.close()
