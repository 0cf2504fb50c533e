"""Sends the spans of this process to a telemetry server, at their start and at their end.

The process under observation must not notice: a full queue drops, a server that is down is asked again later and less
often, nothing waits in the caller, and the exit waits for a bounded time.
"""

from __future__ import annotations

import http.client
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from genkit_rag._core.errors import GenkitError, MissingExtra, invalid
from genkit_rag._server.telemetry.quota import cut_span
from genkit_rag._server.telemetry.redact import redactor
from genkit_rag._server.telemetry.sdk import CleanExporter, to_span_data
from genkit_rag._server.telemetry.wire import IGNORE
from genkit_rag._server.telemetry.writers import chosen_writers

try:
    from opentelemetry import trace
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
except ImportError as _error:
    raise MissingExtra("dev", "opentelemetry-sdk") from _error

logger = logging.getLogger("genkit_rag.telemetry")

MAX_QUEUE = 10_000
MAX_BATCH = 512
MAX_POST_BYTES = 3_000_000
"""Below what servers take (ours 4 MB, Genkit's more)."""

_LINGER_SECONDS = 0.02  # a span's start and end, and its neighbours, often go in one post
_TIMEOUT_SECONDS = 5.0
_BACK_OFF_SECONDS = (0.1, 5.0)
_MAX_IGNORED = 1000
_ATTRIBUTE_BYTES = 256 * 1024


class TelemetryProcessor(SpanProcessor):
    """A span processor that posts to a telemetry server from one background thread.

    Attributes:
        dropped: Spans that were not sent: the queue was full, the server refused them, or it was down at exit.
    """

    def __init__(
        self, url: str, *, writers: Iterable[str] | None = None, realtime: bool = True, token: str | None = None,
        max_queue: int = MAX_QUEUE, exit_seconds: float = 2.0,
    ) -> None:  # fmt: skip
        self._sender = _Sender(url, token)
        self._writers = chosen_writers(writers)
        self._realtime, self._max_queue, self._exit_seconds = realtime, max_queue, exit_seconds
        self._queue: deque[ReadableSpan] = deque()
        self._ignored: dict[int, None] = {}
        self._wake, self._stop = threading.Event(), threading.Event()
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
                name=span.name, context=span.context, parent=span.parent, kind=span.kind, start_time=span.start_time,
                attributes=dict(span.attributes or {}),
                resource=span.resource, instrumentation_scope=span.instrumentation_scope,
            )
        )  # fmt: skip

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
        """Starts the thread; again in a forked child, which has the queue but no thread."""
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
        bodies = self._bodies(list(last.values()))
        delay, longest = _BACK_OFF_SECONDS
        while bodies:
            status = self._sender.post(bodies[0][0])
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
            self._stop.wait(delay)
            delay = min(delay * 2, longest)

    def _bodies(self, spans: list[ReadableSpan]) -> list[tuple[bytes, int]]:
        """Returns posts of one trace each, with the number of their spans."""
        redact = redactor()
        posts: list[_Post] = []
        newest: dict[str, _Post] = {}
        for span in spans:
            try:
                found, data = cut_span(to_span_data(span, self._writers, redact), _ATTRIBUTE_BYTES)
            except Exception:
                self._drop(1, "a span could not be written")
                continue
            item = f'"{found.span_id}":{data}'
            post = newest.get(found.trace_id)
            if post is None or post.size + len(item) > MAX_POST_BYTES:
                post = newest[found.trace_id] = _Post(found.trace_id)
                posts.append(post)
            post.items.append(item)
            post.size += len(item)
        return [
            (f'{{"traceId":"{post.trace_id}","spans":{{{",".join(post.items)}}}}}'.encode(), len(post.items))
            for post in posts
        ]

    def _drop_rest(self) -> None:
        if self._queue:
            self._drop(len(self._queue), "the process ended")
            self._queue.clear()

    # -- the end

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Returns whether everything was sent within the time; False at once when the server is down."""
        due = time.monotonic() + timeout_millis / 1000
        while self._queue or self._busy:
            if self._failing or time.monotonic() > due:
                return False
            time.sleep(0.002)
        return True

    def shutdown(self) -> None:
        """Sends what is queued, for at most `exit_seconds`."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None and self._pid == os.getpid():
            self._thread.join(self._exit_seconds)
        self._sender.close()


@dataclass
class _Post:
    trace_id: str
    items: list[str] = field(default_factory=list[str])
    size: int = 0


