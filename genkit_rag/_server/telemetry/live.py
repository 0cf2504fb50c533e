"""Live updates: bounded queues, one per listener, and the event stream that empties them."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from genkit_rag._server.telemetry.store import TraceSummary
from genkit_rag._server.telemetry.wire import SpanData

QUEUE_EVENTS = 1000
"""The maximum number of queued events of a listener; a slower one is notified and dropped."""

KEEP_ALIVE_SECONDS = 15.0

Message = MutableMapping[str, Any]


class Listener:
    """One subscription: events come out of `next()` until it returns None."""

    def __init__(self, trace_id: str | None) -> None:
        self.trace_id = trace_id
        self.dropped = False
        self._events: deque[str] = deque()
        self._wake = asyncio.Event()

    def put(self, event: str) -> None:
        """Add an event; over the limit the listener is marked as dropped."""
        if len(self._events) >= QUEUE_EVENTS:
            self.dropped = True
        else:
            self._events.append(event)
        self._wake.set()

    async def next(self) -> str | None:
        """Return the queued events, joined; None after the listener was dropped and notified."""
        while not self._events and not self.dropped:
            self._wake.clear()
            await self._wake.wait()
        if self._events:
            text = "".join(self._events)
            self._events.clear()
            return text
        return None


class Hub:
    """Distributes saved spans to listeners of one trace or of all; used from one event loop."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()

    def subscribe(self, trace_id: str | None = None) -> Listener:
        """Return a listener for the spans of one trace, or, without an id, for the summaries of all traces."""
        listener = Listener(trace_id)
        self._listeners.add(listener)
        return listener

    def unsubscribe(self, listener: Listener) -> None:
        """Remove a listener."""
        self._listeners.discard(listener)

    def saved(self, spans: Iterable[SpanData], summaries: Iterable[TraceSummary]) -> None:
        """Tells the listeners what `TraceStore.save` returned."""
        if not self._listeners:
            return
        for summary in summaries:
            self._publish(None, {"type": "trace", "trace": summary.to_wire()})
        wanted = {listener.trace_id for listener in self._listeners}
        for span in spans:
            if span.trace_id in wanted:
                kind = "span_end" if span.end_time else "span_start"
                wire = span.model_dump(mode="json", by_alias=True, exclude_none=True)
                self._publish(span.trace_id, {"type": kind, "traceId": span.trace_id, "span": wire})

    def deleted(self, trace_id: str) -> None:
        """Notify the listeners that a trace was deleted."""
        for topic in (None, trace_id):
            self._publish(topic, {"type": "deleted", "traceId": trace_id})

    def _publish(self, topic: str | None, event: dict[str, Any]) -> None:
        text = event_text(json.dumps(event))
        for listener in list(self._listeners):
            if listener.trace_id == topic:
                listener.put(text)
                if listener.dropped:
                    self._listeners.discard(listener)


def event_text(data: str, name: str = "") -> str:
    """Format one server-sent event; `data` is JSON on one line."""
    return f"{f'event: {name}' + chr(10) if name else ''}data: {data}\n\n"


class EventStream:
    """An ASGI response that sends a listener's events until the client leaves or the listener is dropped."""

    def __init__(self, hub: Hub, listener: Listener, first: str = "") -> None:
        self._hub, self._listener, self._first = hub, listener, first

    async def __call__(
        self, scope: Any, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]
        left = asyncio.create_task(_until_left(receive))
        sender = asyncio.create_task(self._send_all(send))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await asyncio.wait({left, sender}, return_when=asyncio.FIRST_COMPLETED)
            if sender.done():
                sender.result()
                await send({"type": "http.response.body", "body": b""})
        finally:
            self._hub.unsubscribe(self._listener)
            left.cancel()
            sender.cancel()
            await asyncio.wait({left, sender})

    async def _send_all(self, send: Callable[[Message], Awaitable[None]]) -> None:
        text: str | None = self._first or ": ready\n\n"
        while text is not None:
            await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
            try:
                text = await asyncio.wait_for(self._listener.next(), KEEP_ALIVE_SECONDS)
            except TimeoutError:
                text = ": still here\n\n"
        told = event_text('{"type": "dropped", "hint": "Too slow: load the traces again and reconnect."}', "dropped")
        await send({"type": "http.response.body", "body": told.encode(), "more_body": True})


async def _until_left(receive: Callable[[], Awaitable[Message]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
