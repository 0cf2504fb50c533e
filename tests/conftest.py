"""No network, no missing extras, no missing weights: what every test can rely on; and the fixtures that many share."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from genkit_rag import Genkit, GenkitError, MissingExtra
from genkit_rag.testing import FakeEmbedder
from genkit_rag_memory import Memory

USUAL_WEIGHTS = ("all-minilm-l6-v2", "smollm2-135m")
"""What a `weights` test without names needs."""

_left_out = pytest.StashKey[list[str]]()
_loopback_allowed = False
_connect, _connect_ex, _getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo


class NetworkBlocked(RuntimeError):
    """A test reached for the network."""


def _check(host: Any) -> None:
    try:
        loopback = host in (None, "", "localhost", b"localhost") or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if loopback and _loopback_allowed:
        return
    marker = "tests marked `network` reach loopback only" if loopback or _loopback_allowed else "tests are offline"
    raise NetworkBlocked(f"A test reached for {host!r}: {marker}. Mark it with @pytest.mark.network for loopback.")


def _guarded(real: Any) -> Any:
    def connect(self: socket.socket, address: Any) -> Any:
        if self.family != getattr(socket, "AF_UNIX", None):
            _check(address[0])
        return real(self, address)

    return connect


def _guarded_getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
    if str(host if isinstance(host, str) else bytes(host or b"").decode()).endswith(".invalid"):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")  # RFC 6761: it never has an address
    _check(host)
    return _getaddrinfo(host, *args, **kwargs)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_left_out] = []
    socket.socket.connect = _guarded(_connect)  # type: ignore[method-assign]
    socket.socket.connect_ex = _guarded(_connect_ex)  # type: ignore[method-assign]
    socket.getaddrinfo = _guarded_getaddrinfo


def pytest_unconfigure() -> None:
    socket.socket.connect, socket.socket.connect_ex = _connect, _connect_ex  # type: ignore[method-assign]
    socket.getaddrinfo = _getaddrinfo


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    # Around the whole protocol, so that fixtures of every scope obey the marker of the test that asks for them.
    global _loopback_allowed
    _loopback_allowed = item.get_closest_marker("network") is not None
    try:
        return (yield)
    finally:
        _loopback_allowed = False


class _Module(pytest.Module):
    """A test file; it is left out when an extra that it imports is not installed."""

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        try:
            return super().collect()
        except self.CollectError as error:
            missing = _missing_extra(error)
            if missing is None:
                raise
            self.config.stash[_left_out].append(f"{self.path.relative_to(self.config.rootpath)}: {missing}")
            return []


def _missing_extra(error: BaseException | None) -> MissingExtra | None:
    while error is not None and not isinstance(error, MissingExtra):
        error = error.__cause__
    return error


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module:
    module: pytest.Module = _Module.from_parent(parent, path=module_path)
    return module


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash[_left_out]:
        terminalreporter.write_line(f"left out: {line}", yellow=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        marker = item.get_closest_marker("weights")
        problem = None if marker is None else _missing_weights(marker.args or USUAL_WEIGHTS)
        if problem:
            item.add_marker(pytest.mark.skip(reason=problem))


def _missing_weights(names: Iterable[str]) -> str | None:
    try:
        from genkit_rag._weights import weights_path

        for name in names:
            weights_path(name)
    except MissingExtra as error:
        return str(error)
    except GenkitError as error:
        if error.status != "FAILED_PRECONDITION":
            raise
        return error.hint or error.message
    return None


@pytest.fixture
def embedder() -> FakeEmbedder:
    return FakeEmbedder()


@pytest.fixture
async def ai(embedder: FakeEmbedder) -> AsyncIterator[Genkit]:
    """A Genkit with a word embedder and the empty store `memory/docs`."""
    async with Genkit(plugins=[embedder, Memory(["docs"], embedder=embedder.embedder)]) as made:
        yield made


class _Spans(InMemorySpanExporter):
    """Keeps spans only while a test wants them: the provider outlives the test."""

    wanted = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return super().export(spans) if self.wanted else SpanExportResult.SUCCESS


@pytest.fixture(scope="session")
def _span_exporter() -> _Spans:
    exporter = _Spans()
    provider = TracerProvider()  # one for the process: OpenTelemetry does not take a second one
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def spans(_span_exporter: _Spans) -> Iterator[InMemorySpanExporter]:
    """What is traced during the test, as `spans.get_finished_spans()`."""
    _span_exporter.clear()
    _span_exporter.wanted = True
    yield _span_exporter
    _span_exporter.wanted = False
    _span_exporter.clear()
