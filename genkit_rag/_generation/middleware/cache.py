"""Response cache: an equal request is answered without the model."""

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
"""Stands in every key: raised when the meaning of a request or the form of what is kept changes."""

_NOT_KEPT = ("blocked", "aborted", "interrupted", "other")
_FAILED = b""
"""What those who wait for a call are told when it gave nothing to keep."""

Flights = dict[tuple[asyncio.AbstractEventLoop, bytes], "asyncio.Future[bytes | None]"]


@dataclass(frozen=True)
class Cache(Middleware):
    """Answers a request that was answered before with the same answer, without asking the model.

    Requests are equal when everything is that the model gets (messages, documents, tools, output, config), and the
    model is the same one. Put it last in `use=`, so that it sees what the others have made of the request. Errors and
    answers that were blocked or broken off are not kept. Of equal calls in one event loop that overlap, one asks the
    model and the others get its answer; where it fails or is cancelled they ask themselves.

    An answer from the cache has `usage` of zero tokens with `custom={'cachedResponses': 1}`, and streams as one chunk.
    Keys are hashes: requests, and secrets in their config, are not stored. Answers are, in clear.

    Args:
        path: A SQLite file that processes may share, made with its folders and readable by its owner only; by default
            answers are kept in memory, as long as this object.
        ttl_seconds: For how long an answer is given; None for ever.
        max_entries: How many answers are kept; those that were not used for longest go first.
        vary_by: Gives what else must be equal, as JSON-compatible data, of the call's context: such as the tenant,
            where a model looks at the context.
        clock: Seconds since 1970; for tests.
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
                hint="Leave it out to keep answers for ever.",
            )
        if self.max_entries < 1:
            raise invalid("max_entries", self.max_entries, "must be at least 1")
        path = None if self.path is None else Path(self.path).expanduser()
        store = ResponseStore(path, Bounds(self.max_entries, self.ttl_seconds), clock=self.clock)
        object.__setattr__(self, "_store", store)
        object.__setattr__(self, "_flights", {})

    async def wrap_model(self, params: ModelParams, next: Next[ModelParams, ModelResponse], /) -> ModelResponse:
        """Returns the answer that was kept, else the model's."""
        vary = None if self.vary_by is None else self.vary_by(params.ctx.context)
        key = await run_in_thread(_key, params.model.key, params.sent, vary)
        if key is None:
            return await next(params)
        place = asyncio.get_running_loop(), key
        while (flight := self._flights.get(place)) is not None:
            kept = await asyncio.shield(flight)  # whoever waits may be cancelled without ending the call
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
                flight.set_result(None)  # this caller was cancelled, those who wait were not: one of them goes on

    async def _lead(
        self, params: ModelParams, next: Next[ModelParams, ModelResponse], key: bytes, flight: asyncio.Future[Any]
    ) -> ModelResponse:
        """Returns the answer for everybody who waits for it."""
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
    """Returns the hash of everything that an answer depends on; None when it cannot be written as JSON."""
    try:
        facts = {"version": KEY_VERSION, "model": model, "request": request.to_wire(), "vary": vary}
        text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    except (PydanticSerializationError, TypeError, ValueError, RecursionError) as error:
        logger.warning("a request to %s is not cached: it is not JSON (%s)", model, type(error).__name__)
        return None
    return hashlib.sha256(text.encode("ascii")).digest()


def _kept(response: ModelResponse) -> bytes | None:
    """Returns what is kept of a response: the message, without request, raw answer and usage."""
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
        logger.warning("an answer in the cache cannot be read: the model is asked")
        return None
    response.usage = Usage(input_tokens=0, output_tokens=0, total_tokens=0, custom={"cachedResponses": 1})
    return response


def _given(answer: ModelResponse, params: ModelParams) -> ModelResponse:
    """Returns the answer, after streaming it where somebody listens."""
    if params.ctx.streaming and answer.message is not None:
        params.ctx.send_chunk(ModelResponseChunk(content=answer.message.content))
    return answer


cache = Cache
