"""The only module that uses xllamacpp: a loaded model on its own thread."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from genkit_rag.plugin_api import GenkitError
from genkit_rag_llama_cpp._library import xlc as _xlc

_QUIET = -1
_END = object()


class Engine:
    """A model file, loaded at the first request.

    Loading, generating and freeing run sequentially on one thread: on few cores llama.cpp is fastest with one answer at
    a time, and a waiting request can be cancelled at no cost.

    Args:
        find: Returns the path of the GGUF file; called at the first request.
        n_ctx: Tokens of prompt and answer together.
        n_threads: Computing threads.
    """

    def __init__(self, name: str, find: Callable[[], Path], n_ctx: int, n_threads: int) -> None:
        self._find = find
        self._n_ctx = n_ctx
        self._n_threads = n_threads
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"llama-cpp {name}")
        self._closing = threading.Event()
        self._server: Any = None

    async def chat(self, body: Mapping[str, Any]) -> AsyncGenerator[Any]:
        """Yield the chunks of a chat completion while they are computed.

        When the caller leaves, the computation stops at the next token (a prompt is read to its end first).
        """
        loop = asyncio.get_running_loop()
        chunks: asyncio.Queue[Any] = asyncio.Queue()
        left = threading.Event()

        def forward(chunk: Any) -> bool:
            stop = left.is_set() or self._closing.is_set()
            if not stop:
                loop.call_soon_threadsafe(chunks.put_nowait, chunk)
            return stop

        running = loop.run_in_executor(self._thread, self._chat, {**body, "stream": True}, forward)
        running.add_done_callback(lambda _: chunks.put_nowait(_END))
        try:
            while (chunk := await chunks.get()) is not _END:
                yield chunk
            await running
        finally:
            left.set()
            running.cancel()

    async def close(self) -> None:
        """Frees the model, and ends the answer that it works on; a later request loads it again."""
        self._closing.set()
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._free)
        finally:
            self._closing.clear()

    def _chat(self, body: dict[str, Any], forward: Callable[[Any], bool]) -> None:
        server = self._loaded()
        try:
            server.handle_chat_completions(body, forward)
        except (ValueError, RuntimeError) as error:  # what llama.cpp throws at a request that it cannot read
            raise GenkitError(
                "INVALID_ARGUMENT",
                f"llama.cpp refused the request: {error}",
                hint="Check the output schema and that the model takes what the messages hold.",
            ) from error

    def _loaded(self) -> Any:
        if self._server is None:
            path = self._find()
            if not path.is_file():
                raise GenkitError(
                    "NOT_FOUND",
                    f"There is no model file {str(path)!r}.",
                    hint="Give the path of a GGUF file: LlamaCpp(models={'name': '/path/to/model.gguf'}).",
                )
            try:
                self._server = _xlc.Server(self._params(path))
            except RuntimeError as error:
                raise GenkitError(
                    "FAILED_PRECONDITION",
                    f"llama.cpp cannot load {str(path)!r} with a context of {self._n_ctx} tokens: {error}",
                    hint="Check that it is a whole GGUF file, and that there is memory for it (a smaller n_ctx helps).",
                ) from error
        return self._server

    def _params(self, path: Path) -> Any:
        params = _xlc.CommonParams()
        params.model.path = str(path)
        params.n_ctx = self._n_ctx
        params.n_parallel = 1
        params.cpuparams.n_threads = self._n_threads
        params.cpuparams_batch.n_threads = self._n_threads
        params.verbosity = _QUIET
        params.cache_ram_mib = 0  # its store of old prompts may otherwise grow to gigabytes
        # The library always listens on a loopback port. The random key keeps other processes out.
        params.api_keys = [secrets.token_hex(32)]
        params.ui = False
        params.endpoint_slots = False
        params.endpoint_props = False
        return params

    def _free(self) -> None:
        self._server = None
