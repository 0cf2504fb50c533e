"""Sends the spans of this process to a telemetry server, at their start and at their end.

The process under observation must not notice: a full queue drops, a server that is down is asked again later and less
often, nothing waits in the caller, and the exit waits for a bounded time.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from genkit_rag._core.errors import GenkitError, invalid, require_extra
from genkit_rag._core.redact import redactor
from genkit_rag._server.telemetry.quota import cut_span
from genkit_rag._server.telemetry.sdk import CleanExporter, to_span_data
from genkit_rag._server.telemetry.sending import Sender, posts_of
from genkit_rag._server.telemetry.wire import IGNORE, SpanData
from genkit_rag._server.telemetry.writers import chosen_writers

with require_extra("dev", "opentelemetry.sdk"):
    from opentelemetry import trace
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

logger = logging.getLogger("genkit_rag.telemetry")

MAX_QUEUE = 10_000
MAX_BATCH = 512
MAX_POST_BYTES = 3_000_000
"""Below what servers take (ours 4 MB, Genkit's more)."""

_LINGER_SECONDS = 0.02  # a span's start and end, and its neighbours, often go in one post
_BACK_OFF_SECONDS = (0.1, 5.0)
_MAX_IGNORED = 1000
_ATTRIBUTE_BYTES = 256 * 1024


class TelemetryProcessor(SpanProcessor):
    """A span processor that posts to a telemetry server from one background thread.

    Attributes:
        dropped: The number of unsent spans: the queue was full, the server rejected them, or it was down at exit.
    """

    def __init__(
        self,
        url: str,
        *,
        writers: Iterable[str] | None = None,
        realtime: bool = True,
        token: str | None = None,
        max_queue: int = MAX_QUEUE,
        exit_seconds: float = 2.0,
    ) -> None:
        self._sender = Sender(url, token)
        self._next: Sender | None = None
        self._writers = chosen_writers(writers)
        self._realtime, self._max_queue, self._exit_seconds = realtime, max_queue, exit_seconds
        self._queue: deque[ReadableSpan] = deque()
        self._ignored: dict[int, None] = {}
        self._wake, self._stop, self._hurry = threading.Event(), threading.Event(), threading.Event()
        self._busy = self._failing = self._said = False
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid = 0
        self.dropped = 0

    # -- in the caller's thread: nothing but a queue

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Queues the span as running."""
        if not self._realtime or self._ignores(span):
            return
        self._put(
            ReadableSpan(
                name=span.name,
                context=span.context,
                parent=span.parent,
                kind=span.kind,
                start_time=span.start_time,
                attributes=dict(span.attributes or {}),
                resource=span.resource,
                instrumentation_scope=span.instrumentation_scope,
            )
        )

    def on_end(self, span: ReadableSpan) -> None:
        """Queues the span as ended."""
        if not self._ignores(span):
            self._put(span)

    def _ignores(self, span: ReadableSpan) -> bool:
        context = span.context
        if context is None:
            return True
        if span.attributes and span.attributes.get(IGNORE):
            while len(self._ignored) >= _MAX_IGNORED:
                self._ignored.pop(next(iter(self._ignored)), None)
            self._ignored[context.trace_id] = None
        return context.trace_id in self._ignored

    def _put(self, span: ReadableSpan) -> None:
        if self._pid != os.getpid():
            self._start()
        if len(self._queue) >= self._max_queue or self._stop.is_set():
            self._drop(1, "the queue is full")
            return
        self._queue.append(span)
        if not self._wake.is_set():
            self._wake.set()

    def _start(self) -> None:
        """Start the thread; start it again in a forked child, which has the queue but no thread."""
        with self._lock:
            if self._pid == os.getpid():
                return
            if self._pid:
                self._queue.clear()  # the parent sends these
            self._pid = os.getpid()
            self._thread = threading.Thread(target=self._run, name="genkit_rag telemetry", daemon=True)
            self._thread.start()

    def _drop(self, count: int, why: str) -> None:
        with self._lock:
            self.dropped += count
            said, self._said = self._said, True
        if not said:
            logger.warning("Spans for %s are dropped: %s.", self._sender.url, why)

    def move_to(self, url: str, token: str | None = None) -> None:
        """Send to another server from now on, including queued spans."""
        self._next = Sender(url, token)
        self._hurry.set()

    # -- in the background thread

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait()
            self._stop.wait(_LINGER_SECONDS)
            self._wake.clear()
            self._drain()
        self._drain()
        self._drop_rest()

    def _drain(self) -> None:
        self._busy = True
        try:
            while self._queue:
                size = min(MAX_BATCH, len(self._queue))
                self._send([self._queue.popleft() for _ in range(size)])
        except Exception:  # a bug here must not end the thread
            logger.debug("spans were not sent", exc_info=True)
        finally:
            self._busy = False

    def _send(self, spans: list[ReadableSpan]) -> None:
        last = {span.context.span_id: span for span in spans if span.context is not None}  # an end after its start
        bodies = posts_of(self._written(last.values()), MAX_POST_BYTES)
        delay, longest = _BACK_OFF_SECONDS
        while bodies:
            status = self._current().post(bodies[0][0])
            if status is not None:
                self._failing = False
                if status >= 300:
                    self._drop(bodies[0][1], f"the server answered {status}")
                else:
                    self._said = False
                bodies.pop(0)
                continue
            self._failing = True
            if self._stop.is_set():
                self._drop(sum(count for _, count in bodies), "the server cannot be reached")
                return
            self._hurry.wait(delay)
            delay = min(delay * 2, longest)

    def _current(self) -> Sender:
        """Return the sender; only this thread changes it, since a connection is not shared."""
        found = self._next
        if found is not None:
            self._sender.close()
            self._sender, self._said, self._failing = found, False, False
            self._hurry.clear()
            if self._next is found:
                self._next = None
        return self._sender

    def _written(self, spans: Iterable[ReadableSpan]) -> Iterator[tuple[SpanData, str]]:
        redact = redactor()
        for span in spans:
            try:
                yield cut_span(to_span_data(span, self._writers, redact), _ATTRIBUTE_BYTES)
            except Exception:
                self._drop(1, "a span could not be written")

    def _drop_rest(self) -> None:
        if self._queue:
            self._drop(len(self._queue), "the process ended")
            self._queue.clear()

    # -- the end

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send the queued spans; return False if that failed in time, at once if the server is down."""
        if self._pid != os.getpid():  # nothing was queued, or by the process that this one was forked from
            return True
        due = time.monotonic() + timeout_millis / 1000
        while self._queue or self._busy:
            if (self._failing and self._next is None) or time.monotonic() > due:
                return False
            time.sleep(0.002)
        return True

    def shutdown(self) -> None:
        """Send the queued spans for at most `exit_seconds`."""
        self._stop.set()
        self._hurry.set()
        self._wake.set()
        if self._thread is not None and self._pid == os.getpid():
            self._thread.join(self._exit_seconds)
        self._sender.close()


class _Connections:
    """The processors added to one provider: permanent ones by URL, and the replaceable one."""

    def __init__(self) -> None:
        self.processors: list[SpanProcessor] = []
        self.fixed: set[str] = set()
        self.moving: TelemetryProcessor | None = None
        self.moving_url: str | None = None

    def add(self, url: str, make: Callable[[], TelemetryProcessor], *, replace: bool) -> TelemetryProcessor | None:
        """Return a processor to add to the provider; None if an existing one serves."""
        if url in self.fixed or (replace and url == self.moving_url):
            return None
        if not replace:
            self.fixed.add(url)
            return make()
        self.moving_url = url
        if self.moving is not None:
            self.moving.move_to(url, os.environ.get("GENKIT_TELEMETRY_TOKEN"))
            return None
        self.moving = make()
        return self.moving


_connected: WeakKeyDictionary[TracerProvider, _Connections] = WeakKeyDictionary()
_connecting = threading.Lock()


def connect_telemetry(
    url: str | None = None, *, writers: Iterable[str] | None = None, realtime: bool | None = None, replace: bool = False
) -> TracerProvider:
    """Send the spans of this process to a telemetry server from now on, and return the tracer provider.

    If no provider is installed, the SDK's is installed; an existing one gets a processor. The standard variables
    `OTEL_EXPORTER_OTLP_ENDPOINT` and `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` add an OTLP exporter to a provider that was
    installed here. Connecting twice to the same server has no effect.

    Args:
        url: The telemetry server; `GENKIT_TELEMETRY_SERVER` by default. Its token is `GENKIT_TELEMETRY_TOKEN`.
        writers: The attribute conventions of the spans; `GENKIT_RAG_SPAN_WRITERS` by default.
        realtime: Whether spans are also sent at their start; `GENKIT_ENABLE_REALTIME_TELEMETRY` by default.
        replace: Whether this server replaces the one last connected with `replace=True`, keeping its writers and
            realtime setting. For tools that come and go.

    Raises:
        GenkitError: INVALID_ARGUMENT without a server and without an OTLP endpoint; FAILED_PRECONDITION if another kind
            of provider is installed.
    """
    url = url or os.environ.get("GENKIT_TELEMETRY_SERVER")
    otlp = _otlp_endpoint()
    if url is None and otlp is None:
        raise invalid("url", None, "must name a telemetry server", hint="Or set GENKIT_TELEMETRY_SERVER.")
    names = chosen_writers(writers)
    if realtime is None:
        realtime = os.environ.get("GENKIT_ENABLE_REALTIME_TELEMETRY", "").lower() == "true"
    with _connecting:
        provider, ours = _provider()
        there = _connected.setdefault(provider, _Connections())
        if url is not None:
            token = os.environ.get("GENKIT_TELEMETRY_TOKEN")
            make = partial(TelemetryProcessor, url, writers=names, realtime=realtime, token=token)
            _add(provider, there, there.add(url, make, replace=replace))
        if otlp is not None and ours:
            _add(provider, there, _otlp_processor(names))
    return provider


def _add(provider: TracerProvider, there: _Connections, processor: SpanProcessor | None) -> None:
    if processor is not None:
        provider.add_span_processor(processor)
        there.processors.append(processor)


def flush(seconds: float) -> None:
    """Send the queued spans for at most `seconds`; safe in a signal handler, whose thread may hold any lock."""
    due = time.monotonic() + seconds
    processors = [one for there in list(_connected.values()) for one in there.processors]
    threads = [threading.Thread(target=one.force_flush, args=(int(seconds * 1000),), daemon=True) for one in processors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, due - time.monotonic()))


def _provider() -> tuple[TracerProvider, bool]:
    found: Any = trace.get_tracer_provider()
    if isinstance(found, TracerProvider):
        return found, False
    if not isinstance(found, trace.ProxyTracerProvider):
        raise GenkitError(
            "FAILED_PRECONDITION",
            f"The tracer provider is a {type(found).__name__}, not the SDK's.",
            hint="Install opentelemetry.sdk.trace.TracerProvider, or none.",
        )
    provider = TracerProvider()
    trace.set_tracer_provider(provider)
    return provider, True


def _otlp_endpoint() -> str | None:
    if os.environ.get("OTEL_TRACES_EXPORTER", "otlp") == "none":
        return None
    names = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


def _otlp_processor(writers: Iterable[str]) -> SpanProcessor | None:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        logger.warning("OTLP export needs a package: pip install opentelemetry-exporter-otlp-proto-http")
        return None
    return BatchSpanProcessor(CleanExporter(OTLPSpanExporter(), writers))
