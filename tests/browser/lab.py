"""A project with an app to evaluate, for the tests of the screens Evaluate and Prompts."""

from __future__ import annotations

import signal
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from genkit_rag._server.guard import new_token
from tests.browser.conftest import Dev, start_app
from tests.browser.lab_app import CAPITALS, HOSTILE, REVIEW

ROWS = [{"testCaseId": land.lower(), "input": land, "reference": capital} for land, capital in CAPITALS.items()]


@contextmanager
def laboratory(folder: Path) -> Generator[Dev]:
    """Gives a developer server and the app of `lab_app.py`, each as a developer runs them."""
    from genkit_rag._server.dev_ui import dev_app
    from genkit_rag._server.serving import serve_in_thread
    from genkit_rag._server.telemetry import TraceStore

    root = folder / "atlas"
    (root / "prompts").mkdir(parents=True)
    (root / "prompts" / "review.prompt").write_text(REVIEW)
    (root / "pyproject.toml").write_text("[project]\nname = 'atlas'\n")
    token = new_token()
    store = TraceStore(root / "traces.db")
    with serve_in_thread(dev_app(root, store, token)) as served:
        process = start_app(root, served.url, token, Path(__file__).parent / "lab_app.py")
        try:
            with httpx.Client(base_url=served.url, headers={"X-Genkit-Token": token}, timeout=30) as http:
                yield Dev(served.url, token, http, root, served.sign_in_url)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)
    store.close()


def make_dataset(dev: Dev, name: str, rows: list[dict[str, Any]] | None = None, **more: Any) -> None:
    answer = dev.http.post(
        "/evaluate/datasets", json={"datasetId": name, "rows": ROWS if rows is None else rows, **more}
    )
    assert answer.status_code == 201, answer.text


def start_run(dev: Dev, dataset: str, target: str | None, *evaluators: str, **more: Any) -> dict[str, Any]:
    body = {"datasetId": dataset, "target": target, "evaluators": list(evaluators), **more}
    answer = dev.http.post("/evaluate/runs", json=body)
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job


def finished(dev: Dev, job: dict[str, Any], seconds: float = 30) -> dict[str, Any]:
    due = time.monotonic() + seconds
    while time.monotonic() < due:
        job = dev.http.get(f"/evaluate/jobs/{job['id']}").json()
        if job["state"] != "running":
            return job
        time.sleep(0.05)
    raise AssertionError(f"it does not end: {job}")


def evaluated(dev: Dev, dataset: str, target: str | None, *evaluators: str, **more: Any) -> dict[str, Any]:
    """Returns the report of an evaluation."""
    job = finished(dev, start_run(dev, dataset, target, *evaluators, **more))
    assert job["state"] == "done", job
    report: dict[str, Any] = dev.http.get(f"/evaluate/runs/{job['runId']}/export?format=json").json()
    return report


__all__ = ["CAPITALS", "HOSTILE", "REVIEW", "ROWS", "evaluated", "finished", "laboratory", "make_dataset", "start_run"]