class _Sender:
    """Posts over one kept connection."""

    def __init__(self, url: str, token: str | None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise invalid("url", url if "@" not in url else "...", "must be http://host:port")
        self._secure, self._host, self._port = parts.scheme == "https", parts.hostname, parts.port
        self._path = f"{parts.path.rstrip('/')}/api/traces"
        self.url = f"{parts.scheme}://{parts.netloc}"
        self._headers = {"Content-Type": "application/json", **({"X-Genkit-Token": token} if token else {})}
        self._connection: http.client.HTTPConnection | None = None

    def post(self, body: bytes) -> int | None:
        """Returns the HTTP status; None when the server cannot be reached."""
        for fresh in (False, True):  # a kept connection may have been closed by the server
            kept = self._connection is not None
            try:
                connection = self._connect()
                connection.request("POST", self._path, body, self._headers)
                response = connection.getresponse()
                response.read()
                return response.status
            except (OSError, http.client.HTTPException) as error:
                self.close()
                if fresh or not kept or isinstance(error, TimeoutError):
                    return None
        return None

    def _connect(self) -> http.client.HTTPConnection:
        if self._connection is None:
            kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
            self._connection = kind(self._host, self._port, timeout=_TIMEOUT_SECONDS)
        return self._connection

    def close(self) -> None:
        """Closes the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


_connected: WeakKeyDictionary[TracerProvider, set[str]] = WeakKeyDictionary()


def connect_telemetry(
    url: str | None = None, *, writers: Iterable[str] | None = None, realtime: bool | None = None
) -> TracerProvider:
    """Returns the tracer provider, which sends the spans of this process to the telemetry server from now on.

    Where no provider is installed the SDK's is; to one that is there only a processor is added. The standard variables
    `OTEL_EXPORTER_OTLP_ENDPOINT` and `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` add an OTLP exporter to a provider that was
    installed here. Connecting twice to the same server changes nothing.

    Args:
        url: The telemetry server; `GENKIT_TELEMETRY_SERVER` by default. Its token is `GENKIT_TELEMETRY_TOKEN`.
        writers: Which attributes the spans carry; `GENKIT_RAG_SPAN_WRITERS` by default.
        realtime: Whether spans are sent at their start too; by default what `GENKIT_ENABLE_REALTIME_TELEMETRY` says.

    Raises:
        GenkitError: INVALID_ARGUMENT without a server and without an OTLP endpoint; FAILED_PRECONDITION when another
            kind of provider is installed.
    """
    url = url or os.environ.get("GENKIT_TELEMETRY_SERVER")
    otlp = _otlp_endpoint()
    if url is None and otlp is None:
        raise invalid("url", None, "must name a telemetry server", hint="Or set GENKIT_TELEMETRY_SERVER.")
    names = chosen_writers(writers)
    if realtime is None:
        realtime = os.environ.get("GENKIT_ENABLE_REALTIME_TELEMETRY", "").lower() == "true"
    provider, ours = _provider()
    seen = _connected.setdefault(provider, set())
    if url is not None and url not in seen:
        token = os.environ.get("GENKIT_TELEMETRY_TOKEN")
        provider.add_span_processor(TelemetryProcessor(url, writers=names, realtime=realtime, token=token))
        seen.add(url)
    if otlp is not None and ours:
        _add_otlp(provider, names)
    return provider


def _provider() -> tuple[TracerProvider, bool]:
    found: Any = trace.get_tracer_provider()
    if isinstance(found, TracerProvider):
        return found, False
    if not isinstance(found, trace.ProxyTracerProvider):
        raise GenkitError(
            "FAILED_PRECONDITION", f"The tracer provider is a {type(found).__name__}, not the SDK's.",
            hint="Install opentelemetry.sdk.trace.TracerProvider, or none.",
        )  # fmt: skip
    provider = TracerProvider()
    trace.set_tracer_provider(provider)
    return provider, True


def _otlp_endpoint() -> str | None:
    if os.environ.get("OTEL_TRACES_EXPORTER", "otlp") == "none":
        return None
    names = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


def _add_otlp(provider: TracerProvider, writers: Iterable[str]) -> None:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        logger.warning("OTLP export needs a package: pip install opentelemetry-exporter-otlp-proto-http")
        return
    provider.add_span_processor(BatchSpanProcessor(CleanExporter(OTLPSpanExporter(), writers)))
