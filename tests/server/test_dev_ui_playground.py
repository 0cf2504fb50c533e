"""The screen Playground, without a browser: marks land in a dataset, and nothing else is written."""

from __future__ import annotations

import pytest

from genkit_rag._server.datasets import DatasetStore
from tests.browser.conftest import Dev
from tests.browser.stores import dev as dev

pytestmark = pytest.mark.network


def test_the_page_offers_what_the_app_has(dev: Dev) -> None:
    text = dev.http.get("/playground", headers={"Accept": "text/html"}).text
    for name in ("faiss/docs", "play/plain", "play/overlap", "play/writer"):
        assert f">{name}</option>" in text
    assert "&#34;faiss/docs&#34;" in text  # it can be looked into


def test_a_mark_lands_in_the_dataset_and_is_shown_again(dev: Dev) -> None:
    mark = {"query": "how to bake?", "documentId": "baking-1.md#x", "grade": 1, "retriever": "faiss/docs"}
    made = dev.http.post("/playground/judge", json={"dataset": "kitchen", **mark}).json()
    assert (made["dataset"], made["size"]) == ("kitchen", 1)
    dev.http.post("/playground/judge", json={"dataset": "kitchen", **mark, "grade": 0})
    (first, second) = DatasetStore(dev.root / ".genkit_rag").get("kitchen").rows
    assert {name: first[name] for name in mark} == mark
    assert second["grade"] == 0
    asked = {"dataset": "kitchen", "query": "how to bake?"}
    assert dev.http.get("/playground/judgements", params=asked).json()["grades"] == {"baking-1.md#x": 0}
    assert dev.http.get("/playground/judgements", params={**asked, "query": "other"}).json()["grades"] == {}
    assert dev.http.get("/playground/judgements", params={"dataset": "none", "query": "x"}).json()["grades"] == {}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"query": "x"},
        {"query": "x", "documentId": "y", "grade": "much"},
        {"dataset": "../up", "query": "x", "documentId": "y"},
    ],
)
def test_a_mark_that_is_none_is_refused(dev: Dev, body: dict[str, object]) -> None:
    answer = dev.http.post("/playground/judge", json=body)
    assert answer.status_code == 400
    assert answer.json()["status"] == "INVALID_ARGUMENT"


def test_without_an_app_the_page_says_how_to_start_one(tmp_path: object) -> None:
    from pathlib import Path

    import httpx

    from genkit_rag._server.dev_ui import dev_app
    from genkit_rag._server.serving import serve_in_thread
    from genkit_rag._server.telemetry import TraceStore

    store = TraceStore(Path(str(tmp_path)) / "traces.db")
    with serve_in_thread(dev_app(str(tmp_path), store, None)) as served:
        for path in ("/playground", "/indexes"):
            answer = httpx.get(served.url + path, headers={"Accept": "text/html"})
            assert answer.status_code == 200
            assert "genkit-rag start" in answer.text
    store.close()
