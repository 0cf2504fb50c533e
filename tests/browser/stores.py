"""The developer server over the app with stores, for the tests of the screens about them."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from genkit_rag._server.dev_ui import dev_app
from genkit_rag._server.guard import new_token
from genkit_rag._server.serving import serve_in_thread
from genkit_rag._server.telemetry import TraceStore
from tests.browser.conftest import Dev, start_app


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """A developer server and an app with two FAISS indexes and a store with rules, for one module's tests."""
    root = tmp_path_factory.mktemp("stores") / "library"
    root.mkdir()
    (root / "pyproject.toml").write_text("[project]\nname = 'library'\n")
    token, store = new_token(), TraceStore(root / "traces.db")
    with serve_in_thread(dev_app(root, store, token)) as served:
        process = start_app(root, served.url, token, Path(__file__).parent / "stores_app.py")
        try:
            due = time.monotonic() + 60
            while not (root / "ready").exists():
                assert time.monotonic() < due, (root / "app.log").read_text()[-3000:]
                time.sleep(0.05)
            with httpx.Client(base_url=served.url, headers={"X-Genkit-Token": token}, timeout=30) as http:
                yield Dev(served.url, token, http, root, served.sign_in_url)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)
    store.close()


def result(dev: Dev, key: str, value: Any, context: Any = None) -> Any:
    """Returns what an action of the app gives."""
    answer = dev.http.post("/ui/run", json={"key": key, "input": value, "context": context})
    assert answer.status_code == 200, answer.text
    last = answer.text.splitlines()[-1]
    found = httpx.Response(200, text=last).json()
    assert "result" in found, found
    return found["result"]
