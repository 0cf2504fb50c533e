"""A developer's afternoon, real in every part: an app in its own process, the developer server, a browser.

A screen's tests are a few lines::

    pytestmark = [pytest.mark.browser, pytest.mark.network]

    def test_the_index_screen_is_sound(walk: Walk) -> None:
        walk("/indexes", "indexes")          # opens it in light, dark and 360 px: axe, console, requests, screenshots

    def test_a_document_is_deleted(page: Page, dev: Dev) -> None:
        page.goto(dev.url + "/indexes")       # signed in already; console errors and foreign requests fail the test
        ...

`GENKIT_RAG_SCREENSHOTS=1` writes what `walk` sees in light into `docs/images`, `all` all of it. Without Chromium or
Playwright the tests are skipped, and the summary says why.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from genkit_rag._server.guard import new_token

ROOT = Path(__file__).parents[2]
PHOTOS = os.environ.get("GENKIT_RAG_SCREENSHOTS")
IMAGES = ROOT / "docs" / "images"
CHROMIUM = os.environ.get("GENKIT_RAG_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 860}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 860}},
    "narrow": {"color_scheme": "light", "viewport": {"width": 360, "height": 740}},
}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "browser: opens pages in Chromium")


@dataclass
class Dev:
    """A running developer server with an app, and a session of it for tests that need no browser.

    Attributes:
        url: Where it is, without a slash at its end.
        token: What a program shows.
        http: A client that shows it.
        root: The project's folder.
        sign_in: Returns a URL that signs one browser in.
    """

    url: str
    token: str
    http: httpx.Client
    root: Path
    sign_in: Callable[[], str]

    def run(self, key: str, value: Any = None) -> list[dict[str, Any]]:
        """Returns what running an action gives, as the page reads it, and waits until its trace is stored."""
        import json

        response = self.http.post("/ui/run", json={"key": key, "input": value})
        assert response.status_code == 200, response.text
        events = [json.loads(line) for line in response.text.splitlines()]
        self.wait_for_trace(events[0]["traceId"])
        return events

    def wait_for_trace(self, trace_id: str) -> dict[str, Any]:
        """Returns a trace once its root has ended."""
        due = time.monotonic() + 10
        while time.monotonic() < due:
            answer = self.http.get(f"/api/traces/{trace_id}")
            spans = answer.json()["spans"].values() if answer.content else []
            if any("parentSpanId" not in span and span["endTime"] for span in spans):
                found: dict[str, Any] = answer.json()
                return found
            time.sleep(0.02)
        raise AssertionError(f"the trace {trace_id} did not arrive")


def start_app(root: Path, server: str, token: str, script: Path | None = None) -> subprocess.Popen[bytes]:
    """Returns the app's process, once its reflection API is there."""
    environment = {
        **os.environ,
        "GENKIT_ENV": "dev",
        "GENKIT_TELEMETRY_SERVER": server,
        "GENKIT_TELEMETRY_TOKEN": token,
        "GENKIT_ENABLE_REALTIME_TELEMETRY": "true",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, str(script or Path(__file__).parent / "app.py")]
    with (root / "app.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=root, env=environment, stdout=log, stderr=log)
    due = time.monotonic() + 60
    while not list((root / ".genkit" / "runtimes").glob("*.json")):
        if process.poll() is not None or time.monotonic() > due:
            process.kill()
            pytest.fail(f"the app did not start: {(root / 'app.log').read_text()[-3000:]}")
        time.sleep(0.05)
    return process


@pytest.fixture(scope="session")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """A developer server and an app with a FAISS index of eight documents, for the whole session."""
    from genkit_rag._server.dev_ui import dev_app
    from genkit_rag._server.serving import serve_in_thread
    from genkit_rag._server.telemetry import TraceStore

    root = tmp_path_factory.mktemp("help-desk") / "help-desk"
    root.mkdir()
    (root / "pyproject.toml").write_text("[project]\nname = 'help-desk'\n")
    token = new_token()
    store = TraceStore(root / "traces.db")
    with serve_in_thread(dev_app(root, store, token)) as served:
        process = start_app(root, served.url, token)
        try:
            with httpx.Client(base_url=served.url, headers={"X-Genkit-Token": token}, timeout=30) as http:
                made = Dev(served.url, token, http, root, served.sign_in_url)
                _wait_for_index(made)
                yield made
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)
    store.close()


