"""The guards of the test run (offline, one summary line per missing ability) and the shared fixtures."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections import Counter
from collections.abc import AsyncIterator, Generator, Iterable, Iterator, Sequence
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
"""The weights that a `weights` marker without arguments requires."""

TORCH_EXTRAS = ("sentence-transformers", "cross-encoder")

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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape lone surrogates in captured logs: test processes exchange reports as UTF-8."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report


def pytest_configure() -> None:
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


class _NotRun(pytest.Item):
    """A test of a file that cannot be imported because an optional dependency is missing."""

    def __init__(self, *, reason: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.reason = reason

    def runtest(self) -> None:
        pytest.skip(self.reason)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, self.name


class _Module(pytest.Module):
    """A test file; its tests are reported as skipped when it needs a package that is not installed."""

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        try:
            return list(super().collect())
        except pytest.skip.Exception as skipped:
            reason = str(skipped)
        except self.CollectError as error:
            missing = _missing_extra(error)
            if missing is None:
                raise
            reason = str(missing)
        names = re.findall(r"^ *(?:async )?def (test_\w+)", self.path.read_text("utf-8"), re.MULTILINE)
        return [_NotRun.from_parent(self, name=name, reason=reason) for name in names]


def _missing_extra(error: BaseException | None) -> MissingExtra | None:
    while error is not None and not isinstance(error, MissingExtra):
        error = error.__cause__
    return error


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module:
    module: pytest.Module = _Module.from_parent(parent, path=module_path)
    return module


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print one line per ability that this machine lacks: the number of tests not run and how to get it."""
    skipped = [report.longrepr[2] for report in terminalreporter.stats.get("skipped", [])]
    counts = Counter(need for need in map(_need, skipped) if need is not None)
    if skipped:
        terminalreporter.section("not run")
    for (ability, how), number in sorted(counts.items()):
        terminalreporter.write_line(f"{number:5} tests need {ability}: {how}", yellow=True)
    if rest := len(skipped) - counts.total():
        terminalreporter.write_line(f"{rest:5} contract tests do not apply to the plugin under test (-rs lists them)")


def _need(reason: str) -> tuple[str, str] | None:
    """Return the missing ability that a skip reason names, and how to get it."""
    if extra := re.search(r"genkit-rag\[([\w-]+)\]", reason):
        return _torch_or_extra(extra[1])
    if named := re.search(r"needs ([^:]+): (.+)", reason, re.DOTALL):
        return named[1], named[2].partition("\n")[0]
    if package := re.search(r"could not import '([^']+)'", reason):
        return f"`{package[1]}`", "make test (installs it)"
    return None


def _torch_or_extra(extra: str) -> tuple[str, str]:
    if extra in TORCH_EXTRAS:
        return "torch", "make test TORCH=1"
    return f"the extra `{extra}`", f'pip install "genkit-rag[{extra}]"'


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
        return f"needs the weights {name}: genkit-rag models pull {name}"
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
