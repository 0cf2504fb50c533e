"""One run of an action in its own task, from request to result."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from genkit_rag._core import schema, tracing
from genkit_rag._core.action import Action
from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._server.reflection import wire

MAX_WAITING = 64 * 1024 * 1024
"""Bytes of chunks that may wait for a client: `send_chunk` cannot wait, so a slower client loses its run."""


class InputStream(AsyncIterator[Any]):
    """The input that a client streams to a running action; the handler finds it as `ctx.metadata["inputStream"]`."""

    def __init__(self) -> None:
        self._chunks: deque[Any] = deque()
        self._ended = False
        self._news = asyncio.Event()

    def send(self, chunk: Any) -> None:
        """Add a chunk; after the end it is dropped."""
        if not self._ended:
            self._chunks.append(chunk)
            self._news.set()

    def end(self) -> None:
        """Stop iteration after the chunks already queued."""
        self._ended = True
        self._news.set()

    async def __anext__(self) -> Any:
        while not self._chunks:
            if self._ended:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._chunks.popleft()


def _mapping(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise invalid(name, value, "must be an object")
    return cast(Mapping[str, Any], value)


def _plain(value: Any) -> tuple[Any, int]:
    """Return a value as JSON-compatible data, and its JSON bytes; raise for a value without a JSON form."""
    try:
        found = schema.dump(value)
    except ValueError:
        found = value  # JSON already that pydantic does not take: names with half of a surrogate pair
    return found, len(wire.encode(found))


@dataclass(frozen=True)
class RunRequest:
    """The request of a run.

    Attributes:
        key: `/<kind>/<name>`.
        input: The input as JSON-compatible data.
        context: The value of `ctx.context`.
        labels: Attributes of the trace's first span, by name, unchanged.
        init: The initial data of a session; the handler finds it as `ctx.metadata["init"]`.
        inputs: The chunks that the client sends while the action runs.
    """

    key: str
    input: Any = None
    context: Mapping[str, Any] = field(default_factory=dict[str, Any])
    labels: Mapping[str, Any] = field(default_factory=dict[str, Any])
    init: Any = None
    inputs: InputStream | None = None

    @classmethod
    def from_wire(cls, body: Any, inputs: InputStream | None = None) -> RunRequest:
        """Parse the request of a JSON body; unknown fields are ignored. INVALID_ARGUMENT for an invalid one."""
        if not isinstance(body, Mapping):
            raise invalid("body", body, "must be an object", hint='Send {"key": "/flow/name", "input": ...}.')
        body = cast(Mapping[str, Any], body)
        key = body.get("key")
        if not isinstance(key, str) or key.count("/") < 2 or not key.startswith("/"):
            raise invalid("key", key, "must be `/<kind>/<name>`", hint="GET /api/actions lists the keys.")
        return cls(
            key,
            body.get("input"),
            _mapping(body, "context"),
            _mapping(body, "telemetryLabels"),
            body.get("init"),
            inputs,
        )

    @property
    def kind_and_name(self) -> tuple[str, str]:
        """The two parts of the key."""
        _, kind, name = self.key.split("/", 2)
        return kind, name

    @property
    def metadata(self) -> dict[str, Any]:
        """The facts for `ctx.metadata`."""
        facts = {"init": self.init, "inputStream": self.inputs}
        return {name: value for name, value in facts.items() if value is not None}

    def attributes(self) -> dict[str, Any]:
        """Return the attributes of the trace's first span."""
        found = {str(name): value for name, value in self.labels.items() if isinstance(value, str | bool | int | float)}
        if self.init is not None and tracing.captures_content():
            found["genkit:init"] = tracing.content(self.init)
        return found


class Run:
    """A run that goes on; its chunks and its final object are read with `pieces`.

    Attributes:
        started: Set when the ids are known, before the action's first output.
        trace_id: 32 hex digits.
        span_id: 16 hex digits.
    """

    def __init__(self, action: Action[Any, Any, Any], value: Any, request: RunRequest, *, stream: bool) -> None:
        self.started = asyncio.Event()
        self.trace_id = self.span_id = ""
        self._pieces: deque[tuple[Any, int]] = deque()
        self._waiting = 0
        self._too_slow: GenkitError | None = None
        self._news = asyncio.Event()
        self._final: dict[str, Any] | None = None
        self._request = request
        self.task = asyncio.create_task(self._run(action, value, stream), name=f"genkit_rag run {action.key}")

    def cancel(self) -> None:
        """Cancel the action; its final object reports the cancellation, unless the action handles it."""
        self.task.cancel()

    async def pieces(self) -> AsyncIterator[Any]:
        """Yield the chunks as JSON-compatible data until the action has ended."""
        while True:
            while self._pieces:
                piece, size = self._pieces.popleft()
                self._waiting -= size
                yield piece
            if self._final is not None:
                return
            self._news.clear()
            await self._news.wait()

    def final(self) -> dict[str, Any]:
        """Return `{result, telemetry}` or `{error}`; a run that has not ended counts as cancelled."""
        if self._final is None:
            return self._failure(asyncio.CancelledError())
        return self._final

    async def _run(self, action: Action[Any, Any, Any], value: Any, stream: bool) -> None:
        final: dict[str, Any] | None = None
        try:
            tracing.begin_trace(tracing.Root(self._request.attributes(), self._on_start))
            if tracing.tracer() is None:
                self._on_start()
            output = await action(
                value,
                context=self._request.context,
                on_chunk=self._on_chunk if stream else None,
                metadata=self._request.metadata,
            )
            self._on_start()
            final = {"result": _plain(output)[0], "telemetry": {"traceId": self.trace_id}}
        except BaseException as error:  # whatever it is, it must neither end the client nor this program
            final = self._failure(error)
        finally:
            self._final = final if self._too_slow is None else self._failure(self._too_slow)
            if self._request.inputs is not None:
                self._request.inputs.end()
            self._news.set()

    def _failure(self, error: BaseException) -> dict[str, Any]:
        self._on_start()
        return {"error": wire.status(error, self.trace_id)}

    def _on_start(self, trace_id: str = "", span_id: str = "") -> None:
        """Store the trace and span ids; generate them if nothing records, since a run is cancelled by its trace id."""
        if not self.started.is_set():
            self.trace_id = trace_id if trace_id.strip("0") else secrets.token_hex(16)
            self.span_id = span_id if span_id.strip("0") else secrets.token_hex(8)
            self.started.set()
            self._news.set()

    def _on_chunk(self, chunk: Any) -> None:
        self._on_start()
        if self._too_slow is not None:
            return
        piece, size = _plain(chunk)
        self._pieces.append((piece, size))
        self._waiting += size
        if self._waiting > MAX_WAITING:
            self._too_slow = GenkitError(
                "RESOURCE_EXHAUSTED", f"The client reads too slowly: over {MAX_WAITING} bytes of chunks waited for it."
            )
            self._pieces.clear()
            self.task.cancel()
        self._news.set()