def _wait_for_index(dev: Dev) -> None:
    due = time.monotonic() + 30
    while time.monotonic() < due:
        body = {"key": "/retriever/faiss/docs", "input": {"query": {"content": [{"text": "roles"}]}}}
        answer = dev.http.post("/ui/run", json=body)
        if answer.status_code == 200 and '"documents": [{' in answer.text:
            return
        time.sleep(0.1)
    raise AssertionError("the app has no index: " + (dev.root / "app.log").read_text()[-3000:])


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, headless; for one module, since no other event loop runs in this thread meanwhile."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs: pip install playwright")
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium, or set GENKIT_RAG_CHROMIUM=/path/to/chromium")
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield launched
        launched.close()


@dataclass
class Watched:
    """What a page must not do."""

    origin: str
    problems: list[str] = field(default_factory=list)

    def watch(self, page: Any) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.problems.append(f"uncaught: {error}"))
        page.on("dialog", self._dialog)
        page.on("request", self._request)

    def _console(self, message: Any) -> None:
        # A refused run is an answer like any other; the browser logs its status all the same.
        if message.type in ("error", "warning") and not re.search(r"status of (4\d\d|503)", message.text):
            self.problems.append(f"console: {message.text}")

    def _dialog(self, dialog: Any) -> None:
        self.problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _request(self, request: Any) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and f"{parts.scheme}://{parts.netloc}" != self.origin:
            self.problems.append(f"request to another origin: {request.url}")


@pytest.fixture
def open_page(browser: Any, dev: Dev) -> Iterator[Callable[..., Any]]:
    """Makes signed-in pages: `open_page(color_scheme="dark", viewport=...)`; what they must not do fails the test."""
    watched = Watched(dev.url)
    contexts: list[Any] = []

    def make(**options: Any) -> Any:
        context = browser.new_context(**{"reduced_motion": "reduce", **options})
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        contexts.append(context)
        page = context.new_page()
        watched.watch(page)
        page.goto(dev.sign_in())
        return page

    yield make
    for context in contexts:
        context.close()
    assert watched.problems == []


@pytest.fixture
def page(open_page: Callable[..., Any]) -> Any:
    """A signed-in page of 1280 by 860 pixels, in light."""
    return open_page(**LOOKS["light"])


def assert_accessible(page: Any) -> None:
    """Asserts that axe finds nothing serious or critical on a page."""
    source = _axe_source()
    # evaluate, not a script element: the page's Content-Security-Policy stays as it is.
    page.evaluate(source)
    result = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    bad = [
        f"{one['impact']}: {one['id']}: {one['help']}: {[node['html'][:160] for node in one['nodes'][:3]]}"
        for one in result["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert bad == [], "\n".join(bad)


def _axe_source() -> str:
    given = os.environ.get("GENKIT_RAG_AXE")
    if given:
        return Path(given).read_text()
    package = pytest.importorskip("axe_playwright_python", reason="needs: pip install axe-playwright-python")
    return (Path(package.__file__).parent / "axe.min.js").read_text()


Walk = Callable[..., None]


@pytest.fixture
def walk(open_page: Callable[..., Any], dev: Dev) -> Walk:
    """Opens a path in light, dark and at 360 pixels: `walk("/traces", "traces", ready="table", act=function_of_page)`.

    Each is checked with axe, must not scroll sideways, and is photographed as `<name>-<look>.png` when it
    has a name and `GENKIT_RAG_SCREENSHOTS` is set: to `all`, or to anything else for the light ones only. `ready` is a
    selector to wait for; `act` does something before the look.
    """

    def go(path: str, name: str = "", *, ready: str = "main h1", act: Callable[[Any], None] | None = None) -> None:
        for look, options in LOOKS.items():
            page = open_page(**options)
            page.goto(dev.url + path)
            page.wait_for_selector(ready)
            if act is not None:
                act(page)
            assert_accessible(page)
            wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide <= 0, f"{path} scrolls sideways by {wide} pixels in {look}"
            if name and (PHOTOS == "all" or (PHOTOS and look == "light")):
                IMAGES.mkdir(exist_ok=True)
                page.screenshot(path=IMAGES / f"{name}-{look}.png")

    return go
