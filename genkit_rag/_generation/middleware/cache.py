"""Response cache middleware: answers equal requests without calling the model."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from genkit_rag._core.errors import invalid
from genkit_rag._core.threads import run_in_thread
from genkit_rag._generation.middleware.base import Middleware, ModelParams, Next, WireConfig
from genkit_rag._generation.model import ModelRequest, ModelResponse, ModelResponseChunk, Usage

if TYPE_CHECKING:
    from genkit_rag._generation.middleware.response_store import ResponseStore

logger = logging.getLogger("genkit_rag.middleware")

MAX_ENTRIES = 10_000
KEY_VERSION = 1
"""A part of every key; increased when the meaning of requests or the stored form changes."""

_NOT_KEPT = ("blocked", "aborted", "interrupted", "other")
_FAILED = b""
"""The result for waiting callers of a call without a cacheable answer."""

Flights = dict[tuple[asyncio.AbstractEventLoop, bytes], "asyncio.Future[bytes | None]"]


@dataclass(frozen=True)
class Cache(Middleware):
    """A middleware that answers equal requests from a cache, without calling the model.

    Requests are equal when the model and everything that it receives (messages, documents, tools, output, config) are
    equal. Put it last in `use=`, so that it sees the changes of other middleware. Errors and blocked or incomplete
    answers are not cached. Of concurrent equal calls in one event loop, one calls the model and the others get its
    answer; if it fails or is cancelled, they call the model themselves.

    A cached answer has a `usage` of zero tokens with `custom={'cachedResponses': 1}`, and is streamed as one chunk.
    Keys are hashes: requests, and secrets in their config, are not stored. Answers are stored unencrypted.

    Args:
        path: A SQLite file that processes may share, created with its folders and readable by its owner only; by
            default answers are in memory for the life of this object.
        ttl_seconds: The maximum age of an answer; None for no limit.
        max_entries: The maximum number of answers; the least recently used are deleted first.
        vary_by: Returns what else must be equal of the call's context, as JSON-compatible data; for example the tenant,
            for a model that uses the context.
        clock: Returns seconds since 1970; for tests.
    """

    wire_config: ClassVar[WireConfig] = {"ttl_seconds": float | None, "max_entries": int}

    path: str | Path | None = None
    ttl_seconds: float | None = None
    max_entries: int = MAX_ENTRIES
    vary_by: Callable[[Mapping[str, Any]], Any] | None = None
    clock: Callable[[], float] = field(default=time.time, repr=False, kw_only=True)
    _store: ResponseStore = field(init=False, repr=False, compare=False)
    _flights: Flights = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        from genkit_rag._generation.middleware.response_store import Bounds, ResponseStore  # needs sqlite3

        if self.ttl_seconds is not None and not (0 < self.ttl_seconds < math.inf):
            raise invalid(
                "ttl_seconds",
                self.ttl_seconds,
                "must be a positive number of seconds",
                hint="Omit it to keep answers without a time limit.",
            )
        if self.max_entries < 1:
            raise invalid("max_entries", self.max_entries, "must be at least 1")
        path = None if self.path is None else Path(self.path).expanduser()
        store = ResponseStore(path, Bounds(self.max_entries, self.ttl_seconds), clock=self.clock)
        object.__setattr__(self, "_store", store)
        object.__setattr__(self, "_flights", {})

    async def wrap_model(self, params: ModelParams, next: Next[ModelParams, ModelResponse], /) -> ModelResponse:
        """Return the cached answer, else call the model."""
        vary = None if self.vary_by is None else self.vary_by(params.ctx.context)
        key = await run_in_thread(_key, params.model.key, params.sent, vary)
        if key is None:
            return await next(params)
        place = asyncio.get_running_loop(), key
        while (flight := self._flights.get(place)) is not None:
            kept = await asyncio.shield(flight)  # a cancelled waiting caller does not cancel the call
            if kept is not None:
                answer = _answer(kept) if kept != _FAILED else None
                return await next(params) if answer is None else _given(answer, params)
        flight = self._flights[place] = place[0].create_future()
        try:
            return await self._lead(params, next, key, flight)
        except Exception:
            if not flight.done():
                flight.set_result(_FAILED)
            raise
        finally:
            del self._flights[place]
            if not flight.done():
                flight.set_result(None)  # only this caller was cancelled; one of the waiting callers continues

    async def _lead(
        self, params: ModelParams, next: Next[ModelParams, ModelResponse], key: bytes, flight: asyncio.Future[Any]
    ) -> ModelResponse:
        """Answer for all concurrent equal calls: from the store, else from the model."""
        kept = await run_in_thread(self._store.get, key)
        if kept is not None:
            answer = _answer(kept)
            if answer is not None:
                flight.set_result(kept)
                return _given(answer, params)
            await run_in_thread(self._store.delete, key)
        response = await next(params)
        fresh = _kept(response)
        flight.set_result(fresh or _FAILED)
        if fresh is not None:
            await run_in_thread(self._store.put, key, fresh)
        return response


def _key(model: str, request: ModelRequest, vary: Any) -> bytes | None:
    """Return the hash of everything that determines an answer; None if it is not JSON-compatible."""
    try:
        facts = {"version": KEY_VERSION, "model": model, "request": request.to_wire(), "vary": vary}
        text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    except (PydanticSerializationError, TypeError, ValueError, RecursionError) as error:
        logger.warning(
            "a request to %s is not cached, because it is not JSON-compatible (%s)", model, type(error).__name__
        )
        return None
    return hashlib.sha256(text.encode("ascii")).digest()


def _kept(response: ModelResponse) -> bytes | None:
    """Serialize the message of a response, without request, raw answer and usage; None if not cacheable."""
    message = response.message
    if message is None or not message.content or response.finish_reason in _NOT_KEPT or response.operation is not None:
        return None
    part = ModelResponse(message=message, finish_reason=response.finish_reason, finish_message=response.finish_message)
    try:
        return part.model_dump_json(by_alias=True, exclude_none=True).encode()
    except PydanticSerializationError:
        return None


def _answer(kept: bytes) -> ModelResponse | None:
    try:
        response = ModelResponse.model_validate_json(kept)
    except ValidationError:
        logger.warning("a cached answer cannot be read, so the model is called")
        return None
    response.usage = Usage(input_tokens=0, output_tokens=0, total_tokens=0, custom={"cachedResponses": 1})
    return response


def _given(answer: ModelResponse, params: ModelParams) -> ModelResponse:
    """Return the answer, and send it as a chunk for a streaming caller."""
    if params.ctx.streaming and answer.message is not None:
        params.ctx.send_chunk(ModelResponseChunk(content=answer.message.content))
    return answer


cache = Cache
