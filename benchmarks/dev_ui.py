"""What the developer UI takes in a browser: opening a trace of 1,000 spans, and until a live span is seen.

Run it with `python benchmarks/dev_ui.py`; it needs Playwright and Chromium, and prints one line for each bar.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import sync_playwright

from genkit_rag._server.dev_ui import dev_app
from genkit_rag._server.guard import new_token
from genkit_rag._server.serving import serve_in_thread
from genkit_rag._server.telemetry import TraceStore

CHROMIUM = os.environ.get("GENKIT_RAG_CHROMIUM") or shutil.which("chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
RUNS = 9
SEEN = """
key => new Promise(resolve => {
  const look = () => document.querySelector(`[data-key="${key}"]`) ? resolve(Date.now()) : requestAnimationFrame(look);
  look();
})
"""


def spans(trace_id: str, count: int, start: float) -> dict[str, Any]:
    """Returns a posted trace of a flow with many steps, each with an input and an output of some size."""
    made: dict[str, Any] = {}
    for number in range(1, count + 1):
        parent = 0 if number == 1 else 1 if number % 10 == 2 else number - 1 if number % 10 < 5 else 1
        made[f"{number:016x}"] = {
            "traceId": trace_id,
            "spanId": f"{number:016x}",
            "displayName": f"step {number}",
            "startTime": start + number * 10,
            "endTime": start + number * 10 + (number % 50) + 1,
            "attributes": {
                "genkit:name": f"step {number}",
                "genkit:metadata:subtype": ("retriever", "model", "tool", "flow")[number % 4],
                "genkit:input": '{"text": "' + "an input of some length " * 20 + '"}',
                "genkit:output": '{"text": "' + "an output of some length " * 40 + '"}',
            },
            **({"parentSpanId": f"{parent:016x}"} if parent else {}),
        }
    return {"traceId": trace_id, "spans": made}


def told(name: str, values: list[float], bar: float) -> None:
    middle, worst = statistics.median(values), max(values)
    print(f"{name}: median {middle:.0f} ms, worst {worst:.0f} ms of {len(values)} (bar {bar:.0f} ms)")


def main() -> None:
    root = Path(tempfile.mkdtemp())
    store, token = TraceStore(root / "traces.db"), new_token()
    with serve_in_thread(dev_app(root, store, token)) as served, sync_playwright() as driver:
        http = httpx.Client(base_url=served.url, headers={"X-Genkit-Token": token}, timeout=30)
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.goto(served.sign_in_url())
        measure_opening(page, http, served.url)
        measure_list(page, http, served.url)
        measure_live_span(page, http, served.url)
        browser.close()
    store.close()
    shutil.rmtree(root)


def measure_opening(page: Any, http: httpx.Client, url: str) -> None:
    trace_id = "a" * 32
    http.post("/api/traces", json=spans(trace_id, 1000, time.time() * 1000 - 3_600_000)).raise_for_status()
    took: list[float] = []
    for _ in range(RUNS):
        page.goto("about:blank")
        begun = time.perf_counter()
        page.goto(f"{url}/traces/{trace_id}", wait_until="load")
        page.wait_for_function(
            "() => document.querySelectorAll('.span-row').length === 1000 && document.querySelector('.json-box')"
        )
        page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        took.append((time.perf_counter() - begun) * 1000)
    told("a trace of 1,000 spans opens", took, 1000)


def measure_list(page: Any, http: httpx.Client, url: str) -> None:
    page.goto(url + "/traces")
    page.wait_for_selector("#live-state.on")
    took: list[float] = []
    for number in range(RUNS):
        trace_id = f"{number + 1:032x}"
        body = spans(trace_id, 1, time.time() * 1000)
        page.evaluate(f"key => {{ window.seen = ({SEEN})(key); }}", trace_id)
        begun = time.time()
        http.post("/api/traces", json=body).raise_for_status()
        took.append(page.evaluate("() => window.seen") - begun * 1000)
        time.sleep(0.3)
    told("a new trace appears in the list", took, 300)


def measure_live_span(page: Any, http: httpx.Client, url: str) -> None:
    trace_id = "b" * 32
    whole = spans(trace_id, 200, time.time() * 1000)
    made = list(whole["spans"].values())
    made[0]["endTime"] = 0
    http.post("/api/traces", json={"traceId": trace_id, "spans": {one["spanId"]: one for one in made[:100]}})
    page.goto(f"{url}/traces/{trace_id}")
    page.wait_for_selector(".span-row")
    time.sleep(1)
    took: list[float] = []
    for one in made[100 : 100 + RUNS]:
        page.evaluate(f"key => {{ window.seen = ({SEEN})(key); }}", one["spanId"])
        begun = time.time()
        http.post("/api/traces", json={"traceId": trace_id, "spans": {one["spanId"]: one}}).raise_for_status()
        took.append(page.evaluate("() => window.seen") - begun * 1000)
        time.sleep(0.3)
    told("a live span appears in its trace", took, 300)


if __name__ == "__main__":
    main()
